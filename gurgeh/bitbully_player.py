"""Connect Four by an exact solver: bitbully with its opening book (AGPL; the extra `solvers`, never part of Gurgeh).

A score is the solver's: 0 for a draw, k > 0 where the mover wins and k < 0 where it loses; |k| is larger the sooner
the game ends (half the cells that the end leaves empty, rounded up), so a move is best by outcome first, by distance
second.
"""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

import torch
from torch import Tensor

from agents.player import Decision, choose_uniformly
from envs.game import installed

ILLEGAL = -1000  # stands for the score of a full column: below every score
_HEIGHT, _WIDTH = 6, 7


def no_bitbully(game_name: str) -> str | None:
    """Why bitbully cannot play the game; None if it can (once it is installed)."""
    if game_name == "connect_four":
        return None
    return f"bitbully solves connect_four only, not {game_name}"


class BitbullySolver:
    """Exact scores of all moves; MissingExtraError where bitbully or its book is not installed."""

    def __init__(self):
        installed("bitbully", "bitbully", "solvers")
        installed("bitbully_databases", "bitbully-databases", "solvers")
        import bitbully

        self.version = "bitbully {}, bitbully-databases {}".format(
            *(importlib.metadata.version(name) for name in ("bitbully", "bitbully-databases"))
        )
        self._board = bitbully.Board.from_array
        self._solver = bitbully.BitBully("12-ply-dist")
        self._scores = functools.lru_cache(1 << 17)(self._solve)  # games from the same openings meet again

    def scores(self, state: Any) -> Tensor:
        """B states of `envs.boards.connect_four` -> [B, 7] int64, in the view of the mover; ILLEGAL in full columns.

        B one after the other: about 0.1 s each at 12 to 16 stones, milliseconds before (the book) and after.
        """
        first = torch.where(state.to_play[:, None, None] == 0, state.stones, state.stones.flip(1))  # [B, 2, 42]
        cells = (first[:, 0].long() + 2 * first[:, 1].long()).tolist()
        return torch.tensor([self._scores(tuple(row)) for row in cells]).reshape(-1, _WIDTH)

    def _solve(self, cells: tuple[int, ...]) -> list[int]:
        """42 cells, the top row first: 0 empty, 1 and 2 the stones of the first and second player."""
        board = self._board([list(cells[row * _WIDTH : (row + 1) * _WIDTH]) for row in range(_HEIGHT)])
        found = self._solver.score_all_moves(board)
        return [found.get(column, ILLEGAL) for column in range(_WIDTH)]


@functools.cache
def shared_solver() -> BitbullySolver:
    """The process's one solver: its book is read once, and what it found for one match serves the next."""
    return BitbullySolver()


class BitbullyPlayer:
    """Plays perfectly: the fastest win, else a draw, else the slowest loss; equal moves with equal chances."""

    name = "bitbully"

    def __init__(self, solver: BitbullySolver | None = None):
        """MissingExtraError where bitbully is not installed."""
        self.solver = solver or shared_solver()

    def act_on_state(self, state: Any, seed: Tensor) -> Decision:
        """See `agents.player.StatePlayer`. The value is that of the outcome: -1, 0 or 1."""
        scores = self.solver.scores(state)
        best = scores.amax(1, keepdim=True)
        mask = scores == best
        value = best.sign() * torch.stack([1 - 2 * state.to_play, 2 * state.to_play - 1], 1)
        return Decision(choose_uniformly(mask, seed), mask.float() / mask.sum(1, keepdim=True), value=value.float())
