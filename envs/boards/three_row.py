"""Three players place stones in turn, `mnk3:WxHxK`: W x H cells, K of your own stones in a row win.

The winner gets 1, the other two lose a half each; a full board is drawn. As in all games for more than two, nobody is
simply against nobody: to keep the next one from winning may be the business of the one after.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.boards.board import board_symmetries, has_line, line_matrix, line_table, never_empty
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, cell_keys

FAMILY = "mnk3"
PLAYERS, LARGEST = 3, 19
SYNTAX = f"mnk3:WIDTHxHEIGHTxROW with sides of at most {LARGEST}, as in mnk3:4x4x3"
EXAMPLES = ("mnk3:4x4x3", "mnk3:6x6x4")


class State(NamedTuple):
    stones: Tensor  # [B, 3, W * H] bool: the mover's stones, then the next seat's, then the one's after
    to_play: Tensor  # [B] int64


class ThreeRow:
    """Native rules; action a is cell a, row by row."""

    def __init__(self, width: int, height: int, row: int):
        self.width, self.height, self.row = width, height, row
        lines = line_table(height, width, row)
        if not lines:
            raise ValueError(f"no row of {row} fits, so nobody could win")
        self.lines = line_matrix(lines, width * height)
        self.spec = GameSpec(
            name=f"{FAMILY}:{width}x{height}x{row}",
            observation=ObservationSpec(ObservationKind.GRID, (4, height, width), torch.uint8),
            num_actions=width * height,
            num_players=PLAYERS,
            reward_range=(-0.5, 1.0),
            max_length=width * height,
            family="m,n,k three players",
            board_planes=True,
            action_keys=cell_keys(height, width),
            symmetries=board_symmetries(height, width),
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """Empty boards; seed [B] int64 only gives the number of copies."""
        stones = seed.new_zeros(len(seed), PLAYERS, self.width * self.height, dtype=torch.bool)
        return State(stones, torch.zeros_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, A] bool: free cells (any of a full board)."""
        free = ~state.stones.any(1)
        return never_empty(free)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, 4, H, W] uint8: mine, everybody else's, then the next seat's and the one's after by themselves."""
        others = state.stones[:, 1:]
        planes = torch.cat([state.stones[:, :1], others.any(1, keepdim=True), others], 1)
        return planes.to(torch.uint8).unflatten(2, (self.height, self.width))

    def play(self, state: State, action: Tensor) -> Playable:
        """Place the mover's stone; a row of K wins 1, the others lose a half each."""
        mine, following, last = state.stones.unbind(1)
        mine = mine.scatter(1, action[:, None], True)
        won = has_line(mine, self.lines, self.row)
        over = won | (mine | following | last).all(1)
        reward = won[:, None] * (1.5 * one_hot(state.to_play, PLAYERS) - 0.5)
        return Playable(State(torch.stack([following, last, mine], 1), (state.to_play + 1) % PLAYERS), reward, over)


def make(settings: str) -> ThreeRow:
    """`mnk3:WxHxK`. ValueError for settings that make no game."""
    numbers = re.fullmatch(r"([0-9]+)x([0-9]+)x([0-9]+)", settings)
    if not numbers:
        raise ValueError(
            f"the size {settings!r} is not three numbers joined by x" if settings else "the size is missing"
        )
    width, height, row = map(int, numbers.groups())
    if not 1 <= width <= LARGEST or not 1 <= height <= LARGEST:
        raise ValueError(f"a board of width {width} and height {height} is not offered")
    if not 2 <= row <= max(width, height):
        raise ValueError(f"a row of {row} is not between 2 and the longer side, {max(width, height)}")
    return ThreeRow(width, height, row)
