"""Transfer between games: GEM's and Continual World's measures, adaptation to held-out games, the learning curve.

Conventions: performance is larger for better (give minus a loss); budgets and steps are optimiser updates, counted from
the first one on the game. Shapes: T games in order of introduction, n points of a curve, S seeds, K cells.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy import stats

from monitor.aggregates import Interval
from monitor.refusals import UndefinedError

SHOTS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)
"""Shares of the from-scratch budget at which adaptation is looked at."""


# -- a sequence of games ------------------------------------------------------------------------------------------


def _results(results: np.ndarray, name: str) -> np.ndarray:
    found = np.asarray(results, np.float64)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or len(found) < 2:
        raise UndefinedError(f"{name} needs a square matrix of at least two games; found the shape {found.shape}")
    return found


def _needed(values: np.ndarray, what: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise UndefinedError(
            f"{what} of games {np.flatnonzero(~np.isfinite(values)).tolist()} are not known; evaluate them"
        )
    return values


def forward_transfer(results: np.ndarray, untrained: np.ndarray) -> float:
    """GEM's FWT: mean over games i > 0 of R[i - 1, i] - b_i (Lopez-Paz and Ranzato 2017).

    results: [T, T], row i after game i was learnt, column j measured on game j; untrained: [T] b, performance of a
    network that has learnt nothing. Only what is above the diagonal is read. Where a game cannot be played before it is
    introduced (no shared encoder or actions) it is not defined: leave NaN, and it is refused. Raises UndefinedError.
    """
    results, untrained = _results(results, "forward transfer"), np.asarray(untrained, np.float64)
    if untrained.shape != (len(results),):
        raise UndefinedError(
            f"forward transfer needs one untrained performance a game; found the shape {untrained.shape}"
        )
    before = _needed(np.diag(results, 1), "performances before the introduction")
    return float((before - _needed(untrained[1:], "untrained performances")).mean())


def forgetting(results: np.ndarray) -> float:
    """Mean over old games i of max over l < T of R[l, i] - R[T, i] (Chaudhry et al. 2018), l from i on.

    results: as in `forward_transfer`. It counts from the best a game ever was, so unlike backward transfer it is
    biased upwards by noise. Raises UndefinedError.
    """
    results = _results(results, "forgetting")
    last = len(results) - 1
    lost = [
        _needed(results[game:, game], "performances").max(initial=-np.inf, where=np.arange(game, last + 1) < last)
        - results[last, game]
        for game in range(last)
    ]
    return float(np.mean(lost))


def average_performance(curves: np.ndarray) -> float:
    """Continual World's P(T): mean over games of the last performance; curves [T, n] in [0, 1], n points in time."""
    return float(_curves(curves)[:, -1].mean())


