"""Bradley-Terry ratings from games between players, with bootstrap intervals, in Elo units.

The model (Bradley and Terry 1952, "Rank analysis of incomplete block designs", Biometrika 39): player i scores against
player j with probability 1 / (1 + 10^((r_j - r_i) / 400)). A draw counts as half a win and half a loss. Ratings are the
maximum of the likelihood, found by Newton's method with bounded steps on log strengths (the likelihood is concave
there; Hunter 2004, "MM algorithms for generalized Bradley-Terry models", Annals of Statistics 32, treats its maximum).
It exists when the players cannot be split in two groups of which one took no point from the other (Ford 1957).

Shape legend: N players, U units of resampling, R resamples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

ELO = 400 / np.log(10)  # Elo points of one nat of log strength
VIRTUAL_DRAWS = 1.0  # against each opponent met, where the likelihood has no maximum
_RARE = 0.025  # of each side of a 95 % interval
_MOST_STEPS = 500


@dataclasses.dataclass(frozen=True)
class Ratings:
    """Ratings of N players in Elo; low and high are 95 % intervals, NaN where unknown, infinite where open."""

    elo: np.ndarray  # [N] float64
    low: np.ndarray  # [N] float64; -inf: nothing bounds it from below; all NaN with one unit
    high: np.ndarray  # [N] float64; +inf: nothing bounds it from above
    prior: float  # virtual draws that were added against each opponent met; 0: plain maximum likelihood
    resamples: int  # R
    resamples_with_prior: int  # of them, those that needed the virtual draws


def fit(points: np.ndarray, prior: float | None = None, names: Sequence[str] | None = None) -> tuple[np.ndarray, float]:
    """Ratings with mean 0 and the prior that was used.

    points: [N, N] float, points[i, j] is what player i took from player j in all their games (1 a win, 0.5 a draw).
    prior: virtual draws against each opponent met; None: none where the likelihood has a maximum without, else
    `VIRTUAL_DRAWS`. names: of the players, for errors. Returns ([N] float64 in Elo, prior). ValueError when players are
    not connected by games, and for prior 0 where there is no maximum.
    """
    points = _checked(points)
    names = [str(i) for i in range(len(points))] if names is None else names
    _refuse_disconnected(points, names)
    if prior is not None and not (np.isfinite(prior) and prior >= 0):
        raise ValueError(f"prior must be a number of virtual draws, at least 0, found {prior}")
    exists = bool(_has_maximum(points[None])[0])
    if prior is None:
        prior = 0.0 if exists else VIRTUAL_DRAWS
    if prior == 0 and not exists:
        raise ValueError(
            "the ratings have no maximum of the likelihood: some players took no point from all the others; "
            "play more games, or give a prior of virtual draws"
        )
    return _newton((points + _virtual(points, prior))[None])[0] * ELO, prior


def rate(
    units: np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
    prior: float | None = None,
    anchor: tuple[int, float] | None = None,
    names: Sequence[str] | None = None,
) -> Ratings:
    """Ratings with 95 % intervals by bootstrap (percentiles; Efron 1979) over U units of games.

    units: [U, N, N] float, units[u, i, j] is what player i took from player j in unit u: all the games that are not
    independent of one another, such as those of one opening with sides swapped. Whole units are drawn with replacement.
    prior: as in `fit`; where it comes to 0, resamples without a maximum get `VIRTUAL_DRAWS`. anchor: (player, Elo) that
    the scale is hung from; None: mean 0.

    Where the players fall into groups of which one took no point from another, the games do not bound their distance:
    these bounds are infinite. The bound on the other side is then also kept away from the rating: at least as far as
    makes the result, one trial a unit and opponent, an event of probability 2.5 %, others staying where they are.
    """
    units = np.asarray(units, np.float64)
    if units.ndim != 3 or len(units) < 1 or resamples < 1:
        raise ValueError(f"rate needs units [U, N, N] and resamples >= 1, found {units.shape} and {resamples}")
    total = _checked(units.sum(0))
    elo, used = fit(total, prior, names)
    if anchor is not None and not 0 <= anchor[0] < len(elo):
        raise ValueError(f"the anchor must be one of {len(elo)} players, found number {anchor[0]}")
    if len(units) < 2:
        unknown = np.full(len(elo), np.nan)
        return Ratings(_hung(elo, anchor), unknown, unknown.copy(), used, 0, 0)
    draws = np.random.default_rng(seed).multinomial(len(units), np.full(len(units), 1 / len(units)), size=resamples)
    drawn = np.einsum("ru,uij->rij", draws.astype(np.float64), units)
    lost = ~_has_maximum(drawn)
    # Pairs met are those of the whole: a resample may lose all games of a pair that was not played in every unit.
    extra = np.where(lost & (used == 0), VIRTUAL_DRAWS, used)
    spread = _hung(_newton(drawn + extra[:, None, None] * _virtual(total, 1.0)) * ELO, anchor)
    low, high = np.quantile(spread, [_RARE, 1 - _RARE], axis=0)
    elo = _hung(elo, anchor)
    low, high = np.minimum(low, elo), np.maximum(high, elo)
    _open_(total, (units + units.transpose(0, 2, 1) > 0).sum(0), elo, low, high, anchor)
    return Ratings(elo, low, high, used, resamples, int(lost.sum()) if used == 0 else resamples)


def expected_score(difference: float | np.ndarray) -> float | np.ndarray:
    """The share of points that a player rated `difference` Elo above its opponent takes."""
    return 1 / (1 + 10 ** (-np.asarray(difference) / 400))


def _checked(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[0] != points.shape[1] or len(points) < 2:
        raise ValueError(f"points must be [N, N] with N at least 2, found shape {points.shape}")
    if not np.isfinite(points).all() or points.min() < 0 or np.diagonal(points).any():
        raise ValueError("points must be finite, at least 0, and 0 of a player against itself")
    return points


def _virtual(points: np.ndarray, draws: float) -> np.ndarray:
    """[N, N]: half a point each way and virtual draw for every pair that met."""
    return np.where(points + points.T > 0, draws / 2, 0.0)


def _reach(linked: np.ndarray) -> np.ndarray:
    """[..., N, N] bool -> whether a chain of links leads from i to j; every player reaches itself."""
    size = linked.shape[-1]
    closed = linked | np.eye(size, dtype=bool)
    for _ in range(int(np.ceil(np.log2(size))) + 1):
        closed = (closed.astype(np.float32) @ closed.astype(np.float32)) > 0
    return closed


def _has_maximum(points: np.ndarray) -> np.ndarray:
    """[R, N, N] -> [R] bool: everybody took points from everybody, through chains (Ford 1957)."""
    return np.asarray(_reach(points > 0).all((1, 2)))


def _refuse_disconnected(points: np.ndarray, names: Sequence[str]) -> None:
    met = _reach(points + points.T > 0)
    if not met.all():
        group = [names[i] for i in np.flatnonzero(met[0]).tolist()]
        rest = [names[i] for i in np.flatnonzero(~met[0]).tolist()]
        raise ValueError(
            f"no games connect {', '.join(group)} with {', '.join(rest)}: their ratings cannot be compared; "
            "let one of each play the other, or rate them apart"
        )


def _newton(points: np.ndarray) -> np.ndarray:
    """[R, N, N] -> [R, N] log strengths in nats, mean 0, where every likelihood has a maximum."""
    games = points + points.transpose(0, 2, 1)
    taken, size = points.sum(2), points.shape[1]
    strength = np.zeros(points.shape[:2])
    for _ in range(_MOST_STEPS):
        chance = 1 / (1 + np.exp(strength[:, None, :] - strength[:, :, None]))
        slope = taken - (games * chance).sum(2)
        curve = games * chance * (1 - chance)
        hessian = curve.sum(2)[:, :, None] * np.eye(size) - curve
        # All strengths may rise together: the ones fix that direction and leave the step in the others as it is.
        step = np.linalg.solve(hessian + curve.sum((1, 2))[:, None, None] / size**2, slope[:, :, None])[:, :, 0]
        # A full step may overshoot far from the maximum. One that moves no two players apart by more than a nat always
        # gains: the third derivative is at most the second times that distance (Bach 2010, "Self-concordant analysis
        # for logistic regression").
        strength = strength + step / np.maximum(1, np.ptp(step, axis=1, keepdims=True))
        if (np.abs(step) <= 1e-8).all():  # nats; each step squares the distance that is left
            return strength - strength.mean(1, keepdims=True)
    raise AssertionError("Newton's method did not reach the maximum of a concave likelihood")


def _hung(elo: np.ndarray, anchor: tuple[int, float] | None) -> np.ndarray:
    """[..., N] ratings with the anchor where it belongs."""
    if anchor is None:
        return elo - elo.mean(-1, keepdims=True)
    return elo - elo[..., anchor[0], None] + anchor[1]


def _open_(
    total: np.ndarray,
    trials: np.ndarray,
    elo: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    anchor: tuple[int, float] | None,
) -> None:
    """Make bounds that the games do not set infinite, and widen the other bound; see `rate`.

    total [N, N]: points; trials [N, N]: units in which two players met. A player can rise without end against another
    if the other took no point from it, nor from anybody through whom it would.
    """
    reach = _reach(total > 0)  # reach[i, j]: i took points from j, through chains
    held = np.asarray(reach.all(0) if anchor is None else reach[anchor[0]])  # [N]: from above
    kept = np.asarray(reach.all(1) if anchor is None else reach[:, anchor[0]])  # from below
    for i in range(len(elo)):
        if anchor is not None and i == anchor[0]:
            continue
        if not held[i]:
            high[i] = np.inf
            low[i] = min(low[i], _rare_bound(elo, trials[i] * ~reach[:, i], low[i]))
        if not kept[i]:
            low[i] = -np.inf
            if np.isfinite(high[i]):
                high[i] = max(high[i], -_rare_bound(-elo, trials[i] * ~reach[i], -high[i]))


def _rare_bound(elo: np.ndarray, trials: np.ndarray, start: float) -> float:
    """The rating at which taking every one of `trials` [N] from players rated `elo` has a probability of 2.5 %."""
    if not trials.any():
        return start
    low, high = float(elo.min()) - 4000.0, float(elo.max()) + 4000.0
    for _ in range(60):
        middle = (low + high) / 2
        surprise = (trials * np.log1p(10 ** ((elo - middle) / 400))).sum()
        low, high = (middle, high) if surprise > -np.log(_RARE) else (low, middle)
    return high
