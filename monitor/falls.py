"""Sudden falls: the offline scan of one series of losses, with its p-value from surrogates.

T is the square root of the largest gain in likelihood, over places and widths, by a logistic step down in log10 s
beside the smooth null (`monitor.matched`). Surrogates are drawn from the null as it is fitted beside the best step (a
null that bends towards a step makes surrogates that look like steps), and every one repeats the whole search, so that
the choice of the place is paid for. Shapes: n points, C candidate steps.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from monitor.matched import (
    HOLD,
    MARGIN,
    NUM_PLACES,
    SCALES,
    SIGMA_FLOOR,
    WIDTH,
    Found,
    Search,
    logistic,
    without_spikes,
)
from monitor.nulls import corrected_correlation, correlations, decay_columns, draw_noise, fit_null, whiten

MIN_POINTS = 40
MIN_DECADES = 0.5
WIDE_SCALES = (0.1, 0.2)  # of the logistic: over .25 decade from 10 to 90 %, no falls; tried beside SCALES, which are
MIN_SIZE = 0.10  # nats
MIN_SNR = 5.0
ALPHA = 0.004  # a nominal 1 % was measured to be 1-3 %, so less is asked for until it is calibrated
PLATEAU_SLOPE = 0.05  # nats a decade
PLATEAU_DECADES = 0.3
PHI_MARGIN = 0.02  # added to the noise's correlation, with its standard error, before surrogates are drawn
SPREAD_WINDOW = 0.8  # decades over which the noise's standard deviation is taken
LEAST_STATISTIC = 3.0  # the largest of some hundred t-values of noise is larger more often than ALPHA
SAME_FALL = 0.1  # decades within which two scans speak of the same fall
ENOUGH = 5  # surrogates that beat the series: no more are drawn
FIRST_CHUNK, LARGEST_CHUNK = 20, 250  # surrogates drawn together
LIKELIHOOD_95 = 3.84  # of chi-square with one degree of freedom
_SPREAD_PLACES = 33
_ROUNDS = 40  # at most, of fitting the null without the step and finding the step again


@dataclasses.dataclass(frozen=True)
class Scan:
    """The best step down of a series and what became of it."""

    kind: str  # "breakthrough" (plateau, then fall), "drop" (a fall alone), "none"
    unmet: tuple[str, ...]  # what a fall needs and this step lacks: of size, noise, sharp, held, p
    statistic: float
    p: float | None  # None where surrogates were not drawn, for something else was unmet
    surrogates: int
    step: float  # s at the middle of the step
    step_ci95: tuple[float, float]  # places whose likelihood ratio is within 3.84 of the best
    scale: float  # of the logistic, in decades
    size: float  # nats by which the loss falls, beyond what the null explains
    size_ci95: tuple[float, float]
    snr: float  # size over the noise's standard deviation
    held: bool | None  # for 0.15 decade after the step; None where the series ends before that
    plateau: tuple[float, float] | None  # from s to s, the longest that ends where the fall begins
    phi: float  # correlation of the noise at neighbouring points
    sigma: float  # standard deviation of the noise, in nats

    @property
    def seen_out(self) -> float:
        """The step up to which the series must reach for `held` to be known."""
        return self.step * 10 ** (WIDTH * self.scale / 2 + HOLD)

    @property
    def width_decades(self) -> float:
        """10-90 % width."""
        return WIDTH * self.scale

    @property
    def undecided(self) -> bool:
        """Whether nothing is unmet but that the series ends before the fall has held."""
        return self.held is None and self.unmet == ("held",)


def scan(
    steps: Sequence[float] | np.ndarray,
    losses: Sequence[float] | np.ndarray,
    generator: np.random.Generator,
    introductions: Sequence[float] = (),
    surrogates: int = 999,
    known: Sequence[Sequence[float]] = (),
    judged: Sequence[tuple[float, float, int]] = (),
    always_p: bool = False,
) -> Scan:
    """Look for one sudden fall in losses [n] at steps [n] since the introduction of the game.

    introductions: of later games, in the same steps. known: (step, size, scale) of falls found before, which are taken
    out, and near which none is sought. judged: (step, p, surrogates) of falls whose p is taken over where one of them
    is found again. surrogates: at most; drawing stops when ENOUGH of them beat the series, which keeps p valid (Besag
    and Clifford 1991). A step that is no fall whatever its p gets none, unless always_p: as "p, or 1 where the rest of
    the definition is unmet" is never below p, it may stand for p in a correction for many tests. Seed the generator by
    run, game, head, stratum and step, so that re-reading the logs gives the same p. Raises ValueError where the series
    cannot be judged, saying what is needed.
    """
    s, loss = checked(steps, losses)
    x, columns = np.log10(s), decay_columns(s, introductions)
    loss = np.exp(without_spikes(np.log(loss)))
    start = peak_of_rise(x, np.log(loss))
    x, loss, columns = x[start:], loss[start:], columns[start:]
    for step, size, scale in known:
        loss = loss / np.exp(size * logistic(x, np.log10(step), scale))
    fit, _ = fit_null(loss, columns)
    values = np.log(loss / fit)
    search = Search(x, columns / fit[:, None], spread_profile(x, values), [np.log10(step) for step, _, _ in known])
    found = search.best(values[None])
    place, scale = search.candidates[int(found.number[0])]
    statistic, size, sigma, phi = (float(v[0]) for v in (found.statistic, found.size, found.sigma, found.phi))
    interval, sharp, held, unmet = (place, place), False, False, ["p"]
    if statistic >= LEAST_STATISTIC:
        place, scale, size, phi, sigma, interval, sharp = _polish(x, loss, columns, search.spread, place, scale, size)
        held = _held(x, np.log(loss), place, scale, size)
        needed = {"size": size >= MIN_SIZE, "noise": size >= MIN_SNR * sigma, "sharp": sharp, "held": held}
        unmet = [name for name, met in needed.items() if not met]
    p, drawn = None, 0
    if always_p or not unmet:
        before = [(p, drawn) for step, p, drawn in judged if abs(place - np.log10(step)) <= SAME_FALL]
        if before:
            p, drawn = before[0]
        else:
            p, drawn = _p_value(search.pruned(found.used[0]), values, generator, surrogates)
        unmet += ["p"] if p > ALPHA and "p" not in unmet else []
    plateau = None if unmet else _plateau(x, np.log(loss), place - scale * WIDTH / 2, phi)
    half = 1.959964 * size / max(statistic, 1e-9)
    return Scan(
        "none" if unmet else "breakthrough" if plateau else "drop", tuple(unmet), statistic, p, drawn, float(10**place),
        (float(10 ** interval[0]), float(10 ** interval[1])), scale, size, (size - half, size + half),
        float(size / sigma) if sigma > 0 else np.inf, held, plateau, phi, sigma,
    )  # fmt: skip


def peak_of_rise(x: np.ndarray, y: np.ndarray) -> int:
    """The point from which log losses y [n] at x are scanned: 0, or the peak where they first rise far above the start.

    No mixture of decays rises, so what comes before the peak of a rise says nothing about a fall after it. A rise
    counts from .10 nat and 5 standard deviations about a cubic on, of running medians of 9; enough of the series must
    remain.
    """
    half = 4
    middle = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(y, half, mode="edge"), 2 * half + 1), -1)
    rest = y - np.polyval(np.polyfit(x - x[0], y, 3), x - x[0])
    sigma = 1.4826 * float(np.median(np.abs(rest)))
    # The first point that is as high as the peak but for noise: on a plateau the highest may be anywhere.
    peak = int(np.flatnonzero(middle >= middle.max() - sigma)[0])
    high = middle.max() - middle[: half + 1].mean() >= max(MIN_SIZE, MIN_SNR * sigma)
    long = len(x) - peak >= MIN_POINTS and x[-1] - x[peak] >= MIN_DECADES
    return peak if high and long else 0


def surrogate_phi(found: Found) -> float:
    """The correlation that surrogates are drawn with: the estimate, its error, and .02 to be safe."""
    return float(min(found.phi[0] + found.error[0] + PHI_MARGIN, 0.98))


def _p_value(search: Search, values: np.ndarray, generator: np.random.Generator, surrogates: int) -> tuple[float, int]:
    """(p, surrogates drawn): each surrogate repeats the whole search; h / l when the h-th beats it as the l-th drawn.

    search: with the decays that the data's own fits use and their neighbours; values: [n]. Fewer decays leave the
    data's statistic as it is and let surrogates bend less, so that p is, if anything, too large; it is several times
    as fast.
    """
    found = search.best(values[None])
    phi = surrogate_phi(found)
    beaten = drawn = 0
    chunk = FIRST_CHUNK
    while drawn < surrogates:
        count = min(chunk, surrogates - drawn)
        noise = search.spread * draw_noise(search.x, phi, 1.0, generator, count) * float(found.sigma[0])
        beats = search.best(found.smooth + without_spikes(noise)).statistic >= found.statistic[0]
        if beaten + beats.sum() >= ENOUGH:
            last = int(np.flatnonzero(beats)[ENOUGH - beaten - 1])
            return ENOUGH / (drawn + last + 1), drawn + last + 1
        beaten, drawn, chunk = beaten + int(beats.sum()), drawn + count, min(2 * chunk, LARGEST_CHUNK)
    return (1 + beaten) / (surrogates + 1), surrogates


def spread_profile(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[n] the relative standard deviation of the noise along the series, of mean 1.

    From the median size of the differences between neighbours within SPREAD_WINDOW decades, so that a step (few large
    differences) leaves it alone; kept within a factor of 4 either way.
    """
    size = np.abs(np.diff(values))
    middle, places = (x[1:] + x[:-1]) / 2, np.linspace(x[0], x[-1], _SPREAD_PLACES)
    near = [size[np.abs(middle - at) <= SPREAD_WINDOW / 2] for at in places]
    local = np.array([np.median(some) if len(some) else np.median(size) for some in near])
    profile = np.clip(local / max(np.median(size), 1e-300), 0.25, 4.0)
    smooth = np.exp(-0.5 * ((x[:, None] - places) / (SPREAD_WINDOW / 4)) ** 2)
    profile = np.exp(smooth @ np.log(profile) / smooth.sum(1))
    return profile / profile.mean()


