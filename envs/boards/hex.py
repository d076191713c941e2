"""Hex on a rhombus of N x N cells, `hex:N`: join your two opposite sides with a chain of stones. No swap rule.

Seat 0 joins the top row to the bottom row, seat 1 the left column to the right column. Cell (r, c) touches (r, c - 1),
(r, c + 1), (r - 1, c), (r + 1, c), (r - 1, c + 1) and (r + 1, c - 1). There are no draws.

Without the swap (pie) rule the first player wins on every board (Nash's strategy-stealing argument), so strength is
compared over pairs of games with the seats changed, and from openings.

What the mover sees is the true board and a third plane that is all ones where it joins top to bottom. Transposing the
board for seat 1 would let both seats share one goal, but then a move's key `cell ROW COLUMN` would not be the place
where its stone appears, which all board games have in common here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from envs.boards.board import never_empty, rotation_symmetries
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, cell_keys

FAMILY = "hex"
SMALLEST, LARGEST = 2, 19
SYNTAX = f"hex:N for a board of N x N cells, N from {SMALLEST} to {LARGEST}, as in hex:5"
EXAMPLES = ("hex:3", "hex:4", "hex:5")
LARGEST_SOLVABLE = 4  # hex:4 has some millions of positions; hex:5 has some hundred thousand million


class State(NamedTuple):
    stones: Tensor  # [B, 2, N * N] bool: the mover's stones, then the opponent's
    to_play: Tensor  # [B] int64


class Hex:
    """Native rules; action a places a stone on cell a, row by row."""

    def __init__(self, size: int):
        self.size, self.packing = size, packing(size)
        self.spec = GameSpec(
            name=f"{FAMILY}:{size}",
            observation=ObservationSpec(ObservationKind.GRID, (3, size, size), torch.uint8),
            num_actions=size * size,
            num_players=2,
            zero_sum=True,
            reward_range=(-1.0, 1.0),
            max_length=size * size,
            family="connection",
            board_planes=True,
            action_keys=cell_keys(size, size),
            symmetries=rotation_symmetries(size),
            solvable=size <= LARGEST_SOLVABLE,
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """Empty boards; seed [B] int64 only gives the number of copies."""
        return State(seed.new_zeros(len(seed), 2, self.size**2, dtype=torch.bool), torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, A] bool: the empty cells (all cells of a full board, whose game is over)."""
        empty = ~state.stones.any(1)
        return never_empty(empty)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, 3, N, N] uint8: mine, theirs, and ones everywhere where the mover joins top to bottom."""
        downwards = (state.to_play == 0)[:, None, None].expand(-1, 1, self.size**2)
        return torch.cat([state.stones, downwards], 1).to(torch.uint8).unflatten(2, (self.size, self.size))

    def play(self, state: State, action: Tensor) -> Playable:
        """Place the mover's stone on `action` [B]; who joins its sides wins 1, the other loses 1."""
        mine = state.stones[:, 0].scatter(1, action[:, None], True)
        rows, columns = (mine.float() @ self.packing.to(mine.device)).int().split(self.size, 1)
        # The neighbourhood of a cell is the same in the transposed board, so one test serves both seats.
        won = joins_first_to_last(torch.where((state.to_play == 0)[:, None], rows, columns))
        sign = torch.stack([1 - 2 * state.to_play, 2 * state.to_play - 1], 1)
        after = State(torch.stack([state.stones[:, 1], mine], 1), 1 - state.to_play)
        return Playable(after, won[:, None] * sign.float(), won)


def packing(size: int) -> Tensor:
    """[N * N, 2 N] float32: a board of zeros and ones times this gives each row as an integer of N bits (bit c is
    column c), then each column (bit r is row r). Whole numbers below 2**24 are exact."""
    cell = torch.arange(size * size)
    row, column = cell // size, cell % size
    matrix = torch.zeros(size * size, 2 * size)
    matrix[cell, row] = 2.0**column
    matrix[cell, size + column] = 2.0**row
    return matrix


def joins_first_to_last(rows: Tensor) -> Tensor:
    """[B] bool: whether the stones hold a chain from the first row to the last. rows [B, N] int32, a bit a cell.

    A chain needs a touching pair in every two neighbouring rows; the few boards that have them all are flooded from the
    first row, together, until no board gains a cell (asked once in N steps: each question waits for the device).
    """
    touch = rows[:, :-1] & (rows[:, 1:] | (rows[:, 1:] << 1))  # (r, c) touches (r + 1, c) and (r + 1, c - 1)
    joined = (touch != 0).all(1)
    flooded = joined.nonzero()[:, 0]
    if len(flooded):
        joined[flooded] = _flood(rows[flooded])[:, -1] != 0
    return joined


def _flood(rows: Tensor) -> Tensor:
    """[B, N] int32: the cells of rows [B, N] that are joined to the first row."""
    size = rows.shape[1]
    reached = torch.zeros_like(rows)
    reached[:, 0] = rows[:, 0]
    for _ in range(size):  # N * N steps are more than any chain has cells
        before = reached
        for _ in range(size):
            step = reached | (reached << 1) | (reached >> 1)
            step[:, 1:] |= reached[:, :-1] | (reached[:, :-1] >> 1)  # down, and down to the left
            step[:, :-1] |= reached[:, 1:] | (reached[:, 1:] << 1)  # up, and up to the right
            reached = step & rows
        if torch.equal(before, reached):
            break
    return reached


def make(settings: str) -> Hex:
    """`hex:N`. ValueError for anything but a size that is offered."""
    if not re.fullmatch(r"[0-9]+", settings):
        raise ValueError(f"the size {settings!r} is no whole number" if settings else "the size is missing")
    if not SMALLEST <= int(settings) <= LARGEST:
        raise ValueError(f"a board of {int(settings)} x {int(settings)} is not offered")
    return Hex(int(settings))
