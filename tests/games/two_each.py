"""Four in a row on 5 x 5 where, after one first stone, each player puts two stones in a row (as in Connect6).

The turn does not pass with every move: planes 0 and 1 keep their owners between the two stones of a turn.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.boards.board import line_table, square_symmetries
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, cell_keys

SIZE = 5
LINES = line_table(SIZE, SIZE, 4)


class State(NamedTuple):
    stones: Tensor  # [B, 2, 25] bool, by seat


class TwoEach:
    """Native rules; action a is a stone on cell a, row by row. Stone number n is of seat (n + 1) // 2 % 2."""

    spec = GameSpec(
        name="two_each",
        observation=ObservationSpec(ObservationKind.GRID, (2, SIZE, SIZE), torch.uint8),
        num_actions=SIZE * SIZE,
        num_players=2,
        zero_sum=True,
        reward_range=(-1.0, 1.0),
        max_length=SIZE * SIZE,
        family="m,n,k",
        board_planes=True,
        action_keys=cell_keys(SIZE, SIZE),
        symmetries=square_symmetries(SIZE),
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        """Empty boards; seed [B] int64 only gives the number of copies."""
        return State(seed.new_zeros(len(seed), 2, SIZE * SIZE, dtype=torch.bool))

    def legal(self, state: State) -> Tensor:
        """[B, 25] bool: empty cells (any of a full board)."""
        empty = ~state.stones.any(1)
        return empty | ~empty.any(1, keepdim=True)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return (state.stones.sum((1, 2)) + 1) // 2 % 2

    def observe(self, state: State) -> Tensor:
        """[B, 2, 5, 5] uint8: mine, theirs."""
        mine_first = torch.where((self.to_play(state) == 0)[:, None, None], state.stones, state.stones.flip(1))
        return mine_first.reshape(-1, 2, SIZE, SIZE).to(torch.uint8)

    def play(self, state: State, action: Tensor) -> Playable:
        """Four in a row wins 1, the other loses 1."""
        seat = one_hot(self.to_play(state), 2)
        stones = state.stones | (one_hot(action, SIZE * SIZE)[:, None] * seat[:, :, None]).bool()
        won = stones[:, :, torch.tensor(LINES, device=stones.device)].all(3).any(2)
        lines = won.any(1)
        return Playable(State(stones), lines[:, None] * (2.0 * seat - 1), lines | stones.any(1).all(1))


GAME = TwoEach
