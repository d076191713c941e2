"""Sudden falls: the offline scan of one series of losses, with its p-value from surrogates.

T is the largest t-value, over places and widths, of a logistic step down in log10 s, made orthogonal to the smooth
null's active columns, on whitened residuals of the log loss. Every surrogate of the null repeats the whole search, so
the choice of the place is paid for. Shapes: n points, C candidate steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from monitor.nulls import corrected_correlation, correlations, decay_columns, draw_noise, fit_null, whiten

MIN_POINTS = 40
MIN_DECADES = 0.5
SCALES = (0.01, 0.02, 0.05)  # of the logistic, in decades
NUM_PLACES = 49
WIDTH = 4.394  # 10-90 % width of a logistic in units of its scale: 2 ln 9
HOLD = 0.15  # decades that a fall must last
MIN_SIZE = 0.10  # nats
MIN_SNR = 5.0
ALPHA = 0.004  # a nominal 1 % was measured to be 1-3 %, so less is asked for until it is calibrated
PLATEAU_SLOPE = 0.05  # nats a decade
PLATEAU_DECADES = 0.3
_ROUNDS = 40  # at most, of fitting the null without the step and finding the step again


@dataclasses.dataclass(frozen=True)
class Scan:
    """The best step down of a series and what became of it."""

    kind: str  # "breakthrough" (plateau, then fall), "drop" (a fall alone), "none"
    statistic: float
    p: float
    surrogates: int
    step: float  # s at the middle of the step
    scale: float  # of the logistic, in decades
    size: float  # nats by which the loss falls, beyond what the null explains
    size_ci95: tuple[float, float]
    snr: float  # size over the noise's standard deviation
    held: bool  # for 0.15 decade after the step
    plateau: tuple[float, float] | None  # from s to s, the longest that ends where the fall begins
    phi: float  # correlation of the noise at neighbouring points
    sigma: float  # standard deviation of the noise, in nats

    @property
    def width_decades(self) -> float:
        """10-90 % width."""
        return WIDTH * self.scale


def scan(
    steps: Sequence[float] | np.ndarray,
    losses: Sequence[float] | np.ndarray,
    generator: np.random.Generator,
    introductions: Sequence[float] = (),
    surrogates: int = 999,
) -> Scan:
    """Look for one sudden fall in losses [n] at steps [n] since the introduction of the game.

    introductions: of later games, in the same steps. Seed the generator by run, game, head, stratum and step, so that
    re-reading the logs gives the same p. Raises ValueError where the series cannot be judged, saying what is needed.
    """
    s, loss = _checked(steps, losses)
    x, columns = np.log10(s), decay_columns(s, introductions)
    search = _Search(x)
    found = search.best(loss, columns)
    error = np.sqrt((1 - found.phi**2) / len(x))
    phi = min(found.phi + error + 0.02, 0.98)
    smooth = np.log(found.fit)
    beaten = 0
    for _ in range(surrogates):
        surrogate = np.exp(smooth + draw_noise(x, phi, found.sigma, generator))
        beaten += search.best(surrogate, columns).statistic >= found.statistic
    p = (1 + beaten) / (surrogates + 1)

    best = search.polish(loss, columns, found)
    held = _held(x, np.log(loss), best)
    snr = best.size / best.sigma if best.sigma > 0 else np.inf
    fell = p <= ALPHA and best.size >= MIN_SIZE and snr >= MIN_SNR and held
    plateau = _plateau(x, np.log(loss), best.place - best.scale * WIDTH / 2, best.phi)
    kind = ("breakthrough" if plateau else "drop") if fell else "none"
    half = 1.959964 * best.size / max(best.statistic, 1e-9)
    return Scan(
        kind, found.statistic, p, surrogates, 10**best.place, best.scale, best.size,
        (best.size - half, best.size + half), float(snr), held, plateau, best.phi, best.sigma,
    )  # fmt: skip


def _checked(steps, losses) -> tuple[np.ndarray, np.ndarray]:
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


@dataclasses.dataclass(frozen=True)
class _Found:
    """The best step of one series, before it is judged."""

    statistic: float
    place: float  # log10 s
    scale: float
    size: float
    phi: float
    sigma: float
    fit: np.ndarray  # [n] of the null
    residual: np.ndarray  # [n] log loss less log fit
    tangents: np.ndarray  # [n, m]


class _Search:
    """The candidate steps at fixed points x [n] (log10 s), and the search for the best one."""

    def __init__(self, x: np.ndarray):
        self.x = x
        # A step needs points on both sides, and must be seen to last.
        places = np.linspace(x[0] + 0.1, x[-1] - HOLD, NUM_PLACES)
        self.candidates = [(place, scale) for scale in SCALES for place in places]
        self.templates = np.stack([_step(x, place, scale) for place, scale in self.candidates])  # [C, n]
        self._white = np.zeros(len(x) - 1)  # correlations of white noise

    def best(self, loss: np.ndarray, columns: np.ndarray) -> _Found:
        """Fit the null, find the step, estimate the noise without it, find the step again on whitened residuals."""
        fit, tangents = fit_null(loss, columns)
        residual = np.log(loss / fit)
        _, size, number, _ = _largest(residual, self.templates, tangents, self._white)
        phi, _ = corrected_correlation(_project_out(residual - size * self.templates[number], tangents))
        statistic, size, number, sigma = _largest(residual, self.templates, tangents, correlations(self.x, phi))
        place, scale = self.candidates[number]
        return _Found(statistic, place, scale, size, phi, sigma, fit, residual, tangents)

    def polish(self, loss: np.ndarray, columns: np.ndarray, found: _Found) -> _Found:
        """Place, size and noise for the report, not for the test: the null fitted without the step, on finer places.

        A null that is fitted to a large step bends towards it, which hides part of the step and looks like noise.
        """
        gap = (self.x[-1] - HOLD - self.x[0] - 0.1) / (NUM_PLACES - 1)
        for _ in range(_ROUNDS):
            before = found
            step = found.size * _step(self.x, found.place, found.scale)
            fit, tangents = fit_null(loss / np.exp(step), columns)
            residual = np.log(loss / fit)
            phi, _ = corrected_correlation(_project_out(residual - step, tangents))
            candidates = [(found.place + shift, scale) for scale in SCALES for shift in np.linspace(-gap, gap, 21)]
            templates = np.stack([_step(self.x, place, scale) for place, scale in candidates])
            statistic, size, number, sigma = _largest(residual, templates, tangents, correlations(self.x, phi))
            found = _Found(statistic, *candidates[number], max(size, 0.0), phi, sigma, fit, residual, tangents)
            if abs(found.size - before.size) < 1e-3 and found.place == before.place:
                break
        return found


def _step(x: np.ndarray, place: float, scale: float) -> np.ndarray:
    """[n] a logistic step down by one nat at `place`."""
    return -1 / (1 + np.exp(np.clip(-(x - place) / scale, -500, 500)))


def _largest(
    residual: np.ndarray, templates: np.ndarray, tangents: np.ndarray, rho: np.ndarray
) -> tuple[float, float, int, float]:
    """(t-value, size in nats, number of the candidate, sigma) of the best step down in residuals [n].

    sigma is the standard deviation of the noise with that step removed.
    """
    white = whiten(residual, rho)
    basis, _ = np.linalg.qr(whiten(tangents.T, rho).T)
    steps = whiten(templates, rho)
    white = white - basis @ (basis.T @ white)
    steps = steps - (steps @ basis) @ basis.T
    norm = np.maximum((steps**2).sum(1), 1e-9)  # a step that the null can make has no norm left
    product = steps @ white
    freedom = max(len(residual) - basis.shape[1] - 1, 1)
    variance = np.maximum((white @ white - product**2 / norm) / freedom, 1e-24)
    t_values = np.where(norm > 1e-6, product / np.sqrt(norm * variance), -np.inf)
    number = int(t_values.argmax())
    return float(t_values[number]), float(product[number] / norm[number]), number, float(np.sqrt(variance[number]))


def _project_out(values: np.ndarray, tangents: np.ndarray) -> np.ndarray:
    basis, _ = np.linalg.qr(tangents)
    return values - basis @ (basis.T @ values)


def _held(x: np.ndarray, y: np.ndarray, best: _Found) -> bool:
    """Whether log losses y [n] are still down in the second half of the 0.15 decade after the fall is 90 % over.

    "Down" is by more than half of the step against the 0.15 decade before it begins. The smooth fall on the way is not
    taken off: a fit of the null would bend towards a loss that comes back.
    """
    half_width = best.scale * WIDTH / 2
    begin, over = best.place - half_width, best.place + half_width
    early = (x >= begin - HOLD) & (x <= begin)
    late = (x >= over + HOLD / 2) & (x <= over + HOLD)
    if not early.any() or not late.any() or x[-1] < over + HOLD - 1e-9:
        return False
    return bool(y[late].mean() <= y[early].mean() - best.size / 2)


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
