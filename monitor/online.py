"""Falls as they come: a rolling forecast, and a one-sided FOCuS of its errors.

The log loss is forecast from a quadratic in log10 s over the last 80 points, 5 points back; the errors, whitened with the
window's own correlation, are standard normal while learning goes on as before. FOCuS (Romano, Eckley, Fearnhead and Rigaill
2023) is the largest likelihood ratio, over all starting points, of a mean below 0 since then. An alarm is a reason to look,
not a finding: the offline scan decides.
"""

from __future__ import annotations

import numpy as np

from monitor.nulls import corrected_correlation

WINDOW = 80  # points of the forecast's window
GAP = 5  # points between the window and the forecast
LEAST = 20  # points in a window, at least
_TOP_PHI = 0.9
_SIGMA_FLOOR = 1e-3  # nats


def forecast_error(x: np.ndarray, y: np.ndarray) -> float | None:
    """The newest point's forecast error in standard deviations, whitened; None before there are enough points.

    x: [n] log10 s; y: [n] log loss. The error of the quadratic itself is part of the standard deviation.
    """
    end = len(x) - GAP
    start = max(end - WINDOW, 0)
    if end - start < LEAST:
        return None
    middle = x[end - 1]

    def design(at: np.ndarray) -> np.ndarray:
        return np.stack([np.ones_like(at), at - middle, (at - middle) ** 2], -1)

    inside = design(x[start:end])
    inverse = np.linalg.pinv(inside.T @ inside)
    beta = inverse @ (inside.T @ y[start:end])
    residual = y[start:end] - inside @ beta
    phi = float(min(corrected_correlation(residual, 3)[0], _TOP_PHI))
    sigma = max(float(np.sqrt(residual @ residual / (len(residual) - 3))), _SIGMA_FLOOR)
    gap = float(np.median(np.diff(x[start:end])))
    rho = phi ** ((x[-1] - x[-2]) / gap) if phi > 0 else 0.0
    last = design(x[-2:])
    error = (y[-1] - last[1] @ beta) - rho * (y[-2] - last[0] @ beta)
    row = last[1] - rho * last[0]
    # Correlated noise makes a regression less certain by (1 + phi) / (1 - phi).
    variance = 1 - rho**2 + row @ inverse @ row * (1 + phi) / (1 - phi)
    return float(error / (sigma * np.sqrt(variance)))


def focus(errors: np.ndarray) -> tuple[float, int]:
    """(statistic, start) of FOCuS for a fall of the mean from 0: max over k of (sum of errors[k:])^2 / (2 (n - k)).

    errors: [n]; only negative sums count; (0, n) where there is none. By the definition, O(n) a call: series are short.
    """
    sums = np.cumsum(errors[::-1])[::-1]
    ratio = np.where(sums < 0, sums**2, 0.0) / (2 * np.arange(len(errors), 0, -1))
    if len(ratio) == 0 or ratio.max() <= 0:
        return 0.0, len(errors)
    return float(ratio.max()), int(ratio.argmax())
