"""Smooth learning beside a measured curve: the fitted null of the scan for falls, with the band of its noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from monitor.falls import checked, peak_of_rise, spread_profile
from monitor.matched import SIGMA_FLOOR, logistic, without_spikes
from monitor.nulls import decay_columns, fit_null

Z95 = 1.959964


@dataclasses.dataclass(frozen=True)
class NullBand:
    """Where single measurements would lie if the curve were smooth learning; n points, in nats."""

    steps: np.ndarray  # [n] updates since the introduction
    middle: np.ndarray  # [n]
    low: np.ndarray  # [n] 95 % of single measurements lie between low and high
    high: np.ndarray  # [n]
    sigma: float  # standard deviation of the noise of the log loss
    outside: float  # share of the measurements that lie outside


def smooth_null(
    steps: Sequence[float] | np.ndarray,
    losses: Sequence[float] | np.ndarray,
    introductions: Sequence[float] = (),
    falls: Sequence[tuple[float, float, float]] = (),
) -> NullBand:
    """The null of `monitor.falls.scan` for losses [n] at steps [n], by the same steps: spikes pulled in, from the peak
    of a rise on, a non-negative mixture of decays from the start and from each of `introductions`.

    falls: (step, nats, scale) of confirmed falls; the null is fitted beside them and then shown without them, as it is
    for the surrogates. The band is of single points: one in twenty lies outside by chance, and neighbours go together.
    Raises ValueError where the curve is too short for a null, saying what is needed.
    """
    s, raw = checked(steps, losses)
    x, columns = np.log10(s), decay_columns(s, introductions)
    loss = np.exp(without_spikes(np.log(raw)))
    start = peak_of_rise(x, np.log(loss))
    x, loss, columns, s, raw = x[start:], loss[start:], columns[start:], s[start:], raw[start:]
    fallen = np.zeros_like(x)
    for step, size, scale in falls:
        fallen = fallen + size * logistic(x, np.log10(step), scale)
    fit, active = fit_null(loss / np.exp(fallen), columns)
    residual = np.log(loss / fit) - fallen
    freedom = max(len(x) - int(active.sum()), 1)
    sigma = max(float(np.sqrt(residual @ residual / freedom)), SIGMA_FLOOR)
    half = Z95 * sigma * spread_profile(x, residual)
    low, high = fit * np.exp(-half), fit * np.exp(half)
    return NullBand(s, fit, low, high, sigma, float(((raw < low) | (raw > high)).mean()))
