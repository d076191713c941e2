"""Loss curves whose truth is known: smooth learning, smooth learning that breaks the null's assumptions, planted falls.

What the error rates of the scan are measured on (benchmarks/monitor_falls.py). Steps are log-spaced from 50 on, noise
is multiplicative: loss = smooth * exp(noise), the noise AR(1) with correlation phi between neighbours and standard
deviation sigma nats. Shapes: n points.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.signal import lfilter

FIRST_STEP = 50.0
SMOOTH = ("power_law", "knee", "two_exponentials", "slow_logistic")
SLOW_SCALES = (0.2, 0.5)  # of slow_logistic, decades
MISSPECIFIED = ("t3_noise", "spikes", "heteroscedastic", "drift", "replay_sawtooth", "learning_rate_step")


@dataclasses.dataclass(frozen=True)
class Planted:
    """The truth of a planted fall."""

    step: float  # at its middle
    size: float  # nats
    scale: float  # of the logistic, decades


@dataclasses.dataclass(frozen=True)
class Curve:
    """A synthetic series of losses."""

    kind: str
    steps: np.ndarray  # [n] since the introduction
    losses: np.ndarray  # [n] > 0
    sigma: float  # of the noise, nats
    phi: float  # of the noise, at neighbouring points
    ledger: tuple[float, ...] = ()  # steps of what a ledger would hold
    planted: Planted | None = None


def ar1(count: int, phi: float, generator: np.random.Generator, innovations: np.ndarray | None = None) -> np.ndarray:
    """[count] stationary AR(1) noise of unit variance; innovations [count + 200] of unit variance, default normal.

    By scipy's filter after a warm-up of 200, so that it shares no code with the scan's surrogates.
    """
    drawn = generator.normal(size=count + 200) if innovations is None else innovations
    drawn = drawn * np.sqrt(1 - phi**2)
    drawn[0] /= np.sqrt(1 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], drawn))[200:]


def background(kind: str, steps: np.ndarray, generator: np.random.Generator, scale: float | None = None) -> np.ndarray:
    """[n] a smooth curve of a named kind, its parameters drawn: `SMOOTH`, or "flat".

    power_law: a s^-b + floor, b .1 to 1. knee: 1 / (1 + s / s0)^b + floor. two_exponentials: both time constants
    within the series, a floor. slow_logistic: log loss falls by .2 to 1.5 nat along a logistic in log10 s of the given
    scale, or one from .2 to .5 decade. No mixture of decays makes one of a scale under .3 (10-90 % width 1.3, that of
    one exponential), and yet it is no fall, which is at most .25 wide: such a curve may have a small p but must not be
    called. Raises ValueError for another kind.
    """
    first, last = steps[0], steps[-1]
    if kind == "flat":
        return np.full_like(steps, generator.uniform(0.5, 3))
    if kind == "power_law":
        return generator.uniform(0.5, 3) * (steps / first) ** -generator.uniform(0.1, 1) + generator.uniform(0, 0.5)
    if kind == "knee":
        bend = np.exp(generator.uniform(np.log(2 * first), np.log(last / 2)))
        return (1 + steps / bend) ** -generator.uniform(0.3, 2) + generator.uniform(0.05, 0.5)
    if kind == "two_exponentials":
        fast, slow = np.sort(np.exp(generator.uniform(np.log(first), np.log(last), 2)))
        one, two = generator.uniform(0.1, 1, 2)
        return one * np.exp(-steps / fast) + two * np.exp(-steps / slow) + generator.uniform(0.2, 1)
    if kind == "slow_logistic":
        x = np.log10(steps)
        place, drawn = generator.uniform(x[0] + 0.5, x[-1] - 0.5), generator.uniform(*SLOW_SCALES)
        scale = drawn if scale is None else scale
        return 2 * np.exp(-generator.uniform(0.2, 1.5) / (1 + np.exp(-(x - place) / scale)))
    raise ValueError(f"unknown smooth curve {kind!r}; known are {', '.join(SMOOTH)} and flat")


def null_curve(
    kind: str, generator: np.random.Generator, points: int = 200, phi: float = 0.5, sigma: float = 0.02,
    decades: float = 3.0, scale: float | None = None,
) -> Curve:  # fmt: skip
    """A curve without a fall; scale: of a slow_logistic, else drawn; kind of `SMOOTH`, or of `MISSPECIFIED` on a
    background drawn from `SMOOTH`.

    t3_noise: innovations of Student's t with 3 degrees of freedom, scaled to unit variance. spikes: 2 % of the points,
    one or two long, 5 to 15 sigma off, three in four upwards. heteroscedastic: the standard deviation changes 4-fold
    along the series, up, down, or up and down. drift: a straight line of up to +-.15 nat a decade and a sine of
    amplitude 1 to 3 sigma and period 1 to 2 decades. replay_sawtooth: rises evenly by 1 to 4 sigma and falls back at
    once, in periods of 2 to 10 % of the last step. learning_rate_step: at a step in the ledger the loss begins to fall
    by 10 to 30 %, with a time constant of 2 to 10 % of that step, and the noise shrinks to .7. Raises ValueError for
    another kind.
    """
    steps = np.geomspace(FIRST_STEP, FIRST_STEP * 10**decades, points)
    x = np.log10(steps)
    noise, ledger = sigma * ar1(points, phi, generator), ()
    base = kind if kind in SMOOTH else SMOOTH[generator.integers(len(SMOOTH))]
    smooth = np.log(background(base, steps, generator, scale))
    if kind == "t3_noise":
        noise = sigma * ar1(points, phi, generator, generator.standard_t(3, size=points + 200) / np.sqrt(3))
    elif kind == "spikes":
        for start in np.flatnonzero(generator.uniform(size=points) < 0.02):
            sign = 1 if generator.uniform() < 0.75 else -1
            noise[start : start + generator.integers(1, 3)] += sign * sigma * generator.uniform(5, 15)
    elif kind == "heteroscedastic":
        share = (x - x[0]) / (x[-1] - x[0])
        shape = (share, 1 - share, 1 - np.abs(2 * share - 1))[generator.integers(3)]
        noise = noise * 2 * 4 ** (shape - 1)  # from half of sigma to twice sigma
    elif kind == "drift":
        wave = np.sin(2 * np.pi * (x / generator.uniform(1, 2) + generator.uniform()))
        noise = noise + generator.uniform(-0.15, 0.15) * (x - x[0]) + sigma * generator.uniform(1, 3) * wave
    elif kind == "replay_sawtooth":
        period = generator.uniform(0.02, 0.1) * steps[-1]
        noise = noise + sigma * generator.uniform(1, 4) * (steps / period % 1.0)
    elif kind == "learning_rate_step":
        at = 10 ** generator.uniform(x[0] + 0.2 * decades, x[0] + 0.8 * decades)
        since = np.maximum(steps - at, 0) / (at * generator.uniform(0.02, 0.1))
        smooth = smooth + np.log(1 - generator.uniform(0.1, 0.3) * (1 - np.exp(-since)))
        noise, ledger = np.where(steps >= at, 0.7, 1.0) * noise, (float(at),)
    elif kind not in SMOOTH:
        raise ValueError(f"unknown null {kind!r}; known are {', '.join((*SMOOTH, *MISSPECIFIED))}")
    return Curve(kind, steps, np.exp(smooth + noise), sigma, phi, ledger)


def planted_curve(
    generator: np.random.Generator, snr: float, scale: float, phi: float = 0.5, points: int = 200, sigma: float = 0.02,
    decades: float = 3.0, place: float | None = None, plateau: bool = True, rise: bool = False,
) -> Curve:  # fmt: skip
    """A curve with one fall of `snr` sigma nats and logistic `scale` (decades).

    place: share of the decades at which its middle lies, default drawn from .2 to .8. plateau: the background is flat,
    so that the fall ends a plateau; else it is drawn from `SMOOTH`. rise: the loss first rises by half the fall, within
    .5 decade of the start.
    """
    steps = np.geomspace(FIRST_STEP, FIRST_STEP * 10**decades, points)
    x = np.log10(steps)
    share = generator.uniform(0.2, 0.8) if place is None else place
    middle, size = x[0] + share * decades, snr * sigma
    kind = "flat" if plateau else SMOOTH[generator.integers(len(SMOOTH))]
    smooth = np.log(background(kind, steps, generator)) - size / (1 + np.exp(-(x - middle) / scale))
    if rise:
        smooth = smooth + 0.5 * size / (1 + np.exp(-(x - x[0] - 0.2) / 0.05))
    losses = np.exp(smooth + sigma * ar1(points, phi, generator))
    name = "planted" + ("_plateau" if plateau else "") + ("_rise" if rise else "")
    return Curve(name, steps, losses, sigma, phi, planted=Planted(float(10**middle), size, scale))
