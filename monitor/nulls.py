"""Smooth learning as a null model: mixtures of decays times autocorrelated noise. Shapes: n points, m columns, B
series.

H0: L(s) = a0 + sum_j a_j exp(-s / tau_j) with all a >= 0, and one such mixture more from each later introduction on
(an old game that recovers from a disturbance is no breakthrough), times exp(noise), the noise an Ornstein-Uhlenbeck
process in log10 s. Power laws, saturating knees and sums of exponentials are such mixtures (completely monotone), so
"sharp" means: a fall that no mixture of decays can make.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

NUM_DECAYS = 18
NUM_LATER_DECAYS = 9  # of a later introduction: half as dense, for its mixture spans fewer decades
_REFITS = 2  # times that the weights 1 / fit are brought up to date
_LEAST_FIT = 1e-2  # of the loss: a fit below that counts as that, so that no weight grows without bound
_MOST_STEPS = 10  # of scipy's solver, for each column
_RIDGE = 1e-10  # of a unit column: keeps neighbouring decays apart in the normal equations
_GAIN = 1e-7  # of the norm of the data: a column that explains less is not taken up


def decay_columns(steps: np.ndarray, introductions: Sequence[float]) -> np.ndarray:
    """[n, 1 + 18 + 9 * later introductions]: the constant and the decays, from the start and each introduction.

    steps: [n] since the game's own introduction, > 0; introductions: of later games, in the same steps. Time
    constants are log-spaced from a third of the first step to three times the last.
    """
    columns = [np.ones_like(steps)[:, None]]
    for start in (0.0, *introductions):
        since = steps - start
        here = since >= 0
        if not here.any():
            continue
        # A mixture that starts late starts at s = 1 there, so its fastest decay is as fast as the sampling allows.
        first = max(since[here].min(), 1.0)
        taus = np.geomspace(first / 3, 3 * max(since.max(), first), NUM_LATER_DECAYS if start else NUM_DECAYS)
        columns.append(np.where(here[:, None], np.exp(-np.maximum(since, 0)[:, None] / taus), 0.0))
    return np.concatenate(columns, 1)


def fit_null(loss: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best non-negative mixture by relative error: (fit [n] > 0, which columns are active [m]).

    loss: [n] > 0; columns: [n, m]. Weights are 1 / fit, found by refitting, for the noise is multiplicative. Whatever
    the series, there is an answer; a fit that is far below the loss somewhere gets no more weight there.
    """
    weight, fit, active = 1 / loss, loss, np.zeros(0, bool)
    for _ in range(_REFITS):
        amplitude = _nnls(columns * weight[:, None], loss * weight)
        active = amplitude > 0
        fit = np.maximum(columns @ amplitude, _LEAST_FIT * loss)
        weight = 1 / fit
    return fit, active


