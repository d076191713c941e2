"""A family of games of placing stones: W x H cells, K of your own stones in a row win, and options.

    mnk:3x3x3            tic-tac-toe; the numbers are width, height and length of the row
    mnk:7x6x4:gravity    Connect Four

Options, in any order after further colons; the canonical name has them in this order:

    gravity          a move is a column: the stone falls onto the topmost stone or blocked cell of the column
    misere           who completes a row of K loses
    wrap             the board is a torus; with gravity a cylinder, left joined to right
    two              two stones a turn, but one in the very first (as in Connect6)
    blocked=C@S      C cells that nobody may use, drawn with the seed S; blocked=C means blocked=C@0

A game is drawn when no move is left. Without options and on other boards than 3 x 3 these are the m,n,k-games.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import NamedTuple

import torch
from torch import Tensor

from envs.boards.board import board_symmetries, has_line, line_matrix, line_table, mirror_symmetries, never_empty
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, Symmetries, cell_keys, episode_seed

FAMILY = "mnk"
LARGEST = 19
OPTIONS = ("gravity", "misere", "wrap", "two", "blocked")
SYNTAX = (
    "mnk:WIDTHxHEIGHTxROW and any of :gravity :misere :wrap :two :blocked=COUNT@SEED, as in mnk:4x4x3:gravity "
    f"(sides of at most {LARGEST})"
)
EXAMPLES = (
    "mnk:4x4x3", "mnk:4x4x4", "mnk:4x4x3:gravity", "mnk:5x4x4:gravity", "mnk:4x4x4:wrap", "mnk:5x5x4:two",
    "mnk:4x4x3:blocked=2@1", "mnk:5x4x3:gravity:misere:wrap:two:blocked=2@3",
)  # fmt: skip
LARGEST_SOLVABLE = 12_000_000  # boards (see `num_boards`); the exact solver takes a minute or two for as many


@dataclasses.dataclass(frozen=True)
class Settings:
    """One game of the family."""

    width: int
    height: int
    row: int
    gravity: bool = False
    misere: bool = False
    wrap: bool = False
    two: bool = False
    blocked: int = 0
    seed: int = 0  # of the blocked cells

    @property
    def name(self) -> str:
        """The canonical name."""
        options = "".join(f":{option}" for option in OPTIONS[:-1] if getattr(self, option))
        return f"{FAMILY}:{self.width}x{self.height}x{self.row}{options}" + f":blocked={self.blocked}@{self.seed}" * (
            self.blocked > 0
        )


class State(NamedTuple):
    stones: Tensor  # [B, 2, W * H] bool: the mover's stones, then the opponent's, row by row from the top
    to_play: Tensor  # [B] int64
    left: Tensor  # [B] int64: stones that the mover still has to place in this turn, 1 or 2


class Stones:
    """Native rules of one setting; action a is cell a row by row, or with gravity column a."""

    def __init__(self, settings: Settings):
        self.settings = settings
        width, height = settings.width, settings.height
        self.blocked = blocked_cells(settings)  # [W * H] bool
        self.lines = winning_lines(settings, self.blocked)
        self.open = open_cells(settings, self.blocked)
        num_cells = int(self.open.sum())
        self.spec = GameSpec(
            name=settings.name,
            observation=ObservationSpec(
                ObservationKind.GRID, (2 + (settings.blocked > 0) + settings.two, height, width), torch.uint8
            ),
            num_actions=width if settings.gravity else width * height,
            num_players=2,
            zero_sum=True,
            reward_range=(-1.0, 1.0),
            max_length=num_cells,
            family="m,n,k misere" if settings.misere else "m,n,k",
            board_planes=True,
            action_keys=tuple(f"column {c}" for c in range(width)) if settings.gravity else cell_keys(height, width),
            symmetries=symmetries(settings, self.blocked),
            solvable=num_boards(settings, self.open) <= LARGEST_SOLVABLE,
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """Empty boards; seed [B] int64 only gives the number of copies. The first turn has one stone."""
        stones = seed.new_zeros(len(seed), 2, len(self.blocked), dtype=torch.bool)
        return State(stones, torch.zeros_like(seed), torch.ones_like(seed))

    def legal(self, state: State) -> Tensor:
        """[B, A] bool: free cells, or columns whose top cell is free (all moves where none is left: the end)."""
        width = self.settings.width
        free = ~(state.stones.any(1) | self.blocked.to(state.stones.device))
        free = free[:, :width] if self.settings.gravity else free
        return never_empty(free)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, C, H, W] uint8: mine, theirs, then (with `blocked`) the blocked cells, then (with `two`) ones everywhere
        where the mover has two stones to place."""
        planes = [state.stones]
        if self.settings.blocked:
            planes.append(self.blocked.to(state.stones.device).expand(len(state.stones), 1, -1))
        if self.settings.two:
            planes.append((state.left == 2)[:, None, None].expand(-1, 1, len(self.blocked)))
        return torch.cat(planes, 1).to(torch.uint8).unflatten(2, (self.settings.height, self.settings.width))

    def play(self, state: State, action: Tensor) -> Playable:
        """Place a stone of the mover; a row of K wins 1 and the other loses 1, with `misere` the other way round."""
        blocked = self.blocked.to(state.stones.device)
        cell = self._landing(state.stones.any(1) | blocked, action) if self.settings.gravity else action
        mine, theirs = state.stones[:, 0].scatter(1, cell[:, None], True), state.stones[:, 1]
        lined = has_line(mine, self.lines, self.settings.row)
        # No move is left once every cell that stones can reach is taken.
        over = lined | (mine | theirs | ~self.open.to(mine.device)).all(1)
        sign = torch.stack([1 - 2 * state.to_play, 2 * state.to_play - 1], 1).float()
        reward = lined[:, None] * (-sign if self.settings.misere else sign)
        again = state.left == 2
        stones = torch.stack([theirs, mine], 1)
        if self.settings.two:
            stones = torch.where(again[:, None, None], stones.flip(1), stones)
        mover = torch.where(again, state.to_play, 1 - state.to_play)
        left = torch.where(again, 1, 2 if self.settings.two else 1)
        return Playable(State(stones, mover, left), reward, over)

    def _landing(self, taken: Tensor, column: Tensor) -> Tensor:
        """[B] int64: the cell where a stone comes to rest; taken [B, W * H] bool, column [B]. 0 is the top row."""
        width, height = self.settings.width, self.settings.height
        below = taken.unflatten(1, (height, width)).gather(2, column[:, None, None].expand(-1, height, 1))[:, :, 0]
        depth = (below.cumsum(1) == 0).sum(1)  # free cells from the top down to the first that is taken
        return (depth - 1).clamp(min=0) * width + column


