"""A study of adaptation: all arms on all held-out games together, as records. Pure functions of adaptation runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from monitor.adaptation import (
    LEVEL,
    PRETRAINED,
    SINGLE,
    WAY,
    Adaptation,
    Source,
    advantage,
    compare,
    decisive,
    estimate,
    saved,
    scale_of,
    shots,
)
from monitor.aggregates import iqm, probability_of_improvement
from monitor.records import AGGREGATE, MATRIX, TRANSFER
from monitor.refusals import UndefinedError
from monitor.series import plain
from monitor.transfer import transfer_matrix


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


def described(source: Source, runs: Mapping[int, Adaptation]) -> dict[str, Any]:
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
    threshold: dict[str, Any] = {"value": None, "refused": None}
    try:
        threshold["value"] = plain(sign * scale.threshold)
    except UndefinedError as error:
        threshold["refused"] = str(error)
    return {
        "schema": TRANSFER, "game": study.game, "series": series, "unit": "nats" if sign < 0 else "score",
        "budget": next(iter(runs.values())).budget, "source": described(source, runs),
        "nearest": None if near is None else described(near, study.by_source[near]), "seeds": sorted(runs),
        "zero_shot": next((run.zero_shot for run in runs.values() if run.zero_shot), None),
        "threshold": threshold | {
            "start": plain(sign * scale.start), "end": plain(sign * scale.end), "way": WAY,
        },
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
                with contextlib.suppress(UndefinedError):  # it never got there from scratch
                    samples[seeds.index(one.seed), row, column] = saved(one, other, series, scale).value
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
        return (float(np.mean(at)) - scale.start) / scale.learnt

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

    def mine() -> np.ndarray:
        return table(lambda study: study.by_source[source])

    def scratch() -> np.ndarray:
        return table(lambda study: study.scratch)

    return {
        "schema": AGGREGATE, "series": series, "source": described(source, runs), "games": [s.game for s in here],
        "seeds": len(seeds), "iqm": attempt(lambda: iqm(mine() - scratch(), draws())),
        "better_than_scratch": attempt(lambda: probability_of_improvement(mine(), scratch(), draws())),
        "better_than_nearest": attempt(lambda: probability_of_improvement(mine(), single(), draws())),
    }  # fmt: skip


def transfer_records(runs: Sequence[Adaptation], series: str | None = None) -> list[dict[str, Any]]:
    """Everything that adaptation runs show together: transfer, matrix and aggregate records. UndefinedError."""
    if not runs:
        return []
    found, series = studies(runs), series or decisive(runs)
    records = [transfer_record(study, source, series) for study in found for source in ordered(study.by_source)]
    matrix = matrix_record(found, series)
    sources = ordered({source for study in found for source in study.by_source})
    return [*records, *([matrix] if matrix else []), *(aggregate_record(found, s, series) for s in sources)]


def ordered(sources: Iterable[Source]) -> list[Source]:
    return sorted(sources, key=lambda s: (s.arm, len(s.games), s.games, _place(s), s.config))


def _place(source: Source) -> float:
    return float("inf") if source.asked == "last" else int(source.asked)
