"""Connect Four: drop stones into 7 columns of 6; four in a row wins."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from envs.boards.board import has_line, line_matrix, line_table, mirror_symmetries, never_empty
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable

HEIGHT, WIDTH = 6, 7
LINES = line_matrix(line_table(HEIGHT, WIDTH, 4), HEIGHT * WIDTH)  # 69 lines of four cells


class State(NamedTuple):
    stones: Tensor  # [B, 2, 42] bool: the mover's stones, then the opponent's; row 0 is the top
    to_play: Tensor  # [B] int64


class ConnectFour:
    """Native rules; action a drops a stone into column a."""

    spec = GameSpec(
        name="connect_four",
        observation=ObservationSpec(ObservationKind.GRID, (2, HEIGHT, WIDTH), torch.uint8),
        num_actions=WIDTH,
        num_players=2,
        zero_sum=True,
        reward_range=(-1.0, 1.0),
        max_length=HEIGHT * WIDTH,
        family="m,n,k",
        board_planes=True,
        action_keys=tuple(f"column {column}" for column in range(WIDTH)),
        symmetries=mirror_symmetries(HEIGHT, WIDTH),
        native=True,
    )

    def initial(self, seed: Tensor) -> State:
        """Empty boards; seed [B] int64 only gives the number of copies."""
        return State(seed.new_zeros(len(seed), 2, HEIGHT * WIDTH, dtype=torch.bool), torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, 7] bool: columns whose top cell is empty (all columns of a full board, whose game is over)."""
        empty = ~state.stones[:, :, :WIDTH].any(1)
        return never_empty(empty)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, 2, 6, 7] uint8: mine, theirs."""
        return state.stones.reshape(-1, 2, HEIGHT, WIDTH).to(torch.uint8)

    def play(self, state: State, action: Tensor) -> Playable:
        """Drop the mover's stone into column `action` [B]; four in a row wins 1, the other loses 1."""
        taken = state.stones.any(1).reshape(-1, HEIGHT, WIDTH).sum(1).gather(1, action[:, None])
        cell = (HEIGHT - 1 - taken).clamp(min=0) * WIDTH + action[:, None]
        mine = state.stones[:, 0].scatter(1, cell, True)
        won = has_line(mine, LINES, 4)
        theirs = state.stones[:, 1]
        sign = torch.stack([1 - 2 * state.to_play, 2 * state.to_play - 1], 1)
        over = won | (mine | theirs).all(1)
        return Playable(State(torch.stack([theirs, mine], 1), 1 - state.to_play), won[:, None] * sign.float(), over)


GAME = ConnectFour
