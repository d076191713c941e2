"""How well policies predict: what a game that can be measured is asked, and the log score.

Shape legend: M positions, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeGuard

import torch
from torch import Tensor

from envs.game import NativeGame


class Guess(NamedTuple):
    """What a player does in M positions."""

    action: Tensor  # [M] int64
    policy: Tensor | None  # [M, A] probabilities after search; None for players without a search
    raw: Tensor | None  # [M, A] probabilities of the policy without search; None where there is none


class Measure(NamedTuple):
    """One number about a player, on positions that are not played in training."""

    search: float | None  # of the policy after search, or of the moves; None where there is nothing to measure
    raw: float | None  # of the raw policy
    reference: float  # of a player that knows nothing: every legal move alike, or nothing ever changes
    positions: int

    def finite(self) -> float | None:
        """The number after search where there is one, else that of the raw policy; None where it is infinite."""
        value = self.raw if self.search is None else self.search
        return value if value is not None and math.isfinite(value) else None


NAMES = ("bits_per_byte", "bits_per_dim", "bits_per_coordinate", "right", "error_1", "error_4", "error_8")
"""The measures of the games here, which goals can name."""
Predict = Callable[[Any], Guess]  # M states of the game's own type -> Guess


class MeasuredGame(NativeGame, Protocol):
    """Native rules that can say how well a policy predicts what is held out."""

    def measure(self, predict: Predict, limit: int) -> dict[str, Measure]:
        """Measures by name, from about `limit` held-out positions, or all if there are fewer; smaller is better, but
        for `right`, the share of right moves."""
        ...


class SequenceGame(MeasuredGame, Protocol):
    """A prediction of symbols one after another, from which a model of counts can be made."""

    def lessons(self) -> tuple[Any, Tensor]:
        """All training positions: M states, and the right actions [M] int64."""
        ...

    def symbols(self, state: Any, count: int) -> Tensor:
        """[B, count] int64: the last symbols before the one that is asked, the latest last; A before the beginning."""
        ...


def is_measured(game: NativeGame | None) -> TypeGuard[MeasuredGame]:
    """Whether rules can measure policies (`MeasuredGame`)."""
    return game is not None and callable(getattr(game, "measure", None))


def is_sequence(game: NativeGame | None) -> TypeGuard[SequenceGame]:
    """Whether rules are those of a sequence of symbols (`SequenceGame`)."""
    return is_measured(game) and callable(getattr(game, "lessons", None)) and callable(getattr(game, "symbols", None))


def bits(probability: Tensor | None, answer: Tensor) -> float | None:
    """Mean of -log2 p(answer): probability [M, A], answer [M] int64. Infinite where an answer was held impossible."""
    if probability is None:
        return None
    chosen = probability.double().gather(1, answer[:, None])[:, 0]
    return float(-chosen.log2().mean()) + 0.0


def log_scores(unit: str, guess: Guess, answer: Tensor, alphabet: int) -> dict[str, Measure]:
    """`bits_per_UNIT` and `right`; alphabet: how many symbols are legal."""
    count = len(answer)
    raw = None if guess.raw is None else float((guess.raw.argmax(1) == answer).double().mean())
    right = float((guess.action == answer).double().mean())
    return {
        f"bits_per_{unit}": Measure(
            bits(guess.policy, answer), bits(guess.raw, answer), math.log2(alphabet), count
        ),
        "right": Measure(right, raw, 1 / alphabet, count),
    }  # fmt: skip


def spread(count: int, limit: int) -> Tensor:
    """[M] int64: at most `limit` of the numbers 0 to count - 1, evenly spread."""
    if count <= limit:
        return torch.arange(count)
    return (torch.arange(limit) * count) // limit
