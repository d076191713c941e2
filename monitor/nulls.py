"""Smooth learning as a null model: mixtures of decays times autocorrelated noise. Shapes: n points, m columns.

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
_REFITS = 2  # times that the weights 1 / fit are brought up to date


def decay_columns(steps: np.ndarray, introductions: Sequence[float]) -> np.ndarray:
    """[n, 1 + 18 * (1 + later introductions)]: the constant and the decays, from the start and from each introduction.

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
        taus = np.geomspace(first / 3, 3 * since.max(), NUM_DECAYS)
        columns.append(np.where(here[:, None], np.exp(-np.maximum(since, 0)[:, None] / taus), 0.0))
    return np.concatenate(columns, 1)


def fit_null(loss: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best non-negative mixture by relative error: (fit [n] > 0, tangents [n, m] of log fit to active columns).

    loss: [n] > 0; columns: [n, m]. Weights are 1 / fit, found by refitting, for the noise is multiplicative.
    """
    weight = 1 / loss
    for _ in range(_REFITS):
        amplitude, _ = nnls(columns * weight[:, None], loss * weight)
        fit = np.maximum(columns @ amplitude, 1e-12 * loss.max())
        weight = 1 / fit
    return fit, columns[:, amplitude > 0] / fit[:, None]


def correlations(x: np.ndarray, phi: float) -> np.ndarray:
    """[n - 1] correlation of neighbours at x [n] (log10 s): phi at the median spacing, phi^(gap / median) elsewhere."""
    gaps = np.diff(x)
    return np.maximum(phi, 1e-12) ** (gaps / np.median(gaps))


def whiten(values: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Values [..., n] of an Ornstein-Uhlenbeck process made uncorrelated, of equal variance; rho: [n - 1]."""
    out = np.array(values, np.float64)
    out[..., 1:] = (values[..., 1:] - rho * values[..., :-1]) / np.sqrt(1 - rho**2)
    return out


def draw_noise(x: np.ndarray, phi: float, sigma: float, generator: np.random.Generator) -> np.ndarray:
    """[n] stationary Ornstein-Uhlenbeck noise of standard deviation sigma at x, correlation phi at the median gap."""
    rho = correlations(x, phi)
    noise = generator.normal(size=len(x)) * sigma
    innovation = np.sqrt(1 - rho**2)
    for i in range(1, len(x)):
        noise[i] = rho[i - 1] * noise[i - 1] + innovation[i - 1] * noise[i]
    return noise


def corrected_correlation(residual: np.ndarray) -> tuple[float, float]:
    """Lag-one correlation of residuals [n] with the small-sample correction phi + (1 + 4 phi) / n, and its error."""
    count = len(residual)
    centred = residual - residual.mean()
    power = float(centred @ centred)
    raw = float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0
    phi = float(np.clip(raw + (1 + 4 * raw) / count, 0.0, 0.97))
    return phi, float(np.sqrt((1 - phi**2) / count))