def _polish(
    x: np.ndarray, loss: np.ndarray, columns: np.ndarray, spread: np.ndarray, place: float, scale: float, size: float
) -> tuple[float, float, float, float, float, tuple[float, float], bool]:
    """(place, scale, size, phi, sigma, interval of the place, whether it is sharp) for the report, not for the test.

    The null is fitted without the step, on finer places, until both agree: a null that is fitted to a large step bends
    towards it, which hides part of the step and looks like noise. Not sharp is a bend that a step over .25 decade wide
    explains better, by a likelihood ratio of 3.84.
    """
    gap = (x[-1] - HOLD - x[0] - MARGIN) / (NUM_PLACES - 1)
    shifts = np.linspace(-gap, gap, 21)
    seen: set[tuple[float, float]] = set()
    for number_of_rounds in itertools.count(1):
        before = (place, size)
        step = size * logistic(x, place, scale)
        fit, active = fit_null(loss / np.exp(step), columns)
        residual, tangents = np.log(loss / fit), (columns[:, active] / fit[:, None]) / spread[:, None]
        rest = _project_out((residual - step) / spread, tangents)
        phi = float(corrected_correlation(rest, tangents.shape[1] + 1)[0])
        whitened = _Whitened(residual / spread, tangents, correlations(x, phi))
        tried = [(place + shift, scale) for scale in SCALES for shift in shifts]
        t, sizes, variances = whitened.t_values(logistic(x, *np.array(tried).T) / spread)
        number, middle = int(t.argmax()), place
        (place, scale), size, sigma = tried[number], max(float(sizes[number]), 0.0), float(np.sqrt(variances[number]))
        settled = abs(size - before[1]) < 1e-3 and place == before[0]
        if (
            settled or (round(place, 6), round(size, 3)) in seen or number_of_rounds == _ROUNDS
        ):  # or it goes round in a circle
            break
        seen.add((round(place, 6), round(size, 3)))
    wide = np.array([(middle + shift, scale) for scale in WIDE_SCALES for shift in shifts])
    sharp = whitened.t_values(logistic(x, *wide.T) / spread)[0].max() ** 2 <= t[number] ** 2 + LIKELIHOOD_95
    near = [tried[i][0] for i in np.flatnonzero(t >= 0) if t[number] ** 2 - t[i] ** 2 <= LIKELIHOOD_95]
    return place, scale, size, phi, sigma, (min(near, default=place), max(near, default=place)), bool(sharp)


