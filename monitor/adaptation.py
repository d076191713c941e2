"""Adaptation to a held-out game: the records of adaptation runs, their curves, and two arms compared.

An adaptation run learns one game from given first weights and writes `monitor.adaptation/1` records at fixed updates.
Its arm says where the weights come from: `scratch`, `pretrained` (a run of several games) or `single` (a run of one).
Runs with the same game, budget and seed differ in their first weights alone, so arms are compared in pairs by seed.

Conventions: performance is larger for better, so a loss counts with its sign turned; intervals are Student's t over
seeds. All functions are pure: the same records give the same answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from monitor.records import ADAPTATION, validate
from monitor.refusals import UndefinedError
from monitor.series import named_series, plain, summaries
from monitor.transfer import SHOTS, Savings, area_ratio, jump_start, reached, savings

SCRATCH, PRETRAINED, SINGLE = "scratch", "pretrained", "single"
ARMS = (SCRATCH, PRETRAINED, SINGLE)
LEVEL = 0.95
FEWEST_SEEDS = 3
POINTS_PER_DECADE = 6
WAY = 0.9
"""The threshold of savings lies this far on the way from the start to the end of the runs from scratch."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where first weights come from; runs that differ in their seed alone are one source."""

    arm: str
    config: str  # sha256 of the source's configuration without its seed
    games: tuple[str, ...]
    asked: str  # the checkpoint that was asked for: an update, or "last"


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """One finished adaptation run, n points."""

    run: str
    game: str
    seed: int
    source: Source | None  # None: from scratch
    origin: Mapping[str, Any] | None  # the record's own `source`
    budget: int
    zero_shot: str | None  # why play before the first update is not defined
    targets: str
    frozen_set: str
    parameters: int
    code: str
    updates: np.ndarray  # [n] int, rising
    values: Mapping[str, np.ndarray]  # series -> [n]; NaN where it was not measured
    losses: frozenset[str]  # the series of which smaller is better

    def performance(self, series: str) -> tuple[np.ndarray, np.ndarray]:
        """(updates [m], performance [m]) where `series` was measured."""
        if series not in self.values:
            raise UndefinedError(f"{self.run} has no {series!r}; it has {', '.join(self.values)}")
        values = self.values[series]
        known = np.isfinite(values)
        return self.updates[known], values[known] * (-1.0 if series in self.losses else 1.0)


def read_adaptation(records: Sequence[Mapping[str, Any]]) -> Adaptation | None:
    """The adaptation run that `monitor.adaptation/1` records of one run tell of; None while it has not ended."""
    if not records or records[-1]["update"] < records[-1]["budget"]:
        return None
    first, names = records[0], dict.fromkeys(name for r in records for name in (*r["losses"], *r["scores"]))
    values = {
        name: np.array([
            (r["losses"][name]["mean"] if name in r["losses"] else r["scores"].get(name)) for r in records
        ], np.float64)
        for name in names
    }  # fmt: skip
    origin, source = first["source"], None
    if origin is not None:
        source = Source(first["arm"], origin["config"], tuple(origin["games"]), origin["asked"])
    return Adaptation(
        first["run"], first["game"], first["seed"], source, origin, first["budget"], first["zero_shot"],
        first["targets"], first["frozen_set"], first["parameters"], first["code"],
        np.array([r["update"] for r in records]), values,
        frozenset(name for r in records for name in r["losses"]),
    )  # fmt: skip


def adaptations(runs: Iterable[Iterable[Mapping[str, Any]]]) -> list[Adaptation]:
    """The finished adaptation runs among records by run."""
    found = (read_adaptation([r for r in records if r["schema"] == ADAPTATION]) for records in runs)
    return [entry for entry in found if entry is not None]


def decisive(runs: Sequence[Adaptation]) -> str:
    """The series that decides where nobody chose: `policy` where a solver gives its targets, else `dynamics_1`, which
    does not move with the policy. UndefinedError where the runs do not all have it."""
    for name in ("policy", "dynamics_1"):
        if all(name in run.values for run in runs):
            return name
    raise UndefinedError("the runs have neither the series policy nor dynamics_1 in common; name one that they have")


# -- estimates ----------------------------------------------------------------------------------------------------


def estimate(values: Sequence[float], level: float = LEVEL, bounds: int = 0, why: str | None = None) -> dict[str, Any]:
    """{"value", "low", "high", "n", "bounds", "refused"}: mean and Student's t interval over seeds.

    bounds: how many of the values are upper bounds. why: the reason where there is no value at all. Without at least 3
    seeds there is no interval, and `refused` says so.
    """
    found = np.asarray(values, np.float64)
    empty = {"value": None, "low": None, "high": None, "n": len(found), "bounds": bounds, "refused": why}
    if not len(found):
        return empty | {"refused": why or "no seed has it"}
    mean = float(found.mean())
    if len(found) < FEWEST_SEEDS:
        reason = f"{len(found)} seeds; an interval needs at least {FEWEST_SEEDS}"
        return empty | {"value": plain(mean), "refused": reason}
    half = float(stats.t.ppf((1 + level) / 2, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))
    return empty | {"value": plain(mean), "low": plain(mean - half), "high": plain(mean + half), "refused": None}


def shots(budget: int) -> list[int]:
    """Updates at .1, .3, 1, 3, 10 % of the budget, without 0 and without what rounds to another."""
    return sorted({round(share * budget) for share in SHOTS} - {0})


