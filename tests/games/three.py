"""Three players take sticks in turn: 1 or 2 of 7. Who takes the last one gets 1, the other two lose a half each.

Every position's value for each seat follows by going backwards, so that perspectives of more than two players can be
checked. With 7 sticks seat 0 to move, each seat maximising its own value and taking one where it does not matter.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable

STICKS, PLAYERS = 7, 3


class State(NamedTuple):
    sticks: Tensor  # [B] int64
    to_play: Tensor  # [B] int64


class Three:
    """Native rules; action a takes a + 1 sticks."""

    spec = GameSpec(
        name="three",
        observation=ObservationSpec(ObservationKind.VECTOR, (STICKS + 1,)),
        num_actions=2,
        num_players=PLAYERS,
        reward_range=(-0.5, 1.0),
        max_length=STICKS,
        family="test",
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        """All sticks there; seed [B] int64 only gives the number of copies."""
        return State(torch.full_like(seed, STICKS), torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, 2] bool."""
        return torch.arange(1, 3, device=state.sticks.device) <= state.sticks[:, None].clamp(min=1)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, 8] float32: how many sticks are left, which looks the same from every seat."""
        return one_hot(state.sticks, STICKS + 1).float()

    def play(self, state: State, action: Tensor) -> Playable:
        """The reward goes to all three seats at once, on the last move."""
        left = (state.sticks - action - 1).clamp(min=0)
        over = left == 0
        reward = over[:, None] * (1.5 * one_hot(state.to_play, PLAYERS) - 0.5)
        return Playable(State(left, (state.to_play + 1) % PLAYERS), reward, over)


GAME = Three
