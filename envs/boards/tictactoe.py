"""Tic-tac-toe: three in a row on a 3 x 3 board."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from envs.boards.board import has_line, line_matrix, never_empty, square_symmetries
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, cell_keys

LINES = line_matrix(((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)), 9)


class State(NamedTuple):
    stones: Tensor  # [B, 2, 9] bool: the mover's stones, then the opponent's
    to_play: Tensor  # [B] int64


class TicTacToe:
    """Native rules; action a places a stone on cell a, row by row."""

    spec = GameSpec(
        name="tictactoe",
        observation=ObservationSpec(ObservationKind.GRID, (2, 3, 3), torch.uint8),
        num_actions=9,
        num_players=2,
        zero_sum=True,
        reward_range=(-1.0, 1.0),
        max_length=9,
        family="m,n,k",
        board_planes=True,
        action_keys=cell_keys(3, 3),
        symmetries=square_symmetries(3),
        solvable=True,
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        """Empty boards; seed [B] int64 only gives the number of copies."""
        return State(seed.new_zeros(len(seed), 2, 9, dtype=torch.bool), torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, 9] bool: the empty cells (all cells of a full board, whose game is over)."""
        empty = ~state.stones.any(1)
        return never_empty(empty)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, 2, 3, 3] uint8: mine, theirs."""
        return state.stones.reshape(-1, 2, 3, 3).to(torch.uint8)

    def play(self, state: State, action: Tensor) -> Playable:
        """Place the mover's stone on `action` [B]; three in a row wins 1, the other loses 1."""
        mine = state.stones[:, 0].scatter(1, action[:, None], True)
        won = has_line(mine, LINES, 3)
        theirs = state.stones[:, 1]
        sign = torch.stack([1 - 2 * state.to_play, 2 * state.to_play - 1], 1)
        over = won | (mine | theirs).all(1)
        return Playable(State(torch.stack([theirs, mine], 1), 1 - state.to_play), won[:, None] * sign.float(), over)


GAME = TicTacToe