def checked(steps, losses) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 [n], or a ValueError that says what would be needed."""
    s, loss = np.asarray(steps, np.float64), np.asarray(losses, np.float64)
    if s.ndim != 1 or s.shape != loss.shape:
        raise ValueError(
            f"steps and losses must be two series of equal length; found shapes {s.shape} and {loss.shape}"
        )
    if len(s) < MIN_POINTS:
        raise ValueError(f"a sudden fall needs at least {MIN_POINTS} points to be told from noise; found {len(s)}")
    if not (np.isfinite(s).all() and np.isfinite(loss).all()):
        where = int(np.flatnonzero(~(np.isfinite(s) & np.isfinite(loss)))[0])
        raise ValueError(f"point {where} is not finite (step {s[where]}, loss {loss[where]}); leave such points out")
    if (np.diff(s) <= 0).any() or s[0] <= 0:
        where = int(np.flatnonzero(np.diff(s, prepend=0.0) <= 0)[0])
        raise ValueError(f"steps must be above 0 and increase; point {where} is at {s[where]}; sort them, merge equals")
    if (loss <= 0).any():
        where = int(np.flatnonzero(loss <= 0)[0])
        raise ValueError(f"losses must be above 0, for their logarithm is judged; point {where} is {loss[where]}")
    decades = np.log10(s[-1] / s[0])
    if decades < MIN_DECADES:
        raise ValueError(f"a sudden fall needs at least {MIN_DECADES} decades of steps; found {decades:.2f}")
    return s, loss


class _Whitened:
    """Residuals [n] of the null, whitened, orthogonal to its tangents [n, m]; what steps down in them are judged by."""

    def __init__(self, residual: np.ndarray, tangents: np.ndarray, rho: np.ndarray):
        self.rho = rho
        self.basis, _ = np.linalg.qr(whiten(tangents.T, rho).T)
        white = whiten(residual, rho)
        self.values = white - self.basis @ (self.basis.T @ white)

    def t_values(self, templates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(t-values [C], sizes in nats [C], variances of the noise with each step removed [C]) of templates [C, n]."""
        steps = whiten(templates, self.rho)
        steps = steps - (steps @ self.basis) @ self.basis.T
        norm = np.maximum((steps**2).sum(1), 1e-9)  # a step that the null can make has no norm left
        product = steps @ self.values
        freedom = max(len(self.values) - self.basis.shape[1] - 1, 1)
        variance = np.maximum((self.values @ self.values - product**2 / norm) / freedom, SIGMA_FLOOR**2)
        return np.where(norm > 1e-6, product / np.sqrt(norm * variance), -np.inf), product / norm, variance


