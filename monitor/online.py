"""Falls as they come: a rolling forecast, and a one-sided FOCuS of its errors over the last .15 decade.

The log loss is forecast from a quadratic in log10 s over the last 80 points, 5 points back; the errors, whitened with
the window's own correlation, are standard normal while learning goes on as before. FOCuS (Romano, Eckley, Fearnhead
and Rigaill 2023) is the largest likelihood ratio, over all starting points, of a mean below 0 since then. Only starts
in the last LOOK_BACK decades are tried: a fall is sharp, and what a quadratic misses of smooth learning adds up over
longer times. An alarm is a reason to look, not a finding: the offline scan decides. Shapes: n points, S series at the
same points.
"""

from __future__ import annotations

import numpy as np

from monitor.nulls import corrected_correlation

WINDOW = 80  # points of the forecast's window
GAP = 5  # points between the window and the forecast
LEAST = 30  # points in a window, at least
LOOK_BACK = 0.15  # decades
LEAST_BACK = 8  # errors that are looked at, however few decades they span
_TOP_PHI = 0.9
_SIGMA_FLOOR = 1e-3  # nats


def forecast_errors(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """[S] the newest point's forecast errors in standard deviations, whitened; None before there are enough points.

    x: [n] log10 s; y: [S, n] log losses. The error of the quadratic itself is part of the standard deviation.
    """
    end = len(x) - GAP
    start = max(end - WINDOW, 0)
    if end - start < LEAST:
        return None
    middle = x[end - 1]
    design = np.stack([np.ones(len(x) - start), x[start:] - middle, (x[start:] - middle) ** 2], -1)
    inside, last = design[: end - start], design[-2:]
    inverse = np.linalg.pinv(inside.T @ inside)
    beta = y[:, start:end] @ (inside @ inverse)  # [S, 3]
    residual = y[:, start:end] - beta @ inside.T
    phi = np.minimum(corrected_correlation(residual, 3)[0], _TOP_PHI)
    sigma = np.maximum(np.sqrt((residual**2).sum(1) / (end - start - 3)), _SIGMA_FLOOR)
    rho = phi ** ((x[-1] - x[-2]) / np.median(np.diff(x[start:end])))
    off = y[:, -2:] - beta @ last.T
    error = off[:, 1] - rho * off[:, 0]
    row = last[1] - rho[:, None] * last[0]
    # Correlated noise makes a regression less certain by (1 + phi) / (1 - phi).
    variance = 1 - rho**2 + ((row @ inverse) * row).sum(1) * (1 + phi) / (1 - phi)
    return error / (sigma * np.sqrt(variance))


def looked_at(x: np.ndarray) -> int:
    """How many of the last errors, at x [n] (log10 s), FOCuS looks at."""
    return max(int((x >= x[-1] - LOOK_BACK).sum()), min(LEAST_BACK, len(x)))


def focus(errors: np.ndarray) -> tuple[float, int]:
    """(statistic, start) of FOCuS for a fall of the mean from 0: max over k of (sum of errors[k:])^2 / (2 (n - k)).

    errors: [n]; only negative sums count; (0, n) where there is none. By the definition, O(n) a call: there are few.
    """
    sums = np.cumsum(errors[::-1])[::-1]
    ratio = np.where(sums < 0, sums**2, 0.0) / (2 * np.arange(len(errors), 0, -1))
    if len(ratio) == 0 or ratio.max() <= 0:
        return 0.0, len(errors)
    return float(ratio.max()), int(ratio.argmax())
