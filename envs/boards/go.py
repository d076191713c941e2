"""Go on N x N points, `go:N`, by OpenSpiel's rules.

  * Seat 0 (black) begins. A move places a stone or passes; the pass is the last action. Suicide is not allowed.
  * Chains of the opponent without a liberty are taken off. Simple ko: who takes a single stone from a point that was
    surrounded by the opponent alone may not be taken back at once.
  * A placement that leads to a board of this game that was there before, whoever was to move then, ends the game as a
    draw (positional superko, treated as OpenSpiel does).
  * Two passes in a row, or 2 N * N moves, end the game, and it is scored by area (Tromp-Taylor): a seat has its stones
    and the empty regions that touch only its stones; no stones are taken for dead. Black wins with more than `komi`
    points more than white. Komi is 7.5 unless given: `go:5:komi=0.5`.

The mover sees its stones, the opponent's, a plane of ones where it is black, and a plane of ones after a pass. The ko
point shows in the legal moves; which boards were there before is not shown.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from envs.boards.board import board_symmetries
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, Symmetries, cell_keys, episode_seed

FAMILY = "go"
SMALLEST, LARGEST = 3, 13
KOMI = 7.5
SYNTAX = f"go:N or go:N:komi=K for a board of N x N points, N from {SMALLEST} to {LARGEST}, as in go:5:komi=0.5"
EXAMPLES = ("go:5", "go:7", "go:9")


class State(NamedTuple):
    stones: Tensor  # [B, 2, N * N] bool: the mover's stones, then the opponent's
    chain: Tensor  # [B, N * N] int16: a number that all stones of a chain have in common, -1 where empty
    to_play: Tensor  # [B] int64
    ko: Tensor  # [B] int64: the point that simple ko forbids, -1 if none
    passed: Tensor  # [B] bool: the last move was a pass
    length: Tensor  # [B] int64: moves so far
    boards: Tensor  # [B, 2 N * N + 1] int64: hashes of the boards so far, 0 where none yet


class Go:
    """Native rules; action a places a stone on point a, row by row; action N * N passes."""

    def __init__(self, size: int, komi: float = KOMI):
        self.size, self.komi, self.num_points = size, komi, size * size
        square = board_symmetries(size, size)
        # 63 bits a stone: two different boards among the 2 N * N of a game have one hash in 1 of 10**14 games.
        words = [
            episode_seed(part, torch.arange(2 * self.num_points).numpy(), size).reshape(2, -1) for part in (11, 12)
        ]
        self.hashes = torch.as_tensor((words[0] << 31) ^ words[1])  # [2 colours, N * N] int64
        self.spec = GameSpec(
            name=f"{FAMILY}:{size}" + (f":komi={komi:g}" if komi != KOMI else ""),
            observation=ObservationSpec(ObservationKind.GRID, (4, size, size), torch.uint8),
            num_actions=self.num_points + 1,
            num_players=2,
            zero_sum=True,
            reward_range=(-1.0, 1.0),
            max_length=2 * self.num_points,
            family="go",
            board_planes=True,
            action_keys=(*cell_keys(size, size), "pass"),
            symmetries=Symmetries(square.cells, tuple((*actions, self.num_points) for actions in square.actions)),
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """Empty boards; seed [B] int64 only gives the number of copies."""
        none, no = torch.full_like(seed, -1), torch.zeros_like(seed)
        boards = seed.new_zeros(len(seed), 2 * self.num_points + 1)
        boards[:, 0] = 1  # the empty board; 0 is no board, and the hashes of others are neither
        stones = seed.new_zeros(len(seed), 2, self.num_points, dtype=torch.bool)
        chain = torch.full((len(seed), self.num_points), -1, dtype=torch.int16, device=seed.device)
        return State(stones, chain, no, none, no.bool(), no.clone(), boards)

    def legal(self, state: State) -> Tensor:
        """[B, N * N + 1] bool: free points that have a liberty then, except the ko point; the pass always."""
        mine, theirs = state.stones.unbind(1)
        empty = ~(mine | theirs)
        last = self._last_liberty(state.chain, empty)  # a stone of a chain with one liberty
        beside = self._any_beside(empty | (mine & ~last) | (theirs & last))
        allowed = (empty & beside).scatter(1, state.ko.clamp(min=0)[:, None], False)
        allowed = torch.where((state.ko >= 0)[:, None], allowed, empty & beside)
        return torch.nn.functional.pad(allowed, (0, 1), value=True)

    def to_play(self, state: State) -> Tensor:
        """[B] int64."""
        return state.to_play

    def observe(self, state: State) -> Tensor:
        """[B, 4, N, N] uint8: mine, theirs, ones where the mover is black, ones after a pass."""
        flags = torch.stack([state.to_play == 0, state.passed], 1)[:, :, None].expand(-1, -1, self.num_points)
        return torch.cat([state.stones, flags], 1).to(torch.uint8).unflatten(2, (self.size, self.size))

    def play(self, state: State, action: Tensor) -> Playable:
        """Place the mover's stone on `action` [B], or pass; at the end the winner gets 1, the other loses 1."""
        passes = action == self.num_points
        point = action.clamp(max=self.num_points - 1)[:, None]
        placed = torch.zeros_like(state.stones[:, 0]).scatter(1, point, True) & ~passes[:, None]
        mine, theirs = state.stones[:, 0] | placed, state.stones[:, 1]
        chain = torch.where(placed, point, state.chain.long())
        joined = self._beside(torch.where(state.stones[:, 0], chain, -1), -1)
        for number in joined.gather(1, point[:, :, None].expand(-1, -1, 4))[:, 0].unbind(1):
            chain = torch.where((number[:, None] == chain) & (number >= 0)[:, None] & ~passes[:, None], point, chain)
        liberties = self._count(chain, self._beside(~(mine | theirs), False).sum(2))
        taken = theirs & (liberties == 0)
        theirs, chain = theirs & ~taken, torch.where(taken, -1, chain)
        surrounded = (self._beside(state.stones[:, 1], True).all(2) & placed).any(1)
        ko = torch.where(surrounded & (taken.sum(1) == 1), taken.int().argmax(1), -1)
        length = state.length + 1
        board = self._hash(torch.stack([mine, theirs], 1), state.to_play)
        repeated = ~passes & (state.boards == board[:, None]).any(1)
        boards = state.boards.scatter(1, length.clamp(max=2 * self.num_points)[:, None], board[:, None])
        over = repeated | (passes & state.passed) | (length >= 2 * self.num_points)
        lead = self._lead(mine, theirs, state.to_play, over & ~repeated)
        after = State(
            torch.stack([theirs, mine], 1), chain.to(torch.int16), 1 - state.to_play, ko, passes, length, boards
        )  # fmt: skip
        return Playable(after, torch.stack([lead, -lead], 1), over)

    def _beside(self, board: Tensor, border: int) -> Tensor:
        """[B, N * N, 4]: what board [B, N * N] shows above, below, left and right of each point."""
        wide = torch.nn.functional.pad(board.unflatten(1, (self.size, self.size)), (1, 1, 1, 1), value=border)
        sides = wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]
        return torch.stack(sides, 3).flatten(1, 2)

    def _any_beside(self, board: Tensor) -> Tensor:
        return self._beside(board, 0).any(2)

    def _count(self, chain: Tensor, counts: Tensor) -> Tensor:
        """[B, N * N]: the sum of counts over the chain of each stone; of no use on empty points."""
        index = chain.clamp(min=0).long()
        sums = torch.zeros_like(counts).scatter_add(1, index, torch.where(chain >= 0, counts, 0))
        return sums.gather(1, index)

    def _last_liberty(self, chain: Tensor, empty: Tensor) -> Tensor:
        """[B, N * N] bool: stones of chains with a single liberty.

        n numbers are all the same just where n times the sum of their squares is the square of their sum.
        """
        number = torch.arange(1, self.num_points + 1, device=empty.device) * empty
        beside = self._beside(number, 0)
        n, total, squares = (self._count(chain, part.sum(2)) for part in ((beside > 0).long(), beside, beside**2))
        return (chain >= 0) & (n > 0) & (n * squares == total**2)

    def _hash(self, stones: Tensor, mover: Tensor) -> Tensor:
        """[B] int64 of stones [B, 2, N * N], the mover's first; the same whoever is to move. 1 for the empty board."""
        own, other = self.hashes.to(mover.device)[mover], self.hashes.to(mover.device)[1 - mover]
        return 1 + torch.where(stones[:, 0], own, 0).sum(1) + torch.where(stones[:, 1], other, 0).sum(1)

    def _lead(self, mine: Tensor, theirs: Tensor, mover: Tensor, ended: Tensor) -> Tensor:
        """[B] float32: what seat 0 gets, by area, where `ended` [B]; 0 elsewhere."""
        lead = torch.zeros(len(mover), device=mover.device)
        rows = ended.nonzero()[:, 0]
        if len(rows):
            stones = torch.stack([mine[rows], theirs[rows]], 1)
            empty = ~stones.any(1)
            reached = torch.stack([self._reached(stones[:, side], empty) for side in (0, 1)], 1)
            area = (stones | (reached & ~reached.flip(1))).sum(2)
            black = (area[:, 0] - area[:, 1]) * (1 - 2 * mover[rows])
            lead[rows] = (black - self.komi).sign().float()
        return lead

    def _reached(self, stones: Tensor, empty: Tensor) -> Tensor:
        """[B, N * N] bool: the empty points that are joined to stones through empty points."""
        reached = self._any_beside(stones) & empty
        for _ in range(self.num_points):  # asked once in N steps: each question waits for the device
            before = reached
            for _ in range(self.size):
                reached = reached | (self._any_beside(reached) & empty)
            if torch.equal(before, reached):
                break
        return reached


def make(settings: str) -> Go:
    """`go:N` or `go:N:komi=K`. ValueError for anything else."""
    size, *options = settings.split(":")
    if not re.fullmatch(r"[0-9]+", size):
        raise ValueError(f"the size {size!r} is no whole number" if size else "the size is missing")
    if not SMALLEST <= int(size) <= LARGEST:
        raise ValueError(f"a board of {int(size)} x {int(size)} is not offered")
    if len(options) > 1:
        raise ValueError(f"the option {options[1]!r} is one too many")
    komi = KOMI
    for option in options:
        found = re.fullmatch(r"komi=(-?[0-9]+(?:\.[0-9]+)?)", option)
        if not found or float(found[1]) * 2 != round(float(found[1]) * 2) or abs(float(found[1])) > int(size) ** 2:
            raise ValueError(f"the option {option!r} is not komi=K with K a whole number or a half, at most the board")
        komi = float(found[1])
    return Go(int(size), komi)
