"""Aggregates over runs and games with their uncertainty, as in rliable (Agarwal et al. 2021, "Deep RL at the edge of
the statistical precipice"). Shapes: S seeds (runs), K games. Scores are [S, K], one row a seed; larger is better.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from monitor.refusals import UndefinedError

RESAMPLINGS = 2000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A point estimate and the ends of its interval."""

    value: float
    low: float
    high: float


def scores(values: np.ndarray, name: str = "scores", seeds: int = 1) -> np.ndarray:
    """[S, K] float64. UndefinedError unless it is finite with at least `seeds` rows."""
    found = np.asarray(values, np.float64)
    if found.ndim != 2 or not found.size:
        raise UndefinedError(f"{name} must be [seeds, games]; found the shape {found.shape}")
    if len(found) < seeds:
        raise UndefinedError(f"{name} are of {len(found)} seeds and at least {seeds} are needed: run more seeds")
    if not np.isfinite(found).all():
        missing = int((~np.isfinite(found)).sum())
        raise UndefinedError(
            f"{name} hold {missing} numbers that are not finite; every seed must have played every game"
        )
    return found


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """[...] mean of the middle half of all runs of all games: values [..., S, K].

    The lowest and the highest quarter, whole numbers of runs, are left out (scipy's trim_mean with 0.25, as rliable).
    """
    flat = np.sort(values.reshape(*values.shape[:-2], -1), -1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(-1)


def stratified(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], generator: np.random.Generator,
    level: float = 0.95,
) -> Interval:  # fmt: skip
    """`statistic` of scores [S, K] with a percentile interval from resampling the seeds within each game.

    statistic: [..., S, K] -> [...]. Raises UndefinedError for fewer than 3 seeds. With few seeds the interval is too
    narrow (Agarwal et al. find it good from about 10 runs of 26 games on).
    """
    values = scores(values, seeds=3)
    seeds, games = values.shape
    picked = generator.integers(seeds, size=(RESAMPLINGS, seeds, games))
    found = statistic(values[picked, np.arange(games)])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(values)), float(low), float(high))


def iqm(values: np.ndarray, generator: np.random.Generator, level: float = 0.95) -> Interval:
    """Interquartile mean of scores [S, K] with its stratified bootstrap interval. Raises UndefinedError."""
    return stratified(values, interquartile_mean, generator, level)


def improvement(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[...] probability that a run of `one` [..., S, K] beats a run of `other` [..., S', K] on a game drawn evenly.

    A tie counts as half: the Mann-Whitney U of each game, averaged.
    """
    ahead = one[..., :, None, :] > other[..., None, :, :]
    level = one[..., :, None, :] == other[..., None, :, :]
    return (ahead + 0.5 * level).mean((-3, -2)).mean(-1)


def probability_of_improvement(
    one: np.ndarray, other: np.ndarray, generator: np.random.Generator, level: float = 0.95
) -> Interval:
    """P(one > other) averaged over games, with a stratified bootstrap interval: one [S, K], other [S', K].

    Raises UndefinedError for fewer than 3 seeds of either or other games.
    """
    one, other = scores(one, "the first scores", 3), scores(other, "the second scores", 3)
    if one.shape[1] != other.shape[1]:
        raise UndefinedError(f"{one.shape[1]} and {other.shape[1]} games: compare on the same games")
    games = np.arange(one.shape[1])
    found = np.array([
        improvement(
            one[generator.integers(len(one), size=one.shape), games],
            other[generator.integers(len(other), size=other.shape), games],
        )
        for _ in range(RESAMPLINGS)
    ])  # fmt: skip
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(improvement(one, other)), float(low), float(high))
