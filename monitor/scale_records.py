"""Records over scale, from what runs of many sizes and numbers of games measured. Pure functions of their arguments.

Sizes are numbers of trained parameters, data are updates, compute is FLOPs of training. Every part that the runs cannot
carry is refused in its record with the reason, and the others are there all the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monitor import scaling
from monitor.aggregates import Interval
from monitor.records import ARCHITECTURES, PROBABILITY, SCALING
from monitor.refusals import UndefinedError
from monitor.series import plain

OUTCOMES = ("breakthrough", "sharing", "faster")


@dataclasses.dataclass(frozen=True)
class ScaledRun:
    """What one run says of scale."""

    run: str
    configuration: str  # the same for runs that differ in their seed alone
    seed: int
    architecture: str
    games: tuple[str, ...]
    parameters: int
    flops: float  # of training, one update
    updates: tuple[int, ...]  # at which the losses were measured
    losses: tuple[float, ...]  # mean over the games, nats
    outcomes: Mapping[str, bool | None]  # None: not known


def _number(interval: Interval) -> dict[str, Any]:
    return {name: plain(getattr(interval, name)) for name in ("value", "low", "high")} | {"refused": None}


def _refused(error: Exception) -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, "refused": str(error)}


def _attempt(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return measure() | {"refused": None}
    except UndefinedError as error:
        return {"refused": str(error)}


def scaling_record(runs: Sequence[ScaledRun], series: str) -> dict[str, Any]:
    """L(N, D) of runs of one architecture on the same games: a `monitor.scaling/1` record."""
    rows = [(run, update, loss) for run in runs for update, loss in zip(run.updates, run.losses) if update > 0]
    size = np.array([run.parameters for run, _, _ in rows], np.float64)
    data = np.array([update for _, update, _ in rows], np.float64)
    loss = np.array([value for _, _, value in rows], np.float64)
    groups = np.array([run.configuration for run, _, _ in rows])
    largest = size == size.max(initial=0)

    def fit() -> dict[str, Any]:
        found = scaling.fit_law(size, data, loss, groups, np.random.default_rng(0))
        return {name: _number(found.interval(name)) for name in ("E", "A", "a", "B", "b")} | {
            "aicc": plain(found.aicc())
        }

    def held_out() -> dict[str, Any]:
        kept = scaling.fit_law(size[~largest], data[~largest], loss[~largest], groups[~largest])
        predicted = kept.predict(size[largest], data[largest])
        error = float(np.abs(np.log(loss[largest]) - np.log(predicted)).mean())
        points = [
            {"data": int(d), "loss": plain(found), "predicted": plain(said)}
            for d, found, said in zip(data[largest], loss[largest], predicted)
        ]
        return {"size": int(size.max()), "error": plain(error), "points": points}

    def bend() -> dict[str, Any]:
        found = scaling.find_break(size, data, loss, groups)
        return {
            "accepted": found.accepted, "at": plain(found.at), "delta_aicc": plain(found.delta_aicc),
            "plain_error": plain(found.plain_error), "broken_error": plain(found.broken_error),
        }  # fmt: skip

    fitted = _attempt(fit)
    return {
        "schema": SCALING, "series": series, "games": list(runs[0].games), "architecture": runs[0].architecture,
        "size": "parameters", "data": "updates",
        "points": [
            {"run": run.run, "configuration": run.configuration, "size": run.parameters, "data": update,
             "loss": plain(value), "held_out": bool(last)}
            for (run, update, value), last in zip(rows, largest)
        ],
        "fit": fitted, "held_out": _attempt(held_out), "break": _attempt(bend), "refused": fitted["refused"],
    }  # fmt: skip


def probability_record(
    runs: Sequence[ScaledRun], outcome: str, at_size: float | None = None, unknown: str | None = None
) -> dict[str, Any]:
    """P(outcome) against the number of games and size: a `monitor.probability/1` record. Runs whose outcome is not
    known are left out. at_size: where K50 is read off; None: the geometric mean of the sizes. unknown: why the outcome
    is not known of any run, where there is a reason."""
    known = [run for run in runs if run.outcomes.get(outcome) is not None]
    games = np.array([len(run.games) for run in known], np.float64)
    size = np.array([run.parameters for run in known], np.float64)
    happened = np.array([run.outcomes[outcome] for run in known], bool)
    at = at_size or (float(np.exp(np.log(size).mean())) if known else 1.0)
    cells = sorted({(int(k), int(n)) for k, n in zip(games, size)})
    points = [
        {"games": k, "size": n, "runs": int(here.sum()), "happened": int(happened[here].sum())}
        for k, n in cells
        for here in [(games == k) & (size == n)]
    ]
    empty = {"value": None, "low": None, "high": None}
    record = {
        "schema": PROBABILITY, "outcome": outcome, "points": points, "at_size": plain(at), "k50": empty,
        "per_doubling": None, "per_tenfold": None, "curve": [], "refused": None,
    }  # fmt: skip
    if not known:
        return record | {"refused": unknown or f"no run says whether {outcome} happened"}
    try:
        found = scaling.fifty_percent_games(games, size, happened, at)
    except UndefinedError as error:
        return record | {"refused": str(error)}
    grid = np.geomspace(games.min(), games.max(), 25)
    odds = found.per_doubling * (np.log2(grid) - math.log2(found.games))
    return record | {
        "k50": {"value": plain(found.games), "low": plain(found.low) if found.low > 0 else None,
                "high": plain(found.high)},  # None: no bound
        "per_doubling": plain(found.per_doubling), "per_tenfold": plain(found.per_tenfold),
        "curve": [
            {"games": plain(k), "p": plain(p)} for k, p in zip(grid, 1 / (1 + np.exp(-np.clip(odds, -500, 500))))
        ],
    }  # fmt: skip


def architectures_record(one: Sequence[ScaledRun], other: Sequence[ScaledRun], series: str) -> dict[str, Any]:
    """Two architectures on the same games at matched FLOPs: a `monitor.architectures/1` record."""
    names = one[0].architecture, other[0].architecture
    points = [
        (run.architecture, run.configuration, run.flops * update, loss)
        for run in (*one, *other)
        for update, loss in zip(run.updates, run.losses)
        if update > 0
    ]

    def columns(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mine = [point for point in points if point[0] == name]
        return (np.array([p[2] for p in mine]), np.array([p[3] for p in mine]), np.array([p[1] for p in mine]))

    record = {
        "schema": ARCHITECTURES, "series": series, "games": list(one[0].games), "one": names[0], "other": names[1],
        "flops": "of training: forward and backward of every update", "overlap": None,
        "exponents": {}, "difference": _refused(UndefinedError("not measured")),
        "points": [{"architecture": a, "configuration": c, "flops": plain(f), "loss": plain(v)}
                   for a, c, f, v in points],
        "frontier": {}, "refused": None,
    }  # fmt: skip
    try:
        found = scaling.matched_compute(columns(names[0]), columns(names[1]), np.random.default_rng(0))
    except UndefinedError as error:
        return record | {"difference": _refused(error), "refused": str(error)}
    sides = dict(zip(names, (found.one, found.other)))
    return record | {
        "overlap": [plain(found.one.compute[0]), plain(found.one.compute[-1])],
        "exponents": {name: _number(side.exponent) for name, side in sides.items()},
        "difference": _number(found.difference),
        "frontier": {
            name: [[plain(c), plain(v)] for c, v in zip(side.compute, side.loss) if np.isfinite(v)]
            for name, side in sides.items()
        },
    }


def scale_records(
    runs: Sequence[ScaledRun], series: str, unknown: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """All records over scale: a fit for each architecture and set of games, each pair of architectures, and the
    probabilities of the outcomes over all runs. unknown: outcome -> why no run can say whether it happened."""
    groups: dict[tuple[tuple[str, ...], str], list[ScaledRun]] = {}
    for run in runs:
        groups.setdefault((run.games, run.architecture), []).append(run)
    keys = sorted(groups)
    fits = [scaling_record(groups[key], series) for key in keys]
    pairs = [
        architectures_record(groups[one], groups[other], series)
        for place, one in enumerate(keys)
        for other in keys[place + 1 :]
        if one[0] == other[0]
    ]
    return [
        *fits,
        *pairs,
        *(probability_record(runs, outcome, unknown=(unknown or {}).get(outcome)) for outcome in OUTCOMES),
    ]
