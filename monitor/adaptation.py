"""Adaptation to held-out games: from the records of adaptation runs to what they show together, and to `meta_onset`.

An adaptation run learns one game from given first weights and writes `monitor.adaptation/1` records at fixed updates.
Its arm says where the weights come from: `scratch`, `pretrained` (a run of several games) or `single` (a run of one).
Runs with the same game, budget and seed differ in their first weights alone, so arms are compared in pairs by seed.

Conventions: performance is larger for better, so a loss counts with its sign turned; intervals are Student's t over
seeds. All functions are pure: the same records give the same answers.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from monitor.aggregates import iqm, probability_of_improvement
from monitor.records import ADAPTATION, AGGREGATE, EVENT, MATRIX, TRANSFER, validate
from monitor.refusals import UndefinedError
from monitor.series import named_series, plain, summary
from monitor.transfer import SHOTS, area_ratio, jump_start, reached, savings, transfer_matrix

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
    record = {
        "schema": ADAPTATION, **head, "share": plain(update / budget), "shot": update in (0, *shots(budget)),
        "losses": {name: summary(values) for name, values in named_series(losses).items()} if losses else {},
        "scores": {name: plain(value) for name, value in scores.items() if value is not None},
    }  # fmt: skip
    validate(record)
    return record


@dataclasses.dataclass(frozen=True)
class Scale:
    """What the runs from scratch say of a game in one series."""

    start: float  # mean performance before the first update: of knowing nothing
    end: float  # at the end of the budget

    @property
    def threshold(self) -> float:
        return self.start + WAY * (self.end - self.start)


def scale_of(scratch: Mapping[int, Adaptation], series: str) -> Scale:
    """Of the runs from scratch by seed. UndefinedError where there are none, or they learnt nothing."""
    if not scratch:
        raise UndefinedError("no run from scratch has ended, so there is nothing to compare with")
    ends = [run.performance(series)[1][[0, -1]] for run in scratch.values()]
    start, end = np.mean(ends, 0)
    if not end > start:
        raise UndefinedError(
            f"from scratch {series} does not get better within the budget ({start:.4g} to {end:.4g}); raise --budget"
        )
    return Scale(float(start), float(end))


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


def compare(pairs: Sequence[tuple[Adaptation, Adaptation]], series: str, scale: Scale) -> dict[str, dict[str, Any]]:
    """jump_start, advantage, advantage_share, savings, area_ratio of (arm, other) pairs of one seed each.

    advantage is in the series's units, advantage_share in units of what there is to learn (start to end from scratch).
    """
    found: dict[str, list[float]] = {
        name: [] for name in ("jump_start", "advantage", "advantage_share", "savings", "area_ratio")
    }
    why: dict[str, str] = {}
    bounds = 0
    for one, other in pairs:
        steps, mine, theirs = _common(one, other, series)

        def jump(one: Adaptation = one, other: Adaptation = other, mine=mine, theirs=theirs) -> float:
            undefined = one.zero_shot or other.zero_shot
            return jump_start(np.nan if undefined else mine[0], theirs[0])

        def saved(one: Adaptation = one, steps=steps, mine=mine, theirs=theirs) -> float:
            nonlocal bounds
            times = [reached(steps, curve, scale.threshold) for curve in (mine, theirs)]
            result = savings(*times, budget=one.budget)
            bounds += result.bound
            return result.value

        def area(steps=steps, mine=mine, theirs=theirs) -> float:
            return area_ratio(steps, mine, theirs, scale.start)

        gain: Callable[[], float] = lambda one=one, other=other: advantage(one, other, series)  # noqa: E731
        for name, measure in (("jump_start", jump), ("advantage", gain), ("savings", saved), ("area_ratio", area)):
            try:
                found[name].append(measure())
            except UndefinedError as error:
                why[name] = str(error)
    found["advantage_share"] = [value / (scale.end - scale.start) for value in found["advantage"]]
    return {
        name: estimate(values, bounds=bounds if name == "savings" else 0, why=why.get(name))
        for name, values in found.items()
    }


# -- the records over a study -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Study:
    """All finished adaptation runs of one held-out game, by source and seed."""

    game: str
    scratch: Mapping[int, Adaptation]
    by_source: Mapping[Source, Mapping[int, Adaptation]]

    def pairs(self, source: Source, other: Source | None = None) -> list[tuple[Adaptation, Adaptation]]:
        """(run from `source`, run from `other`, None: from scratch) of every seed that has both."""
        mine, theirs = self.by_source[source], self.scratch if other is None else self.by_source[other]
        return [(mine[seed], theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())]


def studies(runs: Sequence[Adaptation]) -> list[Study]:
    """By game, in alphabetical order. UndefinedError where budgets differ within a game or a run is there twice."""
    result = []
    for game in sorted({run.game for run in runs}):
        mine = [run for run in runs if run.game == game]
        budgets = {run.budget for run in mine}
        if len(budgets) > 1:
            raise UndefinedError(f"adaptation to {game} has the budgets {sorted(budgets)}; compare runs of one budget")
        by: dict[Source | None, dict[int, Adaptation]] = {}
        for run in mine:
            seeds = by.setdefault(run.source, {})
            if run.seed in seeds:
                raise UndefinedError(
                    f"{seeds[run.seed].run} and {run.run} are the same arm of {game} with the same seed {run.seed}; "
                    "leave one out"
                )
            seeds[run.seed] = run
        sources = {source: seeds for source, seeds in by.items() if source is not None}
        result.append(Study(game, by.get(None, {}), sources))
    return result


def nearest(study: Study, series: str) -> Source | None:
    """The single game whose checkpoint is the best start of all named: by its mean advantage over scratch. The choice
    is made after the outcome is known, which favours it: a claim to beat it is the harder to make."""
    gains = {
        source: float(np.mean([advantage(one, other, series) for one, other in pairs]))
        for source in study.by_source
        if source.arm == SINGLE and (pairs := study.pairs(source))
    }
    return max(gains, key=lambda source: (gains[source], source.games), default=None)


def _described(source: Source, runs: Mapping[int, Adaptation]) -> dict[str, Any]:
    origins = [run.origin for run in runs.values() if run.origin is not None]
    return {
        "arm": source.arm, "games": list(source.games), "asked": source.asked,
        "update": round(float(np.mean([origin["update"] for origin in origins]))),
        "runs": sorted({origin["run"] for origin in origins}), "parameters": max(o["parameters"] for o in origins),
    }  # fmt: skip


def _mean_curve(runs: Iterable[Adaptation], series: str) -> list[dict[str, Any]]:
    """Means over seeds at every update, in the series's own units (a loss is a loss)."""
    runs = list(runs)
    sign = -1.0 if any(series in run.losses for run in runs) else 1.0
    points: dict[int, list[float]] = {}
    for run in runs:
        for update, value in zip(*run.performance(series)):
            points.setdefault(int(update), []).append(sign * float(value))
    budget = runs[0].budget
    wanted = {0, *shots(budget)}
    return [
        {"update": update, "share": plain(update / budget), "shot": update in wanted, **_short(points[update])}
        for update in sorted(points)
    ]


