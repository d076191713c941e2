"""2048, by OpenSpiel's rules: slide all tiles of a 4 x 4 board; two equal ones that meet become their sum.

A tile merges at most once a move, those nearest to the side that is slid to first. The reward of a move is the sum of
the tiles that it makes. Then chance puts a 2 (nine times in ten) or a 4 on a free cell, each as likely as the others. A
move must change the board; the game ends when none does. `2048:TILE` also ends as soon as a tile TILE is there. Two
tiles are put down before the first move.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.boards.board import board_symmetries, never_empty
from envs.chance import Chance, draw, next_key
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, Symmetries

FAMILY = "2048"
SYNTAX = "2048, or 2048:TILE to end with a tile TILE, a power of two from 8 to 131072, as in 2048:64"
EXAMPLES = ("2048", "2048:64")
SIDE, CELLS = 4, 16
LARGEST = 17  # 131072 = 2**17 is the largest tile there can be
FOUR = 0.1  # probability that the new tile is a 4
STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # (down, right) of the actions up, right, down, left


def lanes() -> Tensor:
    """[4, 16] int64: per action the cells lane by lane, each lane from the side that is slid to."""
    board = torch.arange(CELLS).view(SIDE, SIDE)
    return torch.stack([board.T, board.flip(1), board.T.flip(1), board]).flatten(1)


class State(NamedTuple):
    tile: Tensor  # [B, 16] int64: the power of two on each cell, row by row, 0 where free
    key: Tensor  # [B] int64: where chance comes from


class Afterstate(NamedTuple):
    tile: Tensor  # [B, 16] int64: slid and merged, without a new tile
    made: Tensor  # [B] float32: the sum of the tiles that were made
    key: Tensor  # [B] int64


class TwentyFortyEight(Chance):
    """Native rules with explicit chance; actions: slide up, right, down, left. Outcome 2 c + f is a 2 (f = 0) or a 4
    (f = 1) on cell c; once the game is over there is one outcome, 0, which changes nothing."""

    def __init__(self, last_tile: int | None = None):
        self.last = None if last_tile is None else last_tile.bit_length() - 1
        self.lanes = lanes()
        self.spec = GameSpec(
            name=FAMILY + (f":{last_tile}" if last_tile else ""),
            observation=ObservationSpec(ObservationKind.GRID, (LARGEST + 1, SIDE, SIDE), torch.uint8),
            num_actions=4,
            stochastic=True,
            num_outcomes=2 * CELLS,
            reward_range=(0.0, float(4 << LARGEST)),
            family="2048",
            action_keys=("slide up", "slide right", "slide down", "slide left"),
            symmetries=symmetries(),
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """Two tiles, drawn from seed [B] int64."""
        after = Afterstate(seed.new_zeros(len(seed), CELLS), torch.zeros(len(seed), device=seed.device), seed)
        for _ in range(2):
            state = self.resolve(after, draw(self.chances(after), after.key)).state
            after = after._replace(tile=state.tile, key=state.key)
        return State(after.tile, after.key)

    def legal(self, state: State) -> Tensor:
        """[B, 4] bool: slides that change the board (all where none does: the game is over)."""
        moves = self._moves(state.tile)
        return never_empty(moves)

    def to_play(self, state: State) -> Tensor:
        """[B] int64: one player, seat 0."""
        return torch.zeros_like(state.key)

    def observe(self, state: State) -> Tensor:
        """[B, 18, 4, 4] uint8: plane p is one where the tile is 2**p; plane 0 is one on free cells."""
        return one_hot(state.tile, LARGEST + 1).to(torch.uint8).transpose(1, 2).unflatten(2, (SIDE, SIDE))

    def decide(self, state: State, action: Tensor) -> Afterstate:
        """Slide and merge; a slide that changes nothing leaves the board as it is."""
        order = self.lanes.to(action.device)[action]
        tile, made = _merge(_together(state.tile.gather(1, order).view(-1, SIDE, SIDE)))
        return Afterstate(torch.zeros_like(state.tile).scatter(1, order, tile.flatten(1)), made, state.key)

    def chances(self, after: Afterstate) -> Tensor:
        """[B, 32] float32."""
        free = (after.tile == 0) & ~self._reached(after.tile)[:, None]
        each = free / free.sum(1, keepdim=True).clamp(min=1)
        chances = torch.stack([each * (1 - FOUR), each * FOUR], 2).flatten(1)
        sure = one_hot(torch.zeros_like(after.key), 2 * CELLS).float()
        return torch.where(free.any(1, keepdim=True), chances, sure)

    def resolve(self, after: Afterstate, outcome: Tensor) -> Playable:
        """Put the new tile down; the game ends when the last tile is reached or no slide changes the board."""
        cell, new = outcome[:, None] // 2, 1 + outcome[:, None] % 2
        free = (after.tile.gather(1, cell) == 0) & ~self._reached(after.tile)[:, None]
        tile = torch.where(free, after.tile.scatter(1, cell, new), after.tile)
        over = self._reached(tile) | ~self._moves(tile).any(1)
        return Playable(State(tile, next_key(after.key)), after.made[:, None], over)

    def _moves(self, tile: Tensor) -> Tensor:
        """[B, 4] bool: slides that change the board."""
        front, behind = (tile[:, self.lanes.to(tile.device)].unflatten(2, (SIDE, SIDE))[..., part] for part in FACING)
        return ((behind > 0) & ((front == 0) | (front == behind))).flatten(2).any(2)

    def _reached(self, tile: Tensor) -> Tensor:
        """[B] bool: the last tile is there."""
        return torch.zeros_like(tile[:, 0], dtype=torch.bool) if self.last is None else (tile >= self.last).any(1)


FACING = (
    slice(0, SIDE - 1),
    slice(1, SIDE),
)  # neighbours in a lane: the one nearer to the side that is slid to, the other


def _together(lane: Tensor) -> Tensor:
    """Tiles of lanes [B, 4, 4] without gaps, in their order."""
    order = torch.sort((lane == 0).to(torch.uint8), dim=2, stable=True).indices
    return lane.gather(2, order)


def _merge(lane: Tensor) -> tuple[Tensor, Tensor]:
    """Lanes [B, 4, 4] without gaps -> the same after merging, and the sum of the tiles made [B] float32."""
    a, b, c, d = lane.unbind(2)
    first = (a == b) & (a > 0)
    second = ~first & (b == c) & (b > 0)
    third = ~second & (c == d) & (c > 0)
    merged = torch.stack([a + first.long(), b + second.long(), c + third.long(), d], 2)
    gone = torch.stack([torch.zeros_like(first), first, second, third], 2)
    made = torch.where(torch.stack([first, second, third], 2), 2.0 ** merged[:, :, :3], 0.0).sum((1, 2))
    return _together(merged.masked_fill(gone, 0)), made


def symmetries() -> Symmetries:
    """The eight of the square; a slide goes where the turned arrow points."""
    cells = board_symmetries(SIDE, SIDE).cells
    middle = [SIDE + 1, *(SIDE + 1 + SIDE * down + right for down, right in STEPS)]
    actions = []
    for cell in cells:
        at = [divmod(cell.index(place), SIDE) for place in middle]  # where these cells lie afterwards
        actions.append(tuple(STEPS.index((row - at[0][0], column - at[0][1])) for row, column in at[1:]))
    return Symmetries(cells, tuple(actions))


def make(settings: str) -> TwentyFortyEight:
    """`2048` or `2048:TILE`. ValueError for anything but a power of two that is offered."""
    if not settings:
        return TwentyFortyEight()
    if not settings.isascii() or not settings.isdigit() or int(settings) not in [1 << n for n in range(3, LARGEST + 1)]:
        raise ValueError(f"the last tile {settings!r} is no power of two from 8 to {1 << LARGEST}")
    return TwentyFortyEight(int(settings))