def points(budget: int) -> list[int]:
    """Updates at which an adaptation run is measured: the shots, and six a decade from .1 % to the whole budget, which
    is the last. Empty for a budget of 0."""
    if not budget:
        return []
    between = {round(budget * 10 ** (k / POINTS_PER_DECADE)) for k in range(-3 * POINTS_PER_DECADE, 1)}
    return sorted({0, *shots(budget), *between})


def point(
    head: Mapping[str, Any], losses: Mapping[str, np.ndarray], scores: Mapping[str, float | None]
) -> dict[str, Any]:
    """A checked `monitor.adaptation/1` record. losses: `head@k` -> [N] nats as the monitor measures them; empty where
    play is not defined yet."""
    update, budget = head["update"], head["budget"]
    series = named_series(losses)
    values = np.stack(list(series.values())) if series else np.empty((0, 0))
    measured = summaries(values, np.ones((1, values.shape[1]), bool))
    record = {
        "schema": ADAPTATION, **head, "share": plain(update / budget), "shot": update in (0, *shots(budget)),
        "losses": {name: found for name, (found,) in zip(series, measured, strict=True)},
        "scores": {name: plain(value) for name, value in scores.items() if value is not None},
    }  # fmt: skip
    validate(record)
    return record


@dataclasses.dataclass(frozen=True)
class Scale:
    """What the runs from scratch say of a game in one series: mean performance before the first update, which is that
    of knowing nothing, and at the end of the budget."""

    series: str
    start: float
    end: float

    @property
    def learnt(self) -> float:
        """What there is to learn. UndefinedError where the runs from scratch learnt nothing."""
        if not self.end > self.start:
            raise UndefinedError(
                f"from scratch {self.series} does not get better within the budget (performance {self.start:.4g} to "
                f"{self.end:.4g}); raise the budget, or look at another series"
            )
        return self.end - self.start

    @property
    def threshold(self) -> float:
        """The performance that counts as having learnt the game. UndefinedError as `learnt`."""
        return self.start + WAY * self.learnt


def scale_of(scratch: Mapping[int, Adaptation], series: str) -> Scale:
    """Of the runs from scratch by seed. UndefinedError where there are none."""
    if not scratch:
        raise UndefinedError("no run from scratch has ended, so there is nothing to compare with")
    start, end = np.mean([run.performance(series)[1][[0, -1]] for run in scratch.values()], 0)
    return Scale(series, float(start), float(end))


def advantage(one: Adaptation, other: Adaptation, series: str) -> float:
    """Mean over the shots above 0 of the performance of `one` less that of `other`: the area between the curves over
    log updates from .1 to 10 % of the budget."""
    known = [dict(zip(*map(np.ndarray.tolist, run.performance(series)))) for run in (one, other)]
    places = [update for update in shots(one.budget) if all(update in curve for curve in known)]
    if not places:
        raise UndefinedError(f"{one.run} and {other.run} were measured at no common shot")
    return float(np.mean([known[0][update] - known[1][update] for update in places]))


def _common(one: Adaptation, other: Adaptation, series: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(updates, performance of one, of other) [n] at the updates that both have."""
    (steps, mine), (others, theirs) = one.performance(series), other.performance(series)
    both, here, there = np.intersect1d(steps, others, return_indices=True)
    return both, mine[here], theirs[there]


def _jump_start(one: Adaptation, other: Adaptation, series: str, scale: Scale) -> float:
    _, mine, theirs = _common(one, other, series)
    return jump_start(np.nan if one.zero_shot or other.zero_shot else mine[0], theirs[0])


def saved(one: Adaptation, other: Adaptation, series: str, scale: Scale) -> Savings:
    """Savings of `one` on the way to the threshold, against `other`. UndefinedError where `other` never gets there."""
    steps, mine, theirs = _common(one, other, series)
    times = [reached(steps, curve, scale.threshold) for curve in (mine, theirs)]
    return savings(*times, budget=one.budget)


def _area_ratio(one: Adaptation, other: Adaptation, series: str, scale: Scale) -> float:
    return area_ratio(*_common(one, other, series), floor=scale.start)


_MEASURES: dict[str, Callable[[Adaptation, Adaptation, str, Scale], float]] = {
    "jump_start": _jump_start,
    "advantage": lambda one, other, series, scale: advantage(one, other, series),
    "advantage_share": lambda one, other, series, scale: advantage(one, other, series) / scale.learnt,
    "savings": lambda one, other, series, scale: saved(one, other, series, scale).value,
    "area_ratio": _area_ratio,
}


def compare(pairs: Sequence[tuple[Adaptation, Adaptation]], series: str, scale: Scale) -> dict[str, dict[str, Any]]:
    """Estimates of jump_start, advantage, advantage_share, savings, area_ratio over (arm, other) pairs of one seed.

    advantage is in the series's units, advantage_share in units of what there is to learn (start to end from scratch).
    A pair in which a measure is not defined does not count for it; where it is defined in none, the estimate says why.
    """
    found = {}
    for name, measure in _MEASURES.items():
        values, bounds, why = [], 0, None
        for one, other in pairs:
            try:
                values.append(measure(one, other, series, scale))
                bounds += name == "savings" and saved(one, other, series, scale).bound
            except UndefinedError as error:
                why = str(error)
        found[name] = estimate(values, bounds=bounds, why=why)
    return found