def continual_forgetting(curves: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """[T] Continual World's F_i = p_i(end of its own training) - p_i(T) (Wolczyk et al. 2021, eq. 3).

    curves: [T, n]; ends: [T] int, the point at which each game's own training ended. Raises UndefinedError.
    """
    curves, ends = _curves(curves), np.asarray(ends)
    if ends.shape != (len(curves),) or (ends < 0).any() or (ends >= curves.shape[1]).any():
        raise UndefinedError(
            f"{len(curves)} games need {len(curves)} ends from 0 to {curves.shape[1] - 1}; found {ends}"
        )
    return curves[np.arange(len(curves)), ends] - curves[:, -1]


def continual_forward_transfer(own: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """[T] Continual World's FT_i = (AUC_i - AUC_i^b) / (1 - AUC_i^b) (Wolczyk et al. 2021, eq. 4).

    own: [T, n] performance in [0, 1] of each game during its own training in the sequence, evenly spaced; alone: the
    same trained from scratch. Raises UndefinedError where the reference is perfect throughout: nothing is left to gain.
    """
    areas = [np.trapezoid(_curves(part), axis=1) / (np.shape(part)[1] - 1) for part in (own, alone)]
    if len(areas[0]) != len(areas[1]):
        raise UndefinedError(f"{len(areas[0])} games in the sequence and {len(areas[1])} alone; give the same games")
    if (areas[1] >= 1).any():
        raise UndefinedError(
            "a game is perfect from scratch throughout, so its forward transfer has no scale; leave it out"
        )
    return (areas[0] - areas[1]) / (1 - areas[1])


def _curves(curves: np.ndarray) -> np.ndarray:
    found = np.asarray(curves, np.float64)
    if found.ndim != 2 or found.shape[1] < 2 or not np.isfinite(found).all() or found.min() < 0 or found.max() > 1:
        raise UndefinedError(
            f"performance must be finite, [games, at least 2 points] and within [0, 1]; found the shape {found.shape}"
            + (f" from {np.nanmin(found):.3g} to {np.nanmax(found):.3g}" if found.size else "")
        )
    return found


# -- one game, learnt from a start --------------------------------------------------------------------------------


def _curve(steps: np.ndarray, performance: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    steps, performance = np.asarray(steps, np.float64), np.asarray(performance, np.float64)
    if steps.shape != performance.shape or steps.ndim != 1 or len(steps) < 2:
        raise UndefinedError(
            f"{name}: a curve needs at least two steps and as many performances; found {steps.shape} and "
            f"{performance.shape}"
        )
    if not (np.isfinite(steps).all() and np.isfinite(performance).all()) or (np.diff(steps) <= 0).any() or steps[0] < 0:
        raise UndefinedError(f"{name}: steps must rise from 0 on, and all must be finite")
    return steps, performance


def budgets(scratch_updates: int) -> list[int]:
    """Updates at {0, .1, .3, 1, 3, 10} % of the from-scratch budget; those that round together are one."""
    return sorted({round(share * scratch_updates) for share in SHOTS})


def jump_start(pretrained: float, scratch: float) -> float:
    """Performance before the first update less that from scratch (Taylor and Stone 2009).

    Only where encoder and action embeddings are shared with games that were trained; else zero-shot play is not defined
    (give NaN, and it is refused).
    """
    found = pretrained - scratch
    if not math.isfinite(found):
        raise UndefinedError(
            "zero-shot performance is not defined where the game has an encoder or actions of its own; begin with the "
            "first shot"
        )
    return found


def reached(steps: np.ndarray, performance: np.ndarray, threshold: float) -> float | None:
    """The step at which a curve [n] first reaches `threshold` and stays there to its end, between points linearly; None
    if it never does. Raises UndefinedError."""
    steps, performance = _curve(steps, performance, "reached")
    below = np.flatnonzero(performance < threshold)
    if not len(below):
        return float(steps[0])
    last = below[-1]
    if last == len(steps) - 1:
        return None
    share = (threshold - performance[last]) / (performance[last + 1] - performance[last])
    return float(steps[last] + share * (steps[last + 1] - steps[last]))


@dataclasses.dataclass(frozen=True)
class Savings:
    """1 - T_pre / T_scratch; `bound`: the pretrained run did not get there, and this is the most it can be."""

    value: float
    bound: bool


def savings(pretrained: float | None, scratch: float | None, budget: float) -> Savings:
    """Which share of the from-scratch updates a start saves on the way to the same performance.

    pretrained, scratch: steps from `reached`, None for never within `budget` updates of the pretrained run. 0.9 means a
    tenth of the updates (effective data transferred, Hernandez et al. 2021, is T_scratch - T_pre). Negative where the
    start hinders. Raises UndefinedError where the run from scratch never gets there: then there is nothing to compare
    with.
    """
    if scratch is None or not scratch > 0:
        raise UndefinedError(
            "the run from scratch never reaches the threshold (or is there from the beginning), so no time can be "
            "saved; lower the threshold or train from scratch for longer"
        )
    if pretrained is None:
        return Savings(1 - budget / scratch, True)
    return Savings(1 - pretrained / scratch, False)


def area_ratio(
    steps: np.ndarray, pretrained: np.ndarray, scratch: np.ndarray, floor: float
) -> float:  # fmt: skip
    """(area under the pretrained curve - area from scratch) / area from scratch (Taylor and Stone 2009).

    Both curves [n] at the same steps [n], above `floor`, the performance of knowing nothing (random play), without
    which the ratio would depend on where the scale begins. Raises UndefinedError where the area from scratch is not
    above 0.
    """
    steps, one = _curve(steps, pretrained, "pretrained")
    steps, other = _curve(steps, scratch, "scratch")
    areas = [float(np.trapezoid(curve - floor, steps)) for curve in (one, other)]
    if not areas[1] > 0:
        raise UndefinedError(
            f"the area from scratch above {floor:.3g} is {areas[1]:.3g}; a ratio needs one above 0: train for longer, "
            "or give the performance of random play as the floor"
        )
    return areas[0] / areas[1] - 1


# -- games by games -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class TransferMatrix:
    """Savings from game i (row) to game j (column), with intervals that hold for all cells together."""

    mean: np.ndarray  # [K, K]; NaN where nothing was measured
    low: np.ndarray
    high: np.ndarray
    cells: int  # that the intervals are corrected for

    @property
    def certain(self) -> np.ndarray:
        """[K, K] bool: the interval leaves 0 out."""
        return (self.low > 0) | (self.high < 0)


def transfer_matrix(samples: np.ndarray, level: float = 0.95) -> TransferMatrix:
    """Means and Student's t intervals over seeds of savings [S, K, K], Bonferroni-corrected for the number of cells.

    NaN throughout a cell: not measured (the diagonal, say). Raises UndefinedError for fewer than 3 seeds in a cell, for
    then its scatter is hardly known.
    """
    samples = np.asarray(samples, np.float64)
    if samples.ndim != 3 or samples.shape[1] != samples.shape[2]:
        raise UndefinedError(f"a transfer matrix needs savings [seeds, games, games]; found the shape {samples.shape}")
    counts = np.isfinite(samples).sum(0)
    measured = counts > 0
    if not measured.any() or counts[measured].min() < 3:
        raise UndefinedError(
            f"every cell needs at least 3 seeds; the least has {int(counts[measured].min()) if measured.any() else 0}"
        )
    cells = int(measured.sum())
    shown = np.where(np.isfinite(samples), samples, np.nan)
    count = np.where(measured, counts, 1)
    mean = np.where(measured, np.nansum(shown, 0) / count, np.nan)
    scatter = np.sqrt(np.nansum((shown - mean) ** 2, 0) / np.maximum(count - 1, 1) / count)
    half = stats.t.ppf(1 - (1 - level) / (2 * cells), np.maximum(count - 1, 1)) * scatter
    return TransferMatrix(mean, mean - half, mean + half, cells)


# -- learning to learn --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """cost of the k-th game = cost of the first * k^beta, its games' own difficulties taken out."""

    beta: Interval
    progress_ratio: Interval  # 2^beta: the factor of each doubling of the number of games; below 1 is learning to learn
    runs: int


def learning_curve(costs: np.ndarray, games: np.ndarray, level: float = 0.95) -> LearningCurve:
    """Wright's learning curve over games: log2 cost = difficulty of the game + beta log2 k (Wright 1936).

    costs: [S, K] > 0, updates until the k-th game of run S reached its goal; games: [S, K] int, which game that was.
    Least squares with one constant a game; the interval of beta is Student's t with standard errors that allow games of
    one run to go together (clustered by run, CR1). Raises UndefinedError where order is not balanced: if every game
    always came at the same place, difficulty and place cannot be told apart.
    """
    costs, games = np.asarray(costs, np.float64), np.asarray(games)
    if costs.ndim != 2 or costs.shape != games.shape or len(costs) < 3 or costs.shape[1] < 2:
        raise UndefinedError(
            f"a learning curve needs costs and games [at least 3 runs, at least 2 places]; found {costs.shape} and "
            f"{games.shape}"
        )
    if not (np.isfinite(costs).all() and (costs > 0).all()):
        raise UndefinedError("costs must be finite and above 0; a game that never reached its goal has no cost")
    runs, places = costs.shape
    position = np.broadcast_to(np.log2(np.arange(1, places + 1)), costs.shape).ravel()
    difficulty = (games.ravel()[:, None] == np.unique(games)).astype(np.float64)
    design = np.column_stack([position, difficulty])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise UndefinedError(
            "every game always came at the same place, so difficulty and place cannot be told apart; balance the order "
            "of games over runs"
        )
    inverse = np.linalg.inv(design.T @ design)
    cost = np.log2(costs).ravel()
    found = inverse @ design.T @ cost
    error = (cost - design @ found).reshape(runs, places)
    scores = np.einsum("rp,rpc->rc", error, design.reshape(runs, places, -1))
    spread = inverse @ (scores.T @ scores) @ inverse * runs / (runs - 1)
    half = float(stats.t.ppf((1 + level) / 2, runs - 1) * np.sqrt(spread[0, 0]))
    beta = float(found[0])
    return LearningCurve(
        Interval(beta, beta - half, beta + half),
        Interval(2**beta, 2 ** (beta - half), 2 ** (beta + half)),
        runs,
    )
