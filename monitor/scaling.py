"""Fits over scale: L(N, D) with a bootstrap by configuration, breaks, K50, Elo against simulations.

Shapes: n measurements, G configurations (all measurements of one run, or of one N, belong together). Fits are of the
logarithm of the loss. They describe what was measured and say whether a break is in it; they never predict breaks that
were not seen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import optimize, stats

from monitor.aggregates import Interval
from monitor.refusals import UndefinedError

HUBER = 1e-3  # of log residuals: beyond, a residual counts linearly (Hoffmann et al. 2022, "Chinchilla", approach 3)
RESAMPLINGS = 200
BREAK_WIDTH = 0.1  # decades of N over which a break bends, in the broken law
AICC_MARGIN = 10.0


@dataclasses.dataclass(frozen=True)
class Law:
    """A sum of terms, all positive: exp of linear functions of the parameters, so that log L is a log-sum-exp.

    terms: parameters [p] -> log of each term at the measurements [terms, n]; slopes: the derivative [terms, n, p].
    """

    names: tuple[str, ...]
    terms: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    starts: Callable[[np.ndarray, np.ndarray, np.ndarray], list[np.ndarray]]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def predict(self, parameters: np.ndarray, size: np.ndarray, data: np.ndarray) -> np.ndarray:
        """log L [n] at log sizes and log data [n]."""
        return np.logaddexp.reduce(self.terms(parameters, size, data)[0], 0)


def _plain_terms(p: np.ndarray, size: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log E, log A - a log N, log B - b log D, for p = (log E, log A, a, log B, b)."""
    one, none = np.ones_like(size), np.zeros_like(size)
    terms = np.stack([p[0] * one, p[1] - p[2] * size, p[3] - p[4] * data])
    slopes = np.stack([
        np.stack([one, none, none, none, none], 1),
        np.stack([none, one, -size, none, none], 1),
        np.stack([none, none, none, one, -data], 1),
    ])  # fmt: skip
    return terms, slopes


def _plain_starts(size: np.ndarray, data: np.ndarray, loss: np.ndarray) -> list[np.ndarray]:
    floor, middle = loss.min(), float(np.median(loss))
    return [
        np.array([floor + shift, middle + a * size.mean(), a, middle + b * data.mean(), b])
        for shift in (-0.1, -2.0)
        for a in (0.1, 0.5)
        for b in (0.1, 0.5)
    ]