def _short(values: Sequence[float]) -> dict[str, Any]:
    full = estimate(values)
    return {name: full[name] for name in ("value", "low", "high", "n")}


def transfer_record(study: Study, source: Source, series: str) -> dict[str, Any]:
    """What starting from `source` did for the held-out game: a `monitor.transfer/1` record. UndefinedError where there
    is nothing from scratch to compare with."""
    scale, runs = scale_of(study.scratch, series), study.by_source[source]
    near = nearest(study, series) if source.arm == PRETRAINED else None
    sign = -1.0 if any(series in run.losses for run in runs.values()) else 1.0
    return {
        "schema": TRANSFER, "game": study.game, "series": series, "unit": "nats" if sign < 0 else "score",
        "budget": next(iter(runs.values())).budget, "source": _described(source, runs),
        "nearest": None if near is None else _described(near, study.by_source[near]), "seeds": sorted(runs),
        "zero_shot": next((run.zero_shot for run in runs.values() if run.zero_shot), None),
        "threshold": {"value": plain(sign * scale.threshold), "start": plain(sign * scale.start),
                      "end": plain(sign * scale.end), "way": WAY},
        "curve": _mean_curve(runs.values(), series), "scratch_curve": _mean_curve(study.scratch.values(), series),
        "nearest_curve": None if near is None else _mean_curve(study.by_source[near].values(), series),
        "against_scratch": compare(study.pairs(source), series, scale),
        "against_nearest": None if near is None else compare(study.pairs(source, near), series, scale),
    }  # fmt: skip


