"""The smallest game there is: the observation shows which of four actions pays 1. One move an episode."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable


class State(NamedTuple):
    card: Tensor  # [B] int64: the action that pays


class Identity:
    """Native rules; the seed of the episode draws the card."""

    spec = GameSpec(
        name="identity",
        observation=ObservationSpec(ObservationKind.VECTOR, (4,)),
        num_actions=4,
        reward_range=(0.0, 1.0),
        max_length=1,
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        return State(seed % 4)

    def legal(self, state: State) -> Tensor:
        return torch.ones(len(state.card), 4, dtype=torch.bool)

    def to_play(self, state: State) -> Tensor:
        return torch.zeros_like(state.card)

    def observe(self, state: State) -> Tensor:
        return F.one_hot(state.card, 4).float()

    def play(self, state: State, action: Tensor) -> Playable:
        paid = (action == state.card).float()[:, None]
        return Playable(state, paid, torch.ones_like(state.card, dtype=torch.bool))


GAME = Identity
