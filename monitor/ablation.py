"""Do two games need the same units? Overlap of what mean-ablating each unit costs either game.

Shapes: U units, N positions, G groups of units. The monitor is handed losses with units ablated (a unit's output
replaced by its mean over the game's positions); here is only what follows from them.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from monitor.refusals import UndefinedError, matrix, vector

MIN_UNITS = 20
STRATA = 5  # of the units' variance
TOP_SHARE = 0.05


def importance(base: np.ndarray, ablated: np.ndarray) -> np.ndarray:
    """I_u [U]: mean rise of the loss in nats when unit u is mean-ablated; base [N], ablated [U, N]; NaN: no target."""
    return np.nanmean(np.asarray(ablated, np.float64) - np.asarray(base, np.float64), -1)


def living(variance_a: np.ndarray, variance_b: np.ndarray) -> np.ndarray:
    """[U] bool: units that vary in at least one of the games; the others matter to nobody and would agree on it."""
    return (np.asarray(variance_a) > 0) | (np.asarray(variance_b) > 0)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, ties averaged, mean 0."""
    ordered = np.sort(values, -1)
    if (np.diff(ordered, axis=-1) == 0).any():
        found = rankdata(values, axis=-1)
    else:  # without ties two sorts do, many times faster
        found = values.argsort(-1).argsort(-1).astype(np.float64)
    return found - found.mean(-1, keepdims=True)


def residual_ranks(values: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Ranks of values [..., U] less what the ranks of covariates [c, U] explain of them linearly."""
    basis = np.linalg.qr(ranks(covariates).T)[0]  # [U, c]
    found = ranks(values)
    return found - (found @ basis) @ basis.T


def correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[...] Pearson's correlation of centred ranks [..., U]; NaN where one of them does not vary."""
    lengths = (one**2).sum(-1), (other**2).sum(-1)
    rounding = 1e-16 * one.shape[-1] ** 3  # ranks that their covariates explain leave nothing but this
    varies = (lengths[0] > rounding) & (lengths[1] > rounding)
    return np.where(varies, (one * other).sum(-1) / np.sqrt(np.where(varies, lengths[0] * lengths[1], 1.0)), np.nan)


def ablation_overlap(
    importance_a: np.ndarray, importance_b: np.ndarray, variance_a: np.ndarray, variance_b: np.ndarray
) -> float:
    """Spearman's correlation of I^A and I^B [U] given the units' variances in both games [U].

    A partial rank correlation. Units of large variance matter to every game; without the condition any two games would
    seem to share them. Ablation: Meyes et al. 2019; the condition on variance: ours. Raises UndefinedError for fewer
    than 20 units that vary, NaN, or importances that do not differ between units.
    """
    a, b, covariates = _units(importance_a, importance_b, variance_a, variance_b)
    found = float(correlation(residual_ranks(a, covariates), residual_ranks(b, covariates)))
    if not np.isfinite(found):
        raise UndefinedError(
            "ablating one unit costs a game as much as ablating any other (or just what its variance says), so there "
            "is no order of units to compare; train longer or measure more units"
        )
    return found


def _units(
    importance_a: np.ndarray, importance_b: np.ndarray, variance_a: np.ndarray, variance_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(I^A [U'], I^B [U'], variances [2, U']) of the units that vary."""
    names = ("importance in A", "importance in B", "variance in A", "variance in B")
    parts = [vector(v, n, MIN_UNITS) for v, n in zip((importance_a, importance_b, variance_a, variance_b), names)]
    if len({len(part) for part in parts}) > 1:
        raise UndefinedError(
            f"importances and variances are of {[len(part) for part in parts]} units; ablate the same ones"
        )
    alive = living(parts[2], parts[3])
    if alive.sum() < MIN_UNITS:
        raise UndefinedError(
            f"only {int(alive.sum())} units vary at all and at least {MIN_UNITS} are needed: ablate more units"
        )
    return parts[0][alive], parts[1][alive], np.stack([parts[2][alive], parts[3][alive]])


def variance_strata(variance: np.ndarray, count: int = STRATA) -> np.ndarray:
    """[U] int: which of `count` equal groups a unit belongs to by its variance [U]."""
    order = np.argsort(np.argsort(variance, kind="stable"), kind="stable")
    return order * count // len(variance)


def permuted_overlaps(
    importance_a: np.ndarray,
    importance_b: np.ndarray,
    variance_a: np.ndarray,
    variance_b: np.ndarray,
    draws: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """[draws] `ablation_overlap` with B's units permuted within strata of variance: the null. Raises UndefinedError."""
    a, b, covariates = _units(importance_a, importance_b, variance_a, variance_b)
    strata = variance_strata(ranks(covariates).sum(0))
    shuffled = np.argsort(strata + generator.random((draws, len(strata))), 1)  # [draws, U], stratum by stratum
    place = np.argsort(strata, kind="stable")  # units in the order of their strata
    permuted = np.empty((draws, len(b)))
    permuted[:, place] = b[shuffled]
    # The spread of a unit in B goes with its importance: it is A's order that is held against another one.
    return correlation(residual_ranks(permuted, covariates), residual_ranks(a, covariates)[None])


def top_units(importances: np.ndarray, share: float = TOP_SHARE) -> np.ndarray:
    """The most important `share` of the units, at least one: numbers into importances [U]."""
    count = max(1, round(share * len(importances)))
    return np.argsort(-np.asarray(importances), kind="stable")[:count]


def matched_units(
    units: np.ndarray, variance: np.ndarray, draws: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """`draws` random sets of as many units from the same strata of variance [U], none of them in `units`.

    A stratum without enough other units gives what it has.
    """
    strata = variance_strata(variance)
    lots = generator.random((draws, len(strata)))
    lots[:, units] = np.inf
    chosen = []
    for stratum in np.unique(strata[units]):
        members = np.flatnonzero(strata == stratum)
        wanted = int((strata[units] == stratum).sum())
        wanted = min(wanted, len(members) - wanted)
        chosen.append(members[np.argsort(lots[:, members], 1)[:, :wanted]])
    return list(np.sort(np.concatenate(chosen, 1), 1))


def relative_damage(damage: float, random_damage: np.ndarray) -> float:
    """Damage to B from A's top units against that from matched random sets [draws], in standard deviations of these.

    UndefinedError for fewer than 5 sets, or sets that all do the same damage.
    """
    drawn = vector(random_damage, "damage of random sets", 5)
    spread = drawn.std(ddof=1)
    if spread == 0:
        raise UndefinedError("all random sets do the same damage; ablate a network that has learnt something")
    return float((damage - drawn.mean()) / spread)


def rises(base: np.ndarray, ablated: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[R, U] importances under R resamplings of the positions: base [N], ablated [U, N], counts [R, N]."""
    rise = matrix(ablated, "ablated losses", 1) - vector(base, "losses", 1)
    return counts @ rise.T / counts.sum(1, keepdims=True)
