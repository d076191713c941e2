"""From measures and their nulls to the sharing index. Shapes: S draws of a null, R resamplings of the positions.

The question is always whether what was observed is more than a draw from the null would show: the band of the excess
holds both the error of the positions (bootstrap) and the scatter of the null.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from monitor.refusals import UndefinedError

Z95 = 1.959964  # two-sided 95 %
MANY_DRAWS = 39  # from here on the 97.5 % point of a null is one of its draws: 39 of 40 are below the largest


@dataclasses.dataclass(frozen=True)
class Null:
    """A measure where nothing is shared: S draws, or one number and the standard error of the value less it."""

    name: str
    draws: np.ndarray  # [S] float
    paired_error: float | None = None  # of the difference, both under the same resamplings; only where S = 1

    @property
    def mean(self) -> float:
        return float(np.mean(self.draws))

    @property
    def reach(self) -> float:
        """How far above its mean a further draw lies with probability 2.5 %; 0 for a fixed null."""
        count = len(self.draws)
        if count == 1:
            return 0.0
        if count < MANY_DRAWS:
            spread = float(np.std(self.draws, ddof=1))
            return float(stats.t.ppf(0.975, count - 1)) * spread * math.sqrt(1 + 1 / count)
        place = min(math.ceil(0.975 * (count + 1)), count) - 1
        return max(float(np.sort(self.draws)[place]) - self.mean, 0.0)


@dataclasses.dataclass(frozen=True)
class Excess:
    """Observed less the worst null, with its 95 % band."""

    value: float
    low: float
    high: float
    null: str  # the name of the worst null: that with the largest mean
    null_value: float


def excess(value: float, error: float, nulls: Sequence[Null]) -> Excess:
    """What `value`, of standard error `error`, is above the worst of `nulls`.

    The lower end holds against every null: it is the least of value - mean - sqrt((1.96 error)^2 + reach^2), for a
    fixed null with the error of the difference. Raises UndefinedError without nulls or with a number that is not
    finite.
    """
    if not nulls:
        raise UndefinedError("no null is defined here, and a measure without its null says nothing")
    if not all(np.isfinite(part).all() for part in (np.asarray([value, error]), *(null.draws for null in nulls))):
        raise UndefinedError("the measure or one of its nulls is not finite; measure more positions")
    halves = [Z95 * (error if null.paired_error is None else null.paired_error) for null in nulls]
    low = min(value - null.mean - math.hypot(half, null.reach) for null, half in zip(nulls, halves))
    worst = max(range(len(nulls)), key=lambda number: nulls[number].mean)
    over = value - nulls[worst].mean
    return Excess(over, low, over + halves[worst], nulls[worst].name, nulls[worst].mean)


def sharing_index(found: Excess, ceiling: float) -> tuple[float, float, float]:
    """s = (observed - worst null) / (twin ceiling - worst null), and the ends of its 95 % band.

    ceiling: the same measure between a game and its isomorphic twin, taken as known. 0: no more than the worst null; 1:
    as much as two games that are one. Raises UndefinedError where the ceiling is not above the null: the measure cannot
    then tell sharing from none.
    """
    room = ceiling - found.null_value
    if not room > 0:
        raise UndefinedError(
            f"the twin's {ceiling:.3g} is not above the worst null's {found.null_value:.3g} ({found.null}); this "
            "measure cannot tell here; train longer, or measure what the null does not show"
        )
    return found.value / room, found.low / room, found.high / room


def resamplings(count: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """[draws, count] how often each of `count` positions is taken in each bootstrap sample."""
    return generator.multinomial(count, np.full(count, 1 / count), draws).astype(np.float64)


def over_seeds(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % band (Student's t) of a measure over the seeds of one configuration: values [seeds].

    Raises UndefinedError for fewer than 3 seeds: their scatter is then not known.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 3 or not np.isfinite(values).all():
        raise UndefinedError(f"a band over seeds needs at least 3 runs with finite values; found {values.tolist()}")
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half
