"""The search for the best logistic step in many series at once: the matched filter of the scan.

All series share the points, the null's columns and the candidate steps, so everything that depends on those alone (the
whitened candidates, the Gram matrices for each correlation) is computed once; a series costs a few small products.
Shapes: n points, m columns of the null, C candidate steps, B series.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from monitor.nulls import active_order, corrected_correlation, correlations, nnls_many, sub_gram, times, whiten

SCALES = (0.01, 0.02, 0.05)  # of the logistic, in decades
WIDTH = 4.394  # 10-90 % width of a logistic in units of its scale: 2 ln 9
NUM_PLACES = 49
MARGIN = 0.1  # decades before the first place: a step needs points on both sides
HOLD = 0.15  # decades that a fall must last, so the last place lies this far from the end
PHI_GRID = np.array([*np.arange(0, 0.9, 0.05), 0.9, 0.925, 0.95, 0.97])
SIGMA_FLOOR = 1e-3  # nats: noise below a thousandth of the loss is not believed
SPIKE_WINDOW = 5  # points of the running median
SPIKE_LIMIT = 4.0  # upper quartiles of the distance from it: one in a thousand normal points is farther


@dataclasses.dataclass(frozen=True)
class Found:
    """The best step of each of B series."""

    statistic: np.ndarray  # [B] square root of the likelihood ratio
    number: np.ndarray  # [B] of the candidate
    size: np.ndarray  # [B] share of the loss, >= 0
    phi: np.ndarray  # [B] correlation of neighbours, of PHI_GRID
    error: np.ndarray  # [B] its standard error
    sigma: np.ndarray  # [B] standard deviation of the noise with the step removed, nats
    smooth: np.ndarray  # [B, n] log of the null fitted beside the step, less the log of the data's fit
    used: np.ndarray  # [B, m] whether a column of the null was active in any of the fits


def logistic(x: np.ndarray, place: float | np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """[n] a step down by one nat at `place` (log10 s); [C, n] of C places and scales."""
    off = (np.asarray(place)[..., None] - x) / np.asarray(scale)[..., None]
    return -1 / (1 + np.exp(np.clip(off, -500, 500)))


def candidates(x: np.ndarray, known: Sequence[float] = ()) -> list[tuple[float, float]]:
    """(place, scale) of the C steps that the scan tries at points x [n] (log10 s), away from known places."""
    places = np.linspace(x[0] + MARGIN, x[-1] - HOLD, NUM_PLACES)
    free = [float(place) for place in places if all(abs(place - other) > MARGIN for other in known)]
    if not free:
        raise ValueError("no place is left for another fall: known ones are within .1 decade of all points")
    return [(place, scale) for scale in SCALES for place in free]


def without_spikes(values: np.ndarray) -> np.ndarray:
    """Values [..., n] with lone points pulled to within 4 upper quartiles of the distance from the running median of 5.

    A step passes a running median unchanged; a spike of one or two points does not.
    """
    half = SPIKE_WINDOW // 2
    padded = np.concatenate([values[..., half:0:-1], values, values[..., -2 : -2 - half : -1]], -1)
    windows = np.stack([padded[..., i : i + values.shape[-1]] for i in range(SPIKE_WINDOW)])
    middle = _median_of_five(windows)
    off = values - middle
    # The upper quartile, for a fifth of the points or more are their window's median, at distance 0.
    distance, quartile = np.abs(off), int(0.75 * (off.shape[-1] - 1))
    limit = np.maximum(SPIKE_LIMIT * np.partition(distance, quartile, -1)[..., quartile : quartile + 1], 1e-12)
    return np.where(distance > limit, middle + np.clip(off, -limit, limit), values)


def _median_of_five(w: np.ndarray) -> np.ndarray:
    """Median over the first axis [5, ...] by minima and maxima (a sorting network), faster than a sort."""
    a, b, c, d, e = w
    low1, high1 = np.minimum(a, b), np.maximum(a, b)
    low2, high2 = np.minimum(c, d), np.maximum(c, d)
    f, g = np.maximum(low1, low2), np.minimum(high1, high2)
    low, high = np.minimum(f, g), np.maximum(f, g)
    return np.maximum(low, np.minimum(high, e))


@dataclasses.dataclass(frozen=True)
class _Fit:
    """Least squares of B series, whitened for one correlation."""

    null: np.ndarray  # [B, m] amplitudes of the null alone
    amplitude: np.ndarray  # [B, m] of the null, beside the best step
    active: np.ndarray  # [B, m + 1] of the null and that step
    number: np.ndarray  # [B] of the best step
    size: np.ndarray  # [B] its amplitude, as a share of the loss
    without: np.ndarray  # [B] residual sum of squares of the null alone
    with_step: np.ndarray  # [B] and with the best step


class Search:
    """The matched filter on one series' points.

    x: [n] log10 s. columns: [n, m] of the null divided by its fit, so that the null is "1 = columns @ a, a >= 0" for
    every surrogate.
    spread: [n] of mean 1, the relative standard deviation of the noise. known: places (log10 s) that are not searched.
    """

    def __init__(
        self, x: np.ndarray, columns: np.ndarray, spread: np.ndarray | None = None, known: Sequence[float] = ()
    ):
        self.x, self.candidates, self.known = x, candidates(x, known), tuple(known)
        self.columns = columns / np.maximum(np.sqrt((columns**2).sum(0)), 1e-300)
        self.spread = np.ones_like(x) if spread is None else spread
        self.templates = logistic(x, *np.array(self.candidates).T)
        self._at: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        # The data's fit itself, "1": where all fits begin.
        _, design, gram = self._prepared(0)
        width = columns.shape[1]
        self._origin, _ = nnls_many(gram[:width, :width], (design[:, :width].T @ (1 / self.spread))[None])

    def best(self, values: np.ndarray) -> Found:
        """Fit the null, find the step, estimate the noise with both fitted, find the step again on whitened values.

        values: [B, n] log losses less the log of the data's fit, spikes taken off. The statistic is the square root of
        what the step takes off the residual sum of squares, in units of the noise: both sums are of non-negative least
        squares, without the step and with it, so that the null may bend towards the step but not be helped by it.
        """
        relative = np.exp(values)
        white = self._fit(relative, np.zeros(len(values), int), None)
        rest = relative - white.amplitude @ self.columns.T - white.size[:, None] * self.templates[white.number]
        phi, error = corrected_correlation(rest / self.spread, white.active.sum(1))
        levels = np.abs(phi[:, None] - PHI_GRID).argmin(1)
        fit = self._fit(relative, levels, white)
        freedom = np.maximum(len(self.x) - fit.active.sum(1) - 1, 1)
        variance = np.maximum(fit.with_step / freedom, SIGMA_FLOOR**2)
        statistic = np.sqrt(np.maximum(fit.without - fit.with_step, 0) / variance)
        smooth = np.log(np.maximum(fit.amplitude @ self.columns.T, 1e-12))
        used = (white.null > 0) | (white.amplitude > 0) | (fit.null > 0) | (fit.amplitude > 0)
        return Found(statistic, fit.number, fit.size, PHI_GRID[levels], error, np.sqrt(variance), smooth, used)

    def pruned(self, used: np.ndarray) -> Search:
        """The same search with the columns `used` [m], their neighbours, and the constant: several times as fast."""
        keep = used.copy()
        keep[0] = True
        keep[1:] |= used[:-1]
        keep[:-1] |= used[1:]
        return Search(self.x, self.columns[:, keep], self.spread, self.known)

    def _prepared(self, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whitened for correlation PHI_GRID[level]: (correlations, [n, m + C] null and steps, their Gram matrix)."""
        if level not in self._at:
            rho = correlations(self.x, float(PHI_GRID[level]))
            design = whiten(np.concatenate([self.columns.T, self.templates]) / self.spread, rho).T
            self._at[level] = (rho, design, design.T @ design)
        return self._at[level]

    def _fit(self, relative: np.ndarray, levels: np.ndarray, start: _Fit | None) -> _Fit:
        """Losses over the data's fit, relative [B, n], fitted by the null, and by the null and the best step.

        levels: [B] index of each one's correlation in PHI_GRID. start: an earlier fit, to begin from.
        """
        count, width = len(relative), self.columns.shape[1]
        groups = [(int(level), np.flatnonzero(levels == level)) for level in np.unique(levels)]
        products, power = np.empty((count, width + len(self.templates))), np.empty(count)
        grams = np.empty((count, width, width))
        for level, mine in groups:
            rho, design, gram = self._prepared(level)
            target = whiten(relative[mine] / self.spread, rho)
            products[mine], power[mine], grams[mine] = target @ design, (target**2).sum(1), gram[:width, :width]
        null, active = nnls_many(
            grams, products[:, :width], np.repeat(self._origin, count, 0) if start is None else start.null
        )
        number, own, cross = np.empty(count, int), np.empty(count), np.empty((count, width))
        left = np.empty_like(products)
        for level, mine in groups:
            gram = self._prepared(level)[2]
            left[mine] = products[mine] - null[mine] @ gram[:width]
            # The step to try: the largest t-value after orthogonalisation against the active columns.
            order, valid = active_order(active[mine])
            factor = np.linalg.cholesky(sub_gram(gram, order, valid))
            steps = np.linalg.solve(factor, np.where(valid[:, :, None], gram[:, width:][order], 0.0))
            powers = np.diag(gram)[width:]
            norm = powers - (steps**2).sum(1)
            t = np.where(norm > 1e-6 * powers + 1e-6, left[mine, width:] / np.sqrt(np.maximum(norm, 1e-9)), -np.inf)
            best = t.argmax(1)
            number[mine], own[mine], cross[mine] = best, powers[best], gram[width + best][:, :width]
        joint = np.empty((count, width + 1, width + 1))
        joint[:, :width, :width] = grams
        joint[:, :width, width] = joint[:, width, :width] = cross
        joint[:, width, width] = own
        picked = products[np.arange(count), width + number]
        joint_products = np.concatenate([products[:, :width], picked[:, None]], 1)
        both, active = nnls_many(joint, joint_products, np.concatenate([null, np.zeros((count, 1))], 1))
        without = power - ((products + left)[:, :width] * null).sum(1)
        with_step = power - ((2 * joint_products - times(both, joint)) * both).sum(1)
        return _Fit(null, both[:, :width], active, number, both[:, width], without, with_step)
