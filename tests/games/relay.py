"""Two players who do not alternate, delayed reward, and a trap: optimal values follow by going backwards.

The runner passes stations 0 to 5; `MOVERS` says who decides at each. Action 0 cashes in: the mover gets `CASH` of the
station and the game is over. Action 1 runs on, for nothing; from the last station it ends the game and pays
`GOAL`. Action 2 is the trap: 0.5 at once, and then the other player decides at a pit and gets 1 whatever it does.
What one seat gets, the other loses. Games begin at a station that the seed draws.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable

MOVERS = (0, 0, 1, 0, 1, 1, 0, 1)  # stations 0 to 5, then the pits of seat 0 and of seat 1
CASH = (-0.1, 0.3, -0.2, -0.2, 0.1, 0.2, 1.0, 1.0)
LAST, GOAL, BAIT = 5, 0.8, 0.5


class State(NamedTuple):
    place: Tensor  # [B] int64


class Relay:
    """Native rules, batched."""

    spec = GameSpec(
        name="relay",
        observation=ObservationSpec(ObservationKind.VECTOR, (8,)),
        num_actions=3,
        num_players=2,
        zero_sum=True,
        reward_range=(-1.0, 1.0),
        max_length=8,
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        return State(seed % (LAST + 1))

    def legal(self, state: State) -> Tensor:
        return torch.ones(len(state.place), 3, dtype=torch.bool)

    def to_play(self, state: State) -> Tensor:
        return torch.tensor(MOVERS)[state.place]

    def observe(self, state: State) -> Tensor:
        return F.one_hot(state.place, 8).float()

    def play(self, state: State, action: Tensor) -> Playable:
        place, mover = state.place, self.to_play(state)
        pit = place > LAST
        cashed = pit | (action == 0)
        home = (place == LAST) & (action == 1)
        gain = torch.where(cashed, torch.tensor(CASH)[place], torch.where(action == 2, BAIT, home * GOAL))
        after = torch.where(action == 2, LAST + 1 + (1 - mover), place + 1).clamp(max=7)
        seats = torch.stack([1 - 2 * mover, 2 * mover - 1], 1)
        return Playable(State(torch.where(cashed, place, after)), gain[:, None] * seats, cashed | home)


GAME = Relay