def matrix_record(found: Sequence[Study], series: str) -> dict[str, Any] | None:
    """Savings from each single game (rows) on each held-out game (columns): `monitor.transfer_matrix/1`; None without
    single games. Bonferroni-corrected for the number of cells."""
    sources = sorted({source for study in found for source in study.by_source if source.arm == SINGLE},
                     key=lambda source: (source.games, source.asked, source.config))  # fmt: skip
    seeds = sorted({seed for study in found for seed in study.scratch})
    if not sources or not seeds:
        return None
    size = max(len(sources), len(found))
    samples = np.full((len(seeds), size, size), np.nan)
    for row, source in enumerate(sources):
        for column, study in enumerate(found):
            if source not in study.by_source or study.game in source.games:
                continue
            scale = scale_of(study.scratch, series)
            for one, other in study.pairs(source):
                steps, mine, theirs = _common(one, other, series)
                times = [reached(steps, curve, scale.threshold) for curve in (mine, theirs)]
                try:
                    samples[seeds.index(one.seed), row, column] = savings(*times, budget=one.budget).value
                except UndefinedError:
                    continue
    counts = np.isfinite(samples).sum(0)
    measured = counts > 0
    refused, mean = None, np.full((size, size), np.nan)
    mean[measured] = np.nansum(samples, 0)[measured] / counts[measured]
    low = high = np.full((size, size), np.nan)
    try:
        matrix = transfer_matrix(samples, LEVEL)
        mean, low, high = matrix.mean, matrix.low, matrix.high
    except UndefinedError as error:
        refused = str(error)
    shape = slice(len(sources)), slice(len(found))

    def table(values: np.ndarray) -> list[list[float | None]]:
        return [[plain(value) for value in row] for row in values[shape]]

    return {
        "schema": MATRIX, "series": series, "from": ["+".join(source.games) for source in sources],
        "to": [study.game for study in found], "mean": table(mean), "low": table(low), "high": table(high),
        "certain": ((low > 0) | (high < 0))[shape].tolist(), "cells": int(measured.sum()),
        "seeds": int(counts[measured].min()) if measured.any() else 0, "level": LEVEL, "refused": refused,
    }  # fmt: skip


def aggregate_record(found: Sequence[Study], source: Source, series: str) -> dict[str, Any]:
    """Over seeds and held-out games as in rliable: `monitor.aggregate/1`. iqm: of the advantage over scratch in units
    of what there is to learn; better_than_...: probability that a run from the source beats one from the other."""
    here = [study for study in found if source in study.by_source]
    runs = {seed: run for study in here for seed, run in study.by_source[source].items()}
    seeds = sorted(set.intersection(*({one.seed for one, _ in study.pairs(source)} for study in here)))

    def level(study: Study, run: Adaptation) -> float:
        """Mean performance at the shots, from 0 (knowing nothing) to 1 (the end from scratch)."""
        scale = scale_of(study.scratch, series)
        known = dict(zip(*map(np.ndarray.tolist, run.performance(series))))
        at = [known[update] for update in shots(run.budget) if update in known]
        return (float(np.mean(at)) - scale.start) / (scale.end - scale.start)

    def table(pick: Callable[[Study], Mapping[int, Adaptation]]) -> np.ndarray:
        return np.array([[level(study, pick(study)[seed]) for study in here] for seed in seeds])

    def attempt(measure: Callable[[], Any]) -> dict[str, Any]:
        try:
            interval = measure()
        except (UndefinedError, KeyError) as error:
            reason = str(error) if isinstance(error, UndefinedError) else f"seed {error} lacks a run"
            return {"value": None, "low": None, "high": None, "refused": reason}
        numbers = (plain(interval.value), plain(interval.low), plain(interval.high))
        return dict(zip(("value", "low", "high"), numbers)) | {"refused": None}

    def single() -> np.ndarray:
        if source.arm != PRETRAINED:
            raise UndefinedError("the source is itself a single game")
        if any(nearest(study, series) is None for study in here):
            raise UndefinedError("no run of a single game was named; give --single RUN")
        return table(lambda study: study.by_source[nearest(study, series)])  # type: ignore[index]

    def draws() -> np.random.Generator:
        return np.random.default_rng(0)

    mine = table(lambda study: study.by_source[source])
    scratch = table(lambda study: study.scratch)
    return {
        "schema": AGGREGATE, "series": series, "source": _described(source, runs), "games": [s.game for s in here],
        "seeds": len(seeds), "iqm": attempt(lambda: iqm(mine - scratch, draws())),
        "better_than_scratch": attempt(lambda: probability_of_improvement(mine, scratch, draws())),
        "better_than_nearest": attempt(lambda: probability_of_improvement(mine, single(), draws())),
    }  # fmt: skip