def blocked_cells(settings: Settings) -> Tensor:
    """[W * H] bool: the cells with the smallest of W * H random numbers, which the seed determines for ever."""
    num_cells = settings.width * settings.height
    draw = torch.as_tensor(episode_seed(settings.seed, torch.arange(num_cells).numpy(), settings.blocked))
    blocked = torch.zeros(num_cells, dtype=torch.bool)
    blocked[draw.argsort(stable=True)[: settings.blocked]] = True
    return blocked


def open_cells(settings: Settings, blocked: Tensor) -> Tensor:
    """[W * H] bool: cells that a stone can reach; with gravity none below a blocked one."""
    if not settings.gravity:
        return ~blocked
    return (blocked.unflatten(0, (settings.height, settings.width)).cumsum(0) == 0).flatten()


def winning_lines(settings: Settings, blocked: Tensor) -> Tensor:
    """[W * H, lines] float32 of all rows of K whose cells can be used. ValueError when there are none."""
    lines = line_table(
        settings.height, settings.width, settings.row, settings.wrap and not settings.gravity, settings.wrap
    )
    usable = set(open_cells(settings, blocked).nonzero()[:, 0].tolist())
    lines = [line for line in lines if usable.issuperset(line)]
    if not lines:
        raise ValueError(f"no row of {settings.row} fits, so nobody could win")
    return line_matrix(lines, len(blocked))


def symmetries(settings: Settings, blocked: Tensor) -> Symmetries:
    """Turns and reflections that keep the blocked cells where they are. (A torus has shifts too, left out here.)"""
    every = (mirror_symmetries if settings.gravity else board_symmetries)(settings.height, settings.width)
    keep = [s for s, cells in enumerate(every.cells) if torch.equal(blocked[torch.tensor(cells)], blocked)]
    return Symmetries(tuple(every.cells[s] for s in keep), tuple(every.actions[s] for s in keep))


def num_boards(settings: Settings, usable: Tensor) -> int:
    """How many ways there are to put down the stones of a game so far, wins or not: a bound on the positions.

    With t stones on the board the sets of cells that can be taken (any t; with gravity, stacks) times the ways to share
    them between the seats.
    """
    if settings.gravity:
        sets = [1]
        for height in usable.unflatten(0, (settings.height, settings.width)).sum(0).tolist():
            grown = [0] * (len(sets) + height)
            for stacked, ways in enumerate(sets):
                for more in range(height + 1):
                    grown[stacked + more] += ways
            sets = grown
    else:
        sets = [math.comb(int(usable.sum()), stones) for stones in range(int(usable.sum()) + 1)]
    return sum(ways * math.comb(stones, second_seat(stones, settings.two)) for stones, ways in enumerate(sets))


def second_seat(stones: int, two: bool) -> int:
    """How many of the first `stones` stones are seat 1's."""
    return stones // 4 * 2 + max(0, stones % 4 - 1) if two else stones // 2


def make(settings: str) -> Stones:
    """The game of `mnk:settings`. ValueError for settings that are not understood or make no game."""
    size, *options = settings.split(":")
    if not size:
        raise ValueError("the size of the board is missing")
    numbers = re.fullmatch(r"([0-9]+)x([0-9]+)x([0-9]+)", size)
    if not numbers:
        raise ValueError(f"the size {size!r} is not three numbers joined by x")
    width, height, row = map(int, numbers.groups())
    chosen: dict[str, int | bool] = {}
    for option in options:
        found = re.fullmatch(r"([a-z]*)(?:=([0-9]+)(?:@([0-9]+))?)?", option)
        kind = found[1] if found else option
        if kind not in OPTIONS or not found or (kind == "blocked") != (found[2] is not None):
            raise ValueError(f"the option {option!r} is not one of {', '.join(OPTIONS[:-1])}, blocked=COUNT@SEED")
        if kind in chosen:
            raise ValueError(f"the option {kind} is given twice")
        chosen[kind] = True
        if kind == "blocked":
            chosen |= {"blocked": int(found[2]), "seed": int(found[3] or 0)}
    if not 1 <= width <= LARGEST or not 1 <= height <= LARGEST:
        raise ValueError(f"a board of width {width} and height {height} is not offered")
    if not 2 <= row <= max(width, height):
        raise ValueError(f"a row of {row} is not between 2 and the longer side, {max(width, height)}")
    if "blocked" in chosen and not 1 <= chosen["blocked"] < width * height:
        raise ValueError(f"{chosen['blocked']} blocked cells on a board of {width * height}")
    if chosen.get("seed", 0) >= 2**31:
        raise ValueError(f"the seed {chosen['seed']} of the blocked cells is not below 2**31")
    return Stones(Settings(width, height, row, **chosen))  # pyright: ignore[reportArgumentType]