def _nnls(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[m] non-negative least squares of target [n] on design [n, m]: scipy's, or ours where that gives up."""
    norm = np.maximum(np.sqrt((design**2).sum(0)), 1e-300)
    unit = design / norm
    try:
        found, _ = nnls(unit, target, maxiter=_MOST_STEPS * unit.shape[1])
    except RuntimeError:  # it goes round in a circle: decays are nearly the same
        found = nnls_many(unit.T @ unit, (target @ unit)[None])[0][0]
    return found / norm


def nnls_many(gram: np.ndarray, products: np.ndarray, start: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative least squares of many series on one design: (amplitudes [B, m] >= 0, active [B, m]).

    gram: [m, m] C'C, or [B, m, m] where the designs differ; products: [B, m] C'y; start: [B, m] amplitudes >= 0 to
    begin with, which only saves time. Lawson and Hanson's active sets (1974, chapter 23), all series in step, by the
    normal equations; a column counts that lowers the residual.
    """
    count, width = products.shape
    amplitude = np.zeros((count, width)) if start is None else start.copy()
    passive = amplitude > 0
    live = np.arange(count)
    if start is not None:
        _descend(gram, products, amplitude, passive, live)
    least = _GAIN * np.abs(products).max(1, initial=1e-300)
    for _ in range(3 * width):
        slope = products[live] - times(amplitude[live], gram if gram.ndim == 2 else gram[live])
        slope[passive[live]] = -np.inf
        best = slope.argmax(1)
        wanted = slope[np.arange(len(live)), best] > least[live]
        live, best = live[wanted], best[wanted]
        if len(live) == 0:
            break
        passive[live, best] = True
        _descend(gram, products, amplitude, passive, live)
    return amplitude, passive


def _descend(
    gram: np.ndarray, products: np.ndarray, amplitude: np.ndarray, passive: np.ndarray, inner: np.ndarray
) -> None:
    """Lawson and Hanson's inner loop for the series `inner`, in place: least squares on the passive columns, which are
    left one by one where they would become negative."""
    while len(inner):
        trial = solve_active(gram if gram.ndim == 2 else gram[inner], products[inner], passive[inner])
        bad = (trial <= 0) & passive[inner]
        done = ~bad.any(1)
        amplitude[inner[done]] = trial[done]
        inner, trial, bad = inner[~done], trial[~done], bad[~done]
        if len(inner) == 0:
            break
        # Go from the old amplitudes towards the trial until the first of them is 0; that one leaves.
        old = amplitude[inner]
        ratio = np.where(bad, old / np.maximum(old - trial, 1e-300), np.inf)
        share = ratio.min(1, keepdims=True)
        amplitude[inner] = np.where(passive[inner], old + share * (trial - old), 0.0)
        passive[inner] &= ~(bad & (ratio <= share))
        amplitude[inner] *= passive[inner]


def times(rows: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """[B, k] the rows [B, m] times one matrix [m, k] or a matrix each [B, m, k]."""
    return rows @ gram if gram.ndim == 2 else (rows[:, None, :] @ gram)[:, 0]


def solve_active(gram: np.ndarray, products: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Least squares on each series' active columns: [B, m], 0 elsewhere. gram: [m, m] or [B, m, m]."""
    order, valid = active_order(active)
    small = sub_gram(gram, order, valid)
    right = np.where(valid, np.take_along_axis(products, order, 1), 0.0)
    solution = np.linalg.solve(small, right[..., None])[..., 0]
    out = np.zeros_like(products)
    np.put_along_axis(out, order, np.where(valid, solution, 0.0), 1)
    return out


def active_order(active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The active columns first: (indices [B, k], which of them are active [B, k]), k the largest number active."""
    most = max(int(active.sum(1).max(initial=0)), 1)
    order = np.argsort(~active, 1, kind="stable")[:, :most]
    return order, np.take_along_axis(active, order, 1)


def sub_gram(gram: np.ndarray, order: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """[B, k, k] of `active_order`'s columns from gram [m, m] or [B, m, m], the identity where a place is not used,
    with a ridge of 1e-10."""
    both = valid[:, :, None] & valid[:, None, :]
    rows, columns = order[:, :, None], order[:, None, :]
    picked = gram[rows, columns] if gram.ndim == 2 else gram[np.arange(len(order))[:, None, None], rows, columns]
    small = np.where(both, picked, 0.0)
    diagonal = np.arange(order.shape[1])
    small[:, diagonal, diagonal] = np.where(valid, small[:, diagonal, diagonal] * (1 + _RIDGE), 1.0)
    return small


def correlations(x: np.ndarray, phi: float) -> np.ndarray:
    """[n - 1] correlation of neighbours at x [n] (log10 s): phi at the median spacing, phi^(gap / median) elsewhere."""
    gaps = np.diff(x)
    return np.maximum(phi, 1e-12) ** (gaps / np.median(gaps))


def whiten(values: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Values [..., n] of an Ornstein-Uhlenbeck process made uncorrelated, of equal variance; rho: [n - 1]."""
    out = np.array(values, np.float64)
    out[..., 1:] = (values[..., 1:] - rho * values[..., :-1]) / np.sqrt(1 - rho**2)
    return out


def draw_noise(
    x: np.ndarray, phi: float, sigma: float, generator: np.random.Generator, count: int | None = None
) -> np.ndarray:
    """[n], or [count, n]: stationary Ornstein-Uhlenbeck noise of standard deviation sigma at x [n] (log10 s), with
    correlation phi at the median gap."""
    rho = correlations(x, phi)
    shape = (len(x),) if count is None else (count, len(x))
    noise = generator.normal(size=shape) * sigma
    innovation = np.sqrt(1 - rho**2)
    for i in range(1, len(x)):
        noise[..., i] = rho[i - 1] * noise[..., i - 1] + innovation[i - 1] * noise[..., i]
    return noise


def corrected_correlation(residual: np.ndarray, regressors: int | np.ndarray = 1) -> tuple[np.ndarray, np.ndarray]:
    """Lag-one correlation of residuals [..., n] with the small-sample correction, and its error: both [...].

    regressors: how many smooth columns q the residuals come from; the bias of the raw value is -(q + (q + 2) phi) / n
    to first order: for the mean alone (1 + 3 phi) / n (Kendall 1954), for a mean and a trend (2 + 4 phi) / n.
    """
    count = residual.shape[-1]
    centred = residual - residual.mean(-1, keepdims=True)
    power = (centred**2).sum(-1)
    raw = np.where(power > 0, (centred[..., 1:] * centred[..., :-1]).sum(-1) / np.maximum(power, 1e-300), 0.0)
    q = np.minimum(regressors, count / 4)
    phi = np.clip((raw + q / count) / (1 - (q + 2) / count), 0.0, 0.97)
    return phi, np.sqrt((1 - phi**2) / count)