def _broken_terms(p: np.ndarray, size: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `_plain_terms`, the second less c log(1 + (N / N_b)^(1/f)) f: p = (..., log N_b, c)."""
    terms, slopes = _plain_terms(p[:5], size, data)
    width = BREAK_WIDTH * math.log(10)
    ahead = (size - p[5]) / width
    bend = np.logaddexp(0, ahead) * width
    inside = 1 / (1 + np.exp(-np.clip(ahead, -500, 500)))
    terms[1] -= p[6] * bend
    more = np.zeros((3, len(size), 2))
    more[1, :, 0], more[1, :, 1] = p[6] * inside, -bend
    return terms, np.concatenate([slopes, more], 2)


def _broken_starts(size: np.ndarray, data: np.ndarray, loss: np.ndarray) -> list[np.ndarray]:
    places = np.quantile(np.unique(size), [0.3, 0.5, 0.7])
    return [
        np.append(start, [place, change])
        for start in _plain_starts(size, data, loss)[::2]
        for place in places
        for change in (-0.2, 0.3)
    ]


_BIG = 700.0
PLAIN = Law(
    ("log_E", "log_A", "a", "log_B", "b"), _plain_terms, _plain_starts,
    (-_BIG, -_BIG, 0.0, -_BIG, 0.0), (_BIG, _BIG, 10.0, _BIG, 10.0),
)  # fmt: skip
BROKEN = Law(
    (*PLAIN.names, "log_N_break", "change"), _broken_terms, _broken_starts,
    (*PLAIN.low, -_BIG, -10.0), (*PLAIN.high, _BIG, 10.0),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Fit:
    """L(N, D) = E + A N^-a + B D^-b (and, for the broken law, a change of a's slope at N_break)."""

    law: Law
    parameters: np.ndarray  # [p] as `law.names`
    residuals: np.ndarray  # [n] log loss less the fit
    resampled: np.ndarray  # [R, p], from configurations drawn anew; empty where that was not asked for

    def predict(self, size: np.ndarray, data: np.ndarray) -> np.ndarray:
        """Loss [n] at sizes and data [n]."""
        return np.exp(self.law.predict(self.parameters, np.log(size), np.log(data)))

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """Of a parameter by its name, or of E, A, B: percentiles of the bootstrap."""
        if not len(self.resampled):
            raise UndefinedError("this fit has no bootstrap, so no interval")
        if f"log_{name}" in self.law.names:
            place = self.law.names.index(f"log_{name}")
            values, point = np.exp(self.resampled[:, place]), float(np.exp(self.parameters[place]))
        else:
            place = self.law.names.index(name)
            values, point = self.resampled[:, place], float(self.parameters[place])
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return Interval(point, float(low), float(high))

    def aicc(self) -> float:
        """Akaike's criterion for small samples (Hurvich and Tsai 1989), from the squared log residuals."""
        return corrected_akaike(self.residuals, len(self.parameters))


def corrected_akaike(residuals: np.ndarray, parameters: int) -> float:
    """n log(RSS / n) + 2 k + 2 k (k + 1) / (n - k - 1), k with the noise's variance counted. Raises UndefinedError."""
    count, k = len(residuals), parameters + 1
    if count <= k + 1:
        raise UndefinedError(f"{count} measurements cannot carry {parameters} parameters; at least {k + 2} are needed")
    squares = max(float(residuals @ residuals), 1e-300)
    return count * math.log(squares / count) + 2 * k + 2 * k * (k + 1) / (count - k - 1)


def fit_law(
    size: np.ndarray,
    data: np.ndarray,
    loss: np.ndarray,
    configuration: Sequence | np.ndarray,
    generator: np.random.Generator | None = None,
    law: Law = PLAIN,
) -> Fit:
    """Fit L(N, D) to losses [n] > 0 at sizes N [n] and data D [n] (parameters; updates, positions or tokens).

    Huber loss (1e-3) on log residuals, from several starts. configuration: [n] names of what is drawn together in the
    bootstrap; generator: for it, None: no bootstrap. Raises UndefinedError for fewer than 4 sizes or 4 amounts of data,
    fewer than 8 configurations with a bootstrap, too few measurements, or losses that are not above 0.
    """
    size, data, loss, groups = _measurements(size, data, loss, configuration, law)
    starts = law.starts(size, data, loss)
    found = [_minimise(law, start, size, data, loss) for start in starts]
    best = min(found, key=lambda entry: entry[1])[0]
    resampled = np.empty((0, len(best)))
    if generator is not None:
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        if len(members) < 8:
            raise UndefinedError(f"a bootstrap by configuration needs at least 8 configurations; found {len(members)}")
        draws = []
        for _ in range(RESAMPLINGS):
            rows = np.concatenate([members[i] for i in generator.integers(len(members), size=len(members))])
            draws.append(_minimise(law, best, size[rows], data[rows], loss[rows])[0])
        resampled = np.stack(draws)
    return Fit(law, best, loss - law.predict(best, size, data), resampled)


def _measurements(
    size: np.ndarray, data: np.ndarray, loss: np.ndarray, configuration: Sequence | np.ndarray, law: Law
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """log N, log D, log L and which configuration each is of."""
    parts = [np.asarray(part, np.float64) for part in (size, data, loss)]
    groups = np.asarray(configuration)
    if any(part.shape != (len(groups),) for part in parts):
        raise UndefinedError(f"sizes, data, losses and configurations have the shapes {[p.shape for p in parts]}, "
                        f"{groups.shape}; give one of each a measurement")  # fmt: skip
    if not all(np.isfinite(part).all() and (part > 0).all() for part in parts):
        raise UndefinedError("sizes, data and losses must be finite and above 0")
    for name, part in zip(("sizes N", "amounts of data D"), parts):
        if len(np.unique(part)) < 4:
            raise UndefinedError(
                f"{len(np.unique(part))} different {name}; an exponent beside a floor needs at least 4"
            )
    if len(groups) < len(law.names) + 3:
        raise UndefinedError(
            f"{len(groups)} measurements; {len(law.names)} parameters need at least {len(law.names) + 3}"
        )
    return (*(np.log(part) for part in parts), groups)  # type: ignore[return-value]


def _minimise(
    law: Law, start: np.ndarray, size: np.ndarray, data: np.ndarray, loss: np.ndarray
) -> tuple[np.ndarray, float]:
    """(parameters, value) of a local minimum of the Huber loss of log residuals."""

    def residual(p: np.ndarray) -> np.ndarray:
        return law.predict(p, size, data) - loss

    def slope(p: np.ndarray) -> np.ndarray:
        terms, slopes = law.terms(p, size, data)
        share = np.exp(terms - np.logaddexp.reduce(terms, 0))
        return np.einsum("tn,tnp->np", share, slopes)

    jacobian: Any = slope  # scipy's stubs know only the names of methods
    inside = np.clip(start, np.array(law.low) + 1e-6, np.array(law.high) - 1e-6)
    # A wide Huber loss first: the narrow one is nearly an absolute value, on which a far start creeps.
    for scale in (0.1, HUBER):
        found = optimize.least_squares(
            residual, inside, jacobian, (law.low, law.high), loss="huber", f_scale=scale, x_scale="jac", max_nfev=300
        )
        inside = np.clip(found.x, np.array(law.low) + 1e-9, np.array(law.high) - 1e-9)
    return found.x, float(found.cost)


def held_out_error(
    size: np.ndarray, data: np.ndarray, loss: np.ndarray, configuration: Sequence | np.ndarray, law: Law = PLAIN
) -> float:
    """Mean |log residual| at the largest N of a law fitted without it. Raises UndefinedError as `fit_law`."""
    size, data, loss = (np.asarray(part, np.float64) for part in (size, data, loss))
    held = size == size.max()
    kept = fit_law(size[~held], data[~held], loss[~held], np.asarray(configuration)[~held], law=law)
    return float(np.abs(np.log(loss[held]) - np.log(kept.predict(size[held], data[held]))).mean())


@dataclasses.dataclass(frozen=True)
class Break:
    """Whether a bend in N is accepted, and on what grounds."""

    accepted: bool
    at: float  # N
    delta_aicc: float  # plain less broken
    plain_error: float  # at the largest N, held out
    broken_error: float


def find_break(size: np.ndarray, data: np.ndarray, loss: np.ndarray, configuration: Sequence | np.ndarray) -> Break:
    """A bend of the law in N: accepted only if AICc improves by more than 10 and so does the largest N held out.

    It detects a break inside what was measured (Caballero et al. 2023, "Broken neural scaling laws", smooth form) and
    says nothing of breaks beyond. Raises UndefinedError for fewer than 6 sizes.
    """
    if len(np.unique(size)) < 6:
        raise UndefinedError(f"{len(np.unique(size))} sizes; a bend with two slopes and one held out needs at least 6")
    plain = fit_law(size, data, loss, configuration)
    broken = fit_law(size, data, loss, configuration, law=BROKEN)
    errors = [held_out_error(size, data, loss, configuration, law) for law in (PLAIN, BROKEN)]
    gain = plain.aicc() - broken.aicc()
    place = float(np.exp(broken.parameters[5]))
    inside = float(np.min(size)) < place < float(np.max(size))
    accepted = gain > AICC_MARGIN and errors[1] < errors[0] and inside
    return Break(accepted, place, gain, errors[0], errors[1])


# -- architectures at matched compute -----------------------------------------------------------------------------

GRID = 9  # amounts of compute at which frontiers are compared, evenly spaced in their logarithm
FEWEST_CONFIGURATIONS = 4


@dataclasses.dataclass(frozen=True)
class Frontier:
    """The lowest loss that an architecture reaches at each amount of compute, and how fast it falls."""

    compute: np.ndarray  # [GRID]
    loss: np.ndarray  # [GRID]; NaN where no configuration was measured at that much compute
    exponent: Interval  # minus the slope of log loss against log compute


@dataclasses.dataclass(frozen=True)
class Matched:
    """Two architectures over the compute that both were trained with."""

    one: Frontier
    other: Frontier
    difference: Interval  # exponent of one less that of the other; above 0: one gains more from compute


def _log_frontier(curves: Sequence[tuple[np.ndarray, np.ndarray]], grid: np.ndarray) -> np.ndarray:
    """[GRID] smallest log loss of curves (log compute [n], log loss [n]) between whose ends a grid point lies."""
    inside = [
        np.where((grid >= x[0] - 1e-9) & (grid <= x[-1] + 1e-9), np.interp(grid, x, y), np.nan) for x, y in curves
    ]
    return np.where(np.isfinite(inside).any(0), np.nanmin([*inside, np.full_like(grid, np.inf)], 0), np.nan)


def _slope(grid: np.ndarray, frontier: np.ndarray) -> float:
    """Minus the least-squares slope over the grid points that are known; NaN for fewer than 3."""
    known = np.isfinite(frontier)
    return -float(np.polyfit(grid[known], frontier[known], 1)[0]) if known.sum() >= 3 else math.nan


def _curves(compute: np.ndarray, loss: np.ndarray, configuration: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per configuration (log compute rising [n], mean log loss over its runs [n])."""
    curves = []
    for name in dict.fromkeys(configuration.tolist()):
        mine = configuration == name
        places, at = np.unique(compute[mine], return_inverse=True)
        mean = np.bincount(at, np.log(loss[mine])) / np.bincount(at)
        curves.append((np.log(places), mean))
    return curves


def matched_compute(
    one: tuple[np.ndarray, np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray, np.ndarray],
    generator: np.random.Generator, level: float = 0.95,
) -> Matched:  # fmt: skip
    """Compare two architectures, each (compute [n] in FLOPs, loss [n], configuration [n]), at the same compute.

    For each: the lowest loss of any configuration at each of 9 amounts of compute that both reach (runs of one
    configuration are averaged, between measurements linear in logarithms), and the slope of its logarithm: a local
    exponent over that range, with no floor taken off. Percentile intervals from configurations drawn anew. Raises
    UndefinedError for fewer than 4 configurations of either, losses or compute not above 0, or too little overlap.
    """
    curves = []
    for compute, loss, configuration in (one, other):
        compute, loss = np.asarray(compute, np.float64), np.asarray(loss, np.float64)
        if not (np.isfinite(compute).all() and (compute > 0).all() and np.isfinite(loss).all() and (loss > 0).all()):
            raise UndefinedError("compute and losses must be finite and above 0")
        curves.append(_curves(compute, loss, np.asarray(configuration)))
        if len(curves[-1]) < FEWEST_CONFIGURATIONS:
            raise UndefinedError(
                f"{len(curves[-1])} configurations of an architecture; an exponent's interval needs at least "
                f"{FEWEST_CONFIGURATIONS} sizes of each"
            )
    low = max(min(x[0] for x, _ in group) for group in curves)
    high = min(max(x[-1] for x, _ in group) for group in curves)
    if high - low < math.log(3):
        raise UndefinedError(
            f"both architectures were trained with {math.exp(low):.3g} to {math.exp(high):.3g} FLOPs only; exponents "
            "need an overlap of a factor of 3 at least"
        )
    grid = np.linspace(low, high, GRID)
    best = [_log_frontier(group, grid) for group in curves]
    draws = np.array([
        [_slope(grid, _log_frontier([group[i] for i in generator.integers(len(group), size=len(group))], grid))
         for group in curves]
        for _ in range(RESAMPLINGS)
    ])  # fmt: skip
    draws = draws[np.isfinite(draws).all(1)]
    if len(draws) < RESAMPLINGS // 2:
        raise UndefinedError("most draws of the configurations do not cover the overlap; train more sizes")
    slopes = [_slope(grid, frontier) for frontier in best]

    def interval(value: float, values: np.ndarray) -> Interval:
        ends = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return Interval(value, float(ends[0]), float(ends[1]))

    found = [
        Frontier(np.exp(grid), np.exp(frontier), interval(slopes[i], draws[:, i])) for i, frontier in enumerate(best)
    ]
    return Matched(found[0], found[1], interval(slopes[0] - slopes[1], draws[:, 0] - draws[:, 1]))


# -- from which number of games on --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Fifty:
    """The number of games from which an outcome is more likely than not, at one size."""

    games: float  # K50
    low: float  # 0: no bound
    high: float  # inf: no bound
    per_doubling: float  # b1
    per_tenfold: float  # b2; 0 where all sizes are one


def fifty_percent_games(
    games: np.ndarray, size: np.ndarray, happened: np.ndarray, at_size: float, level: float = 0.95, seeds: int = 5
) -> Fifty:
    """K50 of P = logistic(b0 + b1 log2 K + b2 log10 N) at size `at_size`, with its profile-likelihood interval.

    games K [n], size N [n], happened [n] bool: one row a run. The interval holds every K50 whose best fit is within
    chi2(1) / 2 of the best of all; it is open where the runs do not bound it. Raises UndefinedError for fewer than
    `seeds` runs of a (K, N), fewer than 3 numbers of games, or outcomes that are all the same.
    """
    games, size, happened = np.asarray(games, np.float64), np.asarray(size, np.float64), np.asarray(happened, bool)
    if not games.shape == size.shape == happened.shape or games.ndim != 1:
        raise UndefinedError(f"games, size and outcome have the shapes {games.shape}, {size.shape}, {happened.shape}")
    if not ((games > 0).all() and (size > 0).all() and at_size > 0):
        raise UndefinedError("numbers of games and sizes must be above 0")
    counts = np.unique(np.stack([games, size], 1), axis=0, return_counts=True)[1]
    if counts.min() < seeds:
        raise UndefinedError(f"a configuration has {counts.min()} runs and at least {seeds} seeds are needed")
    if len(np.unique(games)) < 3:
        raise UndefinedError(
            f"{len(np.unique(games))} numbers of games; at least 3 are needed for a slope and its interval"
        )
    if happened.all() or not happened.any():
        raise UndefinedError(f"the outcome was {bool(happened[0])} in every run; measure where it changes")
    x, z = np.log2(games), np.log10(size) - math.log10(at_size)
    varies = bool(np.ptp(z) > 0)
    sign = np.where(happened, 1.0, -1.0)

    def cost(p: np.ndarray, fifty: float) -> tuple[float, np.ndarray]:
        margin = sign * (p[0] * (x - fifty) + (p[1] * z if varies else 0.0))
        pull = -sign / (1 + np.exp(np.clip(margin, -500, 500)))
        slope = np.array([pull @ (x - fifty), pull @ z if varies else 0.0])
        return float(np.logaddexp(0, -margin).sum()), slope

    bound = 60.0  # per doubling: beyond, a step is a step

    def profile(fifty: float) -> tuple[float, np.ndarray]:
        found = [
            optimize.minimize(
                cost, np.array([start, 0.0]), (fifty,), "L-BFGS-B", True, bounds=[(-bound, bound), (-200.0, 200.0)]
            )
            for start in (1.0, -1.0)
        ]
        best = min(found, key=lambda entry: entry.fun)
        return float(best.fun), best.x

    grid = np.linspace(x.min() - 4, x.max() + 4, 161)
    values = np.array([profile(place)[0] for place in grid])
    start = grid[values.argmin()]
    step = grid[1] - grid[0]
    fine: Any = optimize.minimize_scalar(lambda k: profile(k)[0], bounds=(start - step, start + step), method="bounded")
    best, (cost_best, slopes) = float(fine.x), profile(float(fine.x))
    limit = cost_best + stats.chi2.ppf(level, 1) / 2

    def end(direction: int) -> float:
        """Where the profile crosses the limit, walking from the best; None inside the grid: no bound."""
        outside = [k for k, v in zip(grid, values) if (k - best) * direction > 0 and v > limit]
        if not outside:
            return direction * math.inf
        far = outside[0] if direction > 0 else outside[-1]
        crossing: Any = optimize.brentq(lambda k: profile(k)[0] - limit, best, far)
        return float(crossing)

    low, high = end(-1), end(1)
    return Fifty(2**best, 2**low, 2**high, float(slopes[0]), float(slopes[1]) if varies else 0.0)


# -- what search is worth -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SearchWorth:
    """Elo = c + slope log2(simulations), and whether it bends."""

    per_doubling: Interval
    bend: Interval  # of the second-order term; an interval that leaves 0 out: doublings are not worth the same


def elo_per_doubling(simulations: np.ndarray, elo: np.ndarray, error: np.ndarray, level: float = 0.95) -> SearchWorth:
    """What a doubling of the simulations is worth: ratings [n] with standard errors [n] at simulations [n] >= 1.

    Weighted least squares with known errors; the bend is the coefficient of (log2 simulations)^2, centred. Use it for
    one checkpoint at different simulations, or with budgets of time in place of simulations (Jones 2021; Neumann and
    Gros 2022). Raises UndefinedError for fewer than 4 different numbers of simulations, or errors that are not above 0.
    """
    parts = [np.asarray(part, np.float64) for part in (simulations, elo, error)]
    if len({part.shape for part in parts}) > 1 or parts[0].ndim != 1 or not all(np.isfinite(p).all() for p in parts):
        raise UndefinedError("simulations, ratings and errors must be finite and one of each a player")
    if len(np.unique(parts[0])) < 4 or (parts[0] < 1).any():
        raise UndefinedError(
            f"at least 4 different numbers of simulations, all at least 1, are needed; found {parts[0]}"
        )
    if (parts[2] <= 0).any():
        raise UndefinedError("errors must be above 0; a rating without an error (the anchor) is left out")
    x = np.log2(parts[0])
    x = x - np.average(x, weights=parts[2] ** -2)
    reach = float(stats.norm.ppf((1 + level) / 2))

    def coefficient(columns: Sequence[np.ndarray], place: int) -> Interval:
        design = np.stack(columns, 1) / parts[2][:, None]
        covariance = np.linalg.inv(design.T @ design)
        found = covariance @ design.T @ (parts[1] / parts[2])
        half = reach * math.sqrt(covariance[place, place])
        return Interval(float(found[place]), float(found[place] - half), float(found[place] + half))

    one = np.ones_like(x)
    return SearchWorth(coefficient([one, x], 1), coefficient([one, x, x**2], 2))
