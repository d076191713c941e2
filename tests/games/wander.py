"""Three players in no order, illegal moves, early ends and cut-off episodes: arithmetic that nobody needs to learn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable


class State(NamedTuple):
    number: Tensor  # [B] int64 below 97


class Wander:
    """Native rules; everything follows from one number."""

    spec = GameSpec(
        name="wander",
        observation=ObservationSpec(ObservationKind.VECTOR, (7,)),
        num_actions=4,
        num_players=3,
        reward_range=(-0.5, 0.5),
        max_length=6,
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        return State(seed % 97)

    def legal(self, state: State) -> Tensor:
        return (state.number[:, None] + torch.arange(4)) % 4 != 0

    def to_play(self, state: State) -> Tensor:
        return state.number % 3

    def observe(self, state: State) -> Tensor:
        return (state.number[:, None] >> torch.arange(7) & 1).float()

    def play(self, state: State, action: Tensor) -> Playable:
        number = (state.number * 5 + action * 3 + 1) % 97
        reward = ((number[:, None] + 7 * torch.arange(3)) % 5 - 2) / 4
        return Playable(State(number), reward, number % 11 == 0)


GAME = Wander