def transfer_records(runs: Sequence[Adaptation], series: str | None = None) -> list[dict[str, Any]]:
    """Everything that adaptation runs show together: transfer, matrix and aggregate records. UndefinedError."""
    if not runs:
        return []
    found, series = studies(runs), series or decisive(runs)
    records = [transfer_record(study, source, series) for study in found for source in _ordered(study.by_source)]
    matrix = matrix_record(found, series)
    sources = _ordered({source for study in found for source in study.by_source})
    return [*records, *([matrix] if matrix else []), *(aggregate_record(found, s, series) for s in sources)]


def _ordered(sources: Iterable[Source]) -> list[Source]:
    return sorted(sources, key=lambda s: (s.arm, len(s.games), s.games, _place(s), s.config))


def _place(source: Source) -> float:
    return float("inf") if source.asked == "last" else int(source.asked)


# -- from where on unseen games are learnt faster -----------------------------------------------------------------


def gains(found: Sequence[Study], source: Source, series: str, against: str) -> np.ndarray:
    """[S] advantage of `source` in units of what there is to learn, by seed, mean over the held-out games.

    against: `scratch`, or `single` for the nearest single game of each held-out game. Only seeds that have all games.
    UndefinedError where no single game was named.
    """
    by_seed: list[dict[int, float]] = []
    for study in found:
        if source not in study.by_source:
            raise UndefinedError(f"{study.game} was not learnt from {'+'.join(source.games)} at {source.asked}")
        scale, other = scale_of(study.scratch, series), None
        if against == SINGLE:
            other = nearest(study, series)
            if other is None:
                raise UndefinedError(f"{study.game}: no run of a single game was named; give --single RUN")
        pairs = study.pairs(source, other)
        by_seed.append({
            one.seed: advantage(one, theirs, series) / (scale.end - scale.start) for one, theirs in pairs
        })  # fmt: skip
    seeds = sorted(set.intersection(*(set(entry) for entry in by_seed)))
    return np.array([[entry[seed] for entry in by_seed] for seed in seeds]).reshape(len(seeds), len(by_seed)).mean(1)


def faster(found: Sequence[Study], source: Source, series: str, level: float = LEVEL) -> dict[str, dict[str, Any]]:
    """against -> estimate of `gains`, for `scratch` and `single`; what could not be measured says why."""
    result = {}
    for against in (SCRATCH, SINGLE):
        try:
            result[against] = estimate(gains(found, source, series, against).tolist(), level)
        except UndefinedError as error:
            result[against] = estimate([], why=str(error))
    return result


def is_faster(estimates: Mapping[str, Mapping[str, Any]]) -> bool | None:
    """Whether both lower bounds are above 0; None where one of them is not known."""
    lows = [estimates[against]["low"] for against in (SCRATCH, SINGLE)]
    return None if any(low is None for low in lows) else all(low > 0 for low in lows)


def faster_by_run(runs: Sequence[Adaptation], series: str | None = None) -> dict[str, bool | None]:
    """Run of several games -> whether its newest checkpoint that was adapted from beats from scratch and the nearest
    single game, lower 95 % bounds over (held-out game, seed) pairs above 0; None where that is not known."""
    result: dict[str, bool | None] = {}
    named = {run.origin["run"] for run in runs if run.origin is not None and run.source.arm == PRETRAINED}  # type: ignore[union-attr]
    for name in sorted(named):
        mine = [run for run in runs if run.origin is not None and run.origin["run"] == name]
        newest = max((run.origin["update"], run.source) for run in mine if run.source.arm == PRETRAINED)[1]  # type: ignore[index,union-attr]
        kept = [run for run in mine if run.source == newest]
        others = [run for run in runs if run.source is None or run.source.arm == SINGLE]
        found = [study for study in studies([*kept, *others]) if newest in study.by_source]
        lows = []
        for against in (SCRATCH, SINGLE):
            pooled: list[float] = []
            for study in found:
                scale, other = scale_of(study.scratch, series or decisive(runs)), None
                if against == SINGLE and (other := nearest(study, series or decisive(runs))) is None:
                    pooled = []
                    break
                pooled += [
                    advantage(one, theirs, series or decisive(runs)) / (scale.end - scale.start)
                    for one, theirs in study.pairs(newest, other)
                ]
            lows.append(estimate(pooled)["low"])
        result[name] = None if any(low is None for low in lows) else all(low > 0 for low in lows)
    return result


