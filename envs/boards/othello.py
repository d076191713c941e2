"""Othello on N x N cells, `othello:N`: enclose the opponent's discs in straight lines, and they are turned over.

Seat 0 (black) begins with the discs right above and left below of the middle, seat 1 (white) with the other two. A move
must turn at least one disc over; who has none must pass, which is the last action. The game ends when neither seat can
turn a disc over; more discs win. On 8 x 8 cells these are OpenSpiel's rules. `othello` means `othello:8`.

Boards are bits: cell (r, c) is bit N r + c of an int64, so that one step in a direction is one shift of all rows.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from envs.boards.board import board_symmetries
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, Symmetries, cell_keys

FAMILY = "othello"
SIZES = (4, 6, 8)
SYNTAX = "othello:N for a board of N x N cells, N one of 4, 6 and 8, as in othello:6"
EXAMPLES = ("othello:4", "othello:6", "othello:8")


class State(NamedTuple):
    mine: Tensor  # [B] int64, a bit a cell: the mover's discs
    theirs: Tensor  # [B] int64: the opponent's
    moves: Tensor  # [B] int64: where the mover may place a disc; follows from the other two
    to_play: Tensor  # [B] int64


class Othello:
    """Native rules; action a places a disc on cell a, row by row; action N * N passes."""

    def __init__(self, size: int):
        self.size = size
        self.directions = directions(size)
        # Turns by a quarter change the colours of the first position; what they lead to is never reached.
        square = symmetries_of(board_symmetries(size, size), first_discs(size))
        self.spec = GameSpec(
            name=f"{FAMILY}:{size}",
            observation=ObservationSpec(ObservationKind.GRID, (2, size, size), torch.uint8),
            num_actions=size * size + 1,
            num_players=2,
            zero_sum=True,
            reward_range=(-1.0, 1.0),
            max_length=2 * (size * size - 4),  # a pass is always followed by a disc
            family="flipping",
            board_planes=True,
            action_keys=(*cell_keys(size, size), "pass"),
            symmetries=Symmetries(square.cells, tuple((*actions, size * size) for actions in square.actions)),
            solvable=size == 4,
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """Four discs in the middle; seed [B] int64 only gives the number of copies."""
        mine, theirs = first_discs(self.size)
        black, white = (torch.full_like(seed, sum(1 << cell for cell in cells)) for cells in (mine, theirs))
        return State(black, white, self._moves(black, white), torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, N * N + 1] bool: cells that turn a disc over, else only the pass."""
        return torch.cat([_cells(state.moves, self.size), (state.moves == 0)[:, None]], 1)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, 2, N, N] uint8: mine, theirs."""
        planes = torch.stack([_cells(state.mine, self.size), _cells(state.theirs, self.size)], 1)
        return planes.to(torch.uint8).unflatten(2, (self.size, self.size))

    def play(self, state: State, action: Tensor) -> Playable:
        """Place the mover's disc on `action` [B], or pass; at the end more discs win 1, fewer lose 1, else 0."""
        placed = torch.where(action < self.size**2, torch.ones_like(action) << action.clamp(max=self.size**2 - 1), 0)
        turned = torch.zeros_like(placed)
        for shift, keep in self.directions:
            run = _step(placed, shift, keep) & state.theirs
            for _ in range(self.size - 3):
                run = run | (_step(run, shift, keep) & state.theirs)
            turned |= torch.where((_step(run, shift, keep) & state.mine) != 0, run, 0)
        mine, theirs = state.mine | placed | turned, state.theirs & ~turned
        replies = self._moves(theirs, mine)
        over = (replies == 0) & (self._moves(mine, theirs) == 0)
        lead = (_cells(mine, self.size).sum(1) - _cells(theirs, self.size).sum(1)).sign() * over
        sign = torch.stack([1 - 2 * state.to_play, 2 * state.to_play - 1], 1)
        return Playable(State(theirs, mine, replies, 1 - state.to_play), (lead[:, None] * sign).float(), over)

    def _moves(self, mine: Tensor, theirs: Tensor) -> Tensor:
        """[B] int64: free cells from which a run of their discs leads to one of mine."""
        free, moves = ~(mine | theirs), torch.zeros_like(mine)
        for shift, keep in self.directions:
            run = _step(mine, shift, keep) & theirs
            for _ in range(self.size - 3):
                run = run | (_step(run, shift, keep) & theirs)
            moves |= _step(run, shift, keep) & free
        return moves


def first_discs(size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The cells of black's and of white's two discs."""
    low, high = size // 2 - 1, size // 2
    return (low * size + high, high * size + low), (low * size + low, high * size + high)


def symmetries_of(square: Symmetries, discs: tuple[tuple[int, ...], ...]) -> Symmetries:
    """Those of `square` that leave each set of cells where it is."""
    keep = [s for s, cells in enumerate(square.cells) if all({cells[c] for c in some} == set(some) for some in discs)]
    return Symmetries(tuple(square.cells[s] for s in keep), tuple(square.actions[s] for s in keep))


def directions(size: int) -> list[tuple[int, int]]:
    """(shift, cells that a step can end on, as bits) of the eight directions; steps up and left are negative."""
    found = []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            if down or right:
                ends = [
                    row * size + column for row in range(size) for column in range(size)
                    if 0 <= row - down < size and 0 <= column - right < size
                ]  # fmt: skip
                bits = sum(1 << cell for cell in ends)
                found.append((down * size + right, bits - (1 << 64) if bits >= 1 << 63 else bits))
    return found


def _step(bits: Tensor, shift: int, keep: int) -> Tensor:
    """All cells of bits [B] one step further. The sign that a shift to the right spreads is cut off by `keep`."""
    return (bits << shift if shift > 0 else bits >> -shift) & keep


def _cells(bits: Tensor, size: int) -> Tensor:
    """[B, size * size] bool of bits [B] int64."""
    return (bits[:, None] >> torch.arange(size * size, device=bits.device)) & 1 != 0


def make(settings: str) -> Othello:
    """`othello:N`. ValueError for anything but a size that is offered."""
    if not re.fullmatch(r"[0-9]*", settings):
        raise ValueError(f"the size {settings!r} is no whole number")
    if int(settings or 8) not in SIZES:
        raise ValueError(f"a board of {int(settings)} x {int(settings)} is not offered")
    return Othello(int(settings or 8))
