"""What episodes add up to: means, shares of wins, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from gurgeh.records import Episode


class Interval(NamedTuple):
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def wilson(successes: float, trials: int) -> Interval:
    """A share of `trials` and its 95 % interval (Wilson 1927): never outside 0..1, never empty.

    A draw may count as half a success: the interval is then a little wider than it had to be.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"wilson needs 0 <= successes <= trials and trials >= 1, found {successes} of {trials}")
    z = float(special.ndtri(0.975))
    share, weight = successes / trials, z * z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z * np.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    return Interval(share, max(0.0, float(middle - half)), min(1.0, float(middle + half)))


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """A mean and its 95 % interval by Student's t; of a single value the interval is unknown: NaN."""
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean())
    if len(sample) < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = float(special.stdtrit(len(sample) - 1, 0.975) * sample.std(ddof=1) / np.sqrt(len(sample)))
    return Interval(mean, mean - half, mean + half)


def summarize(episodes: Sequence[Episode], player: int = 0) -> dict[str, Any]:
    """What the episodes say of one player (its number in `players`), as JSON values; intervals are 95 %.

    Of one seat: `return`. Of several: also win, draw and loss (an outcome above, level with or below the best other
    seat's) and `score`, where a draw counts half. None stands for a bound that one episode cannot give.
    """
    seats = [episode.seating.index(player) for episode in episodes]
    returns = [episode.outcome[seat] for episode, seat in zip(episodes, seats)]
    summary: dict[str, Any] = {
        "episodes": len(episodes),
        "moves": float(np.mean([len(episode) for episode in episodes])),
        "return": _plain(mean_interval(returns)),
        "lowest": min(returns),
        "highest": max(returns),
        "cut": sum(episode.cut for episode in episodes),
    }
    if len(episodes[0].outcome) > 1:
        best = [max(r for s, r in enumerate(e.outcome) if s != seat) for e, seat in zip(episodes, seats)]
        wins = sum(mine > other for mine, other in zip(returns, best))
        draws = sum(mine == other for mine, other in zip(returns, best))
        losses = len(episodes) - wins - draws
        for name, count in (("win", wins), ("draw", draws), ("loss", losses), ("score", wins + draws / 2)):
            summary[name] = {"count": count, **_plain(wilson(count, len(episodes)))}
    return summary


def _plain(interval: Interval) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in interval._asdict().items()}