def meta_onsets(runs: Sequence[Adaptation], series: str | None = None) -> list[dict[str, Any]]:
    """`meta_onset` events: the first checkpoint of a source from which on, at every later one too, adaptation to the
    held-out games beats from scratch and the nearest single game, both lower bounds above 0.

    A source's checkpoints are those of the same runs; runs of different numbers of games, with one checkpoint each,
    are one row in order of that number. Student's t over seeds, Bonferroni-corrected for the checkpoints of the row.
    """
    pretrained = [run for run in runs if run.source is not None and run.source.arm == PRETRAINED]
    if not pretrained:
        return []
    found, series = studies(runs), series or decisive(runs)
    rows: dict[tuple[str, ...], list[tuple[dict[str, Any], Source]]] = {}
    for source in _ordered({run.source for run in pretrained if run.source is not None}):
        mine = {run.seed: run for run in pretrained if run.source == source}
        described = _described(source, mine)
        rows.setdefault(tuple(described["runs"]), []).append((described, source))
    alone = [entry for row in rows.values() if len(row) == 1 for entry in row]
    grown = {len(entry[0]["games"]) for entry in alone}
    lines = [row for row in rows.values() if len(row) > 1]
    lines += [alone] if len(grown) == len(alone) and len(alone) > 1 else [[entry] for entry in alone]
    events = []
    for line in lines:
        line.sort(key=lambda entry: (len(entry[0]["games"]), entry[0]["update"]))
        event = _onset(line, found, series, pretrained)
        if event is not None:
            events.append(event)
    return events


def _onset(line: Sequence[tuple[dict[str, Any], Source]], found: Sequence[Study], series: str,
           pretrained: Sequence[Adaptation]) -> dict[str, Any] | None:  # fmt: skip
    level = 1 - (1 - LEVEL) / len(line)
    judged = [faster(found, source, series, level) for _, source in line]
    first = len(line)
    while first and is_faster(judged[first - 1]):
        first -= 1
    if first == len(line):
        return None
    (described, source), estimates = line[first], judged[first]
    mine = [run for run in pretrained if run.source == source]
    weakest = min((SCRATCH, SINGLE), key=lambda against: estimates[against]["low"])
    names = {SCRATCH: "scratch", SINGLE: "nearest"}
    games, near = [study.game for study in found], [nearest(study, series) for study in found]
    weak = estimates[weakest]
    run, seed = ",".join(described["runs"]), min(int(o.origin["seed"]) for o in mine if o.origin is not None)
    key = "|".join((run, "meta_onset", series, *games))
    singles = ", ".join(sorted({"+".join(source.games) for source in near if source is not None}))
    return {
        "schema": EVENT, "id": hashlib.sha256(key.encode()).hexdigest()[:12], "run": run, "seed": seed,
        "type": "meta_onset", "status": "confirmed", "game": ",".join(games), "other_game": None, "head": series,
        "stratum": "all", "trigger": "adapt:" + ",".join(games), "step": described["update"],
        "step_ci95": [line[first - 1][0]["update"], described["update"]] if first else None,
        "effect": {
            "name": f"advantage_over_{names[weakest]}", "value": weak["value"], "ci95": [weak["low"], weak["high"]],
            "snr": None, "width_decades": None,
        },
        "test": dict.fromkeys(("stat", "p", "q_bh", "surrogates", "phi")) | {
            "null": f"no gain over from scratch; no gain over the nearest single game ({singles})",
            "family": f"{len(line)} checkpoints, Bonferroni: bounds at {100 * level:.4g} %",
        },
        "evidence": {"geometry": None, "cause": None, "behaviour": {
            "num_games": len(described["games"]), "games": described["games"], "seeds": weak["n"],
            "scratch": estimates[SCRATCH], "nearest": estimates[SINGLE],
            "checkpoints": [
                {"update": d["update"], "num_games": len(d["games"]), "scratch": j[SCRATCH], "nearest": j[SINGLE]}
                for (d, _), j in zip(line, judged)
            ],
        }},
        "confounders": [], "health": {"effective_rank_ratio": None, "dormant": None},
        "versions": {"code": mine[0].code, "validation_set": sorted({r.frozen_set for r in mine}),
                     "config": source.config},
    }  # fmt: skip