def _project_out(values: np.ndarray, tangents: np.ndarray) -> np.ndarray:
    basis, _ = np.linalg.qr(tangents)
    return values - basis @ (basis.T @ values)


def _held(x: np.ndarray, y: np.ndarray, place: float, scale: float, size: float) -> bool | None:
    """Whether log losses y [n] are still down in the second half of the 0.15 decade after the fall is 90 % over.

    "Down" is by more than half of the step against the 0.15 decade before it begins. The smooth fall on the way is not
    taken off: a fit of the null would bend towards a loss that comes back.
    """
    half_width = scale * WIDTH / 2
    begin, over = place - half_width, place + half_width
    early = (x >= begin - HOLD) & (x <= begin)
    late = (x >= over + HOLD / 2) & (x <= over + HOLD)
    if x[-1] < over + HOLD - 1e-9:
        return None
    if not early.any() or not late.any():
        return False
    return bool(y[late].mean() <= y[early].mean() - size / 2)


def _plateau(x: np.ndarray, y: np.ndarray, end: float, phi: float) -> tuple[float, float] | None:
    """The longest plateau [s, s] that ends where the fall begins; None unless an equivalence test says it is flat.

    Two one-sided tests at 5 %: the slope is above -0.05 and below 0.05 nat a decade, by regression on whitened data.
    """
    before = np.flatnonzero(x <= end)
    if len(before) == 0:
        return None
    for start in np.arange(float(x[0]), float(x[before[-1]]) - PLATEAU_DECADES + 1e-9, 0.05):
        inside = before[x[before] >= start]
        if len(inside) < 8:
            break
        rho = correlations(x[inside], phi)
        design = whiten(np.stack([np.ones(len(inside)), x[inside] - x[inside].mean()]), rho).T
        target = whiten(y[inside], rho)
        inverse = np.linalg.inv(design.T @ design)
        slope = (inverse @ design.T @ target)[1]
        rest = target - design @ (inverse @ design.T @ target)
        error = np.sqrt(rest @ rest / (len(inside) - 2) * inverse[1, 1])
        if abs(slope) + stats.t.ppf(0.95, len(inside) - 2) * error < PLATEAU_SLOPE:
            return float(10 ** x[inside[0]]), float(10 ** x[inside[-1]])
    return None
