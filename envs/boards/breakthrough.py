"""Breakthrough on W x H cells, `breakthrough:WxH`: bring one of your pieces to the other side.

Seat 0 begins; its pieces start in the top row (the top two rows where H is 6 or more) and move down, seat 1's start at
the bottom and move up. A piece goes one cell straight or diagonally forward, onto a free cell, or diagonally onto a
piece of the opponent, which is then captured. Who reaches the last row, or captures the last piece, wins. There are no
draws. `breakthrough` means `breakthrough:8x8`. OpenSpiel has the same rules.

What the mover sees is the true board and a third plane that is all ones where it moves down.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from envs.boards.board import mirror_symmetries, never_empty
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, Symmetries

FAMILY = "breakthrough"
SMALLEST, LARGEST = 2, 8
SYNTAX = f"breakthrough:WIDTHxHEIGHT with sides from {SMALLEST} to {LARGEST}, as in breakthrough:5x6"
EXAMPLES = ("breakthrough:4x5", "breakthrough:5x5", "breakthrough:8x8")
SOLVABLE_CELLS = 16  # 2 x 8 has a million positions, ends included; 4 x 5 was not finished in the time that was given
SIDEWAYS = (-1, 0, 1)  # the third part of a move: to a smaller column, straight, to a larger column


class State(NamedTuple):
    pieces: Tensor  # [B, 2, H * W] bool: the mover's pieces, then the opponent's
    to_play: Tensor  # [B] int64


class Breakthrough:
    """Native rules; action 3 * (W r + c) + s moves the piece on (r, c) forward, s - 1 columns to the right."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.target = targets(width, height)  # [2, A] int64: where the moves of each seat lead, -1 off the board
        mirror = mirror_symmetries(height, width).cells
        self.spec = GameSpec(
            name=f"{FAMILY}:{width}x{height}",
            observation=ObservationSpec(ObservationKind.GRID, (3, height, width), torch.uint8),
            num_actions=3 * width * height,
            num_players=2,
            zero_sum=True,
            reward_range=(-1.0, 1.0),
            max_length=longest(width, height),
            family="race",
            board_planes=True,
            action_keys=tuple(
                f"forward {row} {column} {('left', 'straight', 'right')[side]}"
                for row in range(height) for column in range(width) for side in range(3)
            ),
            symmetries=Symmetries(
                mirror,
                tuple(tuple(3 * cell + (2 - s if turned else s) for cell in cells for s in range(3))
                      for turned, cells in enumerate(mirror)),
            ),
            solvable=width * height <= SOLVABLE_CELLS,
            native=True,
        )  # fmt: skip

    def initial(self, seed: Tensor) -> State:
        """Pieces at both ends; seed [B] int64 only gives the number of copies."""
        rows = 2 if self.height >= 6 else 1
        pieces = seed.new_zeros(len(seed), 2, self.height * self.width, dtype=torch.bool)
        pieces[:, 0, : rows * self.width] = True
        pieces[:, 1, -rows * self.width :] = True
        return State(pieces, torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, A] bool. Never empty while the game lasts: the foremost piece has a move. All moves after its end."""
        mine, theirs = state.pieces.unbind(1)
        target = self.target.to(mine.device)[state.to_play]
        onto = target.clamp(min=0)
        straight = torch.arange(self.spec.num_actions, device=mine.device) % 3 == 1
        blocked = mine.gather(1, onto) | (theirs.gather(1, onto) & straight)
        moves = mine.repeat_interleave(3, 1) & (target >= 0) & ~blocked
        return never_empty(moves)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, 3, H, W] uint8: mine, theirs, and ones everywhere where the mover moves down."""
        downwards = (state.to_play == 0)[:, None, None].expand(-1, 1, self.height * self.width)
        return torch.cat([state.pieces, downwards], 1).to(torch.uint8).unflatten(2, (self.height, self.width))

    def play(self, state: State, action: Tensor) -> Playable:
        """Move a piece of the mover; who reaches the last row or captures all wins 1, the other loses 1."""
        onto = self.target.to(action.device)[state.to_play, action].clamp(min=0)[:, None]
        mine = state.pieces[:, 0].scatter(1, (action // 3)[:, None], False).scatter(1, onto, True)
        theirs = state.pieces[:, 1].scatter(1, onto, False)
        row = onto[:, 0] // self.width
        won = (row == torch.where(state.to_play == 0, self.height - 1, 0)) | ~theirs.any(1)
        sign = torch.stack([1 - 2 * state.to_play, 2 * state.to_play - 1], 1)
        return Playable(State(torch.stack([theirs, mine], 1), 1 - state.to_play), won[:, None] * sign.float(), won)


def targets(width: int, height: int) -> Tensor:
    """[2, 3 W H] int64: the cell that each move of each seat leads to, -1 off the board."""
    table = torch.full((2, 3 * width * height), -1)
    for seat, forward in enumerate((1, -1)):
        for cell in range(width * height):
            for side, right in enumerate(SIDEWAYS):
                row, column = cell // width + forward, cell % width + right
                if 0 <= row < height and 0 <= column < width:
                    table[seat, 3 * cell + side] = row * width + column
    return table


def longest(width: int, height: int) -> int:
    """Moves of the longest game thinkable: all pieces walk to the row before the last, and one goes on."""
    steps = sum(height - 2 - row for row in range(2 if height >= 6 else 1))
    return 2 * width * steps + 1


def make(settings: str) -> Breakthrough:
    """`breakthrough:WxH`. ValueError for anything but sides that are offered."""
    numbers = re.fullmatch(r"([0-9]+)x([0-9]+)", settings or "8x8")
    if not numbers:
        raise ValueError(f"the size {settings!r} is not two numbers joined by x")
    width, height = map(int, numbers.groups())
    if not SMALLEST <= width <= LARGEST or not 3 <= height <= LARGEST:
        raise ValueError(f"a board of width {width} and height {height} is not offered")
    return Breakthrough(width, height)
