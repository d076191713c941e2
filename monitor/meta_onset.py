"""From where on unseen games are learnt faster: `meta_onset` events, and the same question for single runs.

Faster means: over the shots, better than from scratch and than from the nearest single game, both lower 95 % bounds
above 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monitor.adaptation import (
    LEVEL,
    PRETRAINED,
    SCRATCH,
    SINGLE,
    Adaptation,
    Source,
    advantage,
    decisive,
    estimate,
    scale_of,
)
from monitor.records import EVENT
from monitor.refusals import UndefinedError
from monitor.studies import Study, described, nearest, ordered, studies


def _by_seed(study: Study, source: Source, series: str, against: str) -> dict[int, float]:
    """Seed -> advantage of `source` on one held-out game, in units of what there is to learn. UndefinedError."""
    scale, other = scale_of(study.scratch, series), None
    if against == SINGLE:
        other = nearest(study, series)
        if other is None:
            raise UndefinedError(f"{study.game}: no run of a single game was named; give --single RUN")
    pairs = study.pairs(source, other)
    return {one.seed: advantage(one, theirs, series) / scale.learnt for one, theirs in pairs}


def gains(found: Sequence[Study], source: Source, series: str, against: str) -> np.ndarray:
    """[S] advantage of `source` in units of what there is to learn, by seed, mean over the held-out games.

    against: `scratch`, or `single` for the nearest single game of each held-out game. Only seeds that have all games.
    UndefinedError where no single game was named.
    """
    by_seed = []
    for study in found:
        if source not in study.by_source:
            raise UndefinedError(f"{study.game} was not learnt from {'+'.join(source.games)} at {source.asked}")
        by_seed.append(_by_seed(study, source, series, against))
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
    series = series or (decisive(runs) if runs else "")
    mine: dict[str, list[Adaptation]] = {}
    for run in runs:
        if run.origin is not None and run.source is not None and run.source.arm == PRETRAINED:
            mine.setdefault(run.origin["run"], []).append(run)
    others = [run for run in runs if run.source is None or run.source.arm == SINGLE]
    for name, own in sorted(mine.items()):
        last = max(run.origin["update"] for run in own if run.origin is not None)
        newest = next(run.source for run in own if run.origin is not None and run.origin["update"] == last)
        assert newest is not None, "these runs have a source"
        found = studies([*(run for run in own if run.source == newest), *others])
        found = [study for study in found if newest in study.by_source]
        try:
            result[name] = is_faster({
                against: estimate([g for study in found for g in _by_seed(study, newest, series, against).values()])
                for against in (SCRATCH, SINGLE)
            })  # fmt: skip
        except UndefinedError:
            result[name] = None
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
    for source in ordered({run.source for run in pretrained if run.source is not None}):
        mine = {run.seed: run for run in pretrained if run.source == source}
        origin = described(source, mine)
        rows.setdefault(tuple(origin["runs"]), []).append((origin, source))
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
    (origin, source), estimates = line[first], judged[first]
    mine = [run for run in pretrained if run.source == source]
    weakest = min((SCRATCH, SINGLE), key=lambda against: estimates[against]["low"])
    names = {SCRATCH: "scratch", SINGLE: "nearest"}
    games, near = [study.game for study in found], [nearest(study, series) for study in found]
    weak = estimates[weakest]
    run, seed = ",".join(origin["runs"]), min(int(o.origin["seed"]) for o in mine if o.origin is not None)
    key = "|".join((run, "meta_onset", series, *games))
    singles = ", ".join(sorted({"+".join(source.games) for source in near if source is not None}))
    return {
        "schema": EVENT, "id": hashlib.sha256(key.encode()).hexdigest()[:12], "run": run, "seed": seed,
        "type": "meta_onset", "status": "confirmed", "game": ",".join(games), "other_game": None, "head": series,
        "stratum": "all", "trigger": "adapt:" + ",".join(games), "step": origin["update"],
        "step_ci95": [line[first - 1][0]["update"], origin["update"]] if first else None,
        "effect": {
            "name": f"advantage_over_{names[weakest]}", "value": weak["value"], "ci95": [weak["low"], weak["high"]],
            "snr": None, "width_decades": None,
        },
        "test": dict.fromkeys(("stat", "p", "q_bh", "surrogates", "phi")) | {
            "null": f"no gain over from scratch; no gain over the nearest single game ({singles})",
            "family": f"{len(line)} checkpoints, Bonferroni: bounds at {100 * level:.4g} %",
        },
        "evidence": {"geometry": None, "cause": None, "behaviour": {
            "num_games": len(origin["games"]), "games": origin["games"], "seeds": weak["n"],
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
