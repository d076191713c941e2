"""The monitor on anybody's training logs: steps, tasks and losses in, events out.

python -m monitor losses.csv              # columns step, task, loss; one JSON line an event
from monitor.alone import events_from_losses
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monitor.config import MonitorConfig
from monitor.events import EventFold, standing
from monitor.falls import MIN_DECADES, MIN_POINTS
from monitor.records import LEDGER, LOSS
from monitor.watch import apart

COLUMNS = ("step", "task", "loss")


def events_from_losses(
    losses: Any,
    introduced: Mapping[str, float] | None = None,
    ledger: Sequence[tuple[float, str]] = (),
    run: str = "run",
    config: MonitorConfig | None = None,
) -> list[dict[str, Any]]:
    """Events (monitor.event/1) of losses that somebody recorded.

    losses: a path to a CSV file, a pandas frame, or rows (mappings), with the columns step, task, loss: positive
    losses on data that never change, of each task at increasing steps, at least 40 points over half a decade;
    log-spaced steps are best, and of points closer than 1/120 decade only the first counts. introduced: task -> step
    from which its time counts; default 0 for the tasks with the earliest first step and its own first step for a later
    task, whose first row then is no part of its series. ledger: (step, what) of discontinuities that could fake an
    event. run: seeds the surrogates, and is in the events.

    Raises ValueError for missing columns, NaN, steps that do not increase, losses that are not positive, and series
    that are too short, saying where and what would be needed.
    """
    tasks = _tasks(_rows(losses))
    earliest = min(points[0][0] for points in tasks.values())
    start = {task: 0.0 if points[0][0] == earliest else points[0][0] for task, points in tasks.items()}
    unknown = (introduced or {}).keys() - tasks.keys()
    if unknown:
        raise ValueError(f"introduced names tasks without losses: {sorted(unknown)}; there are {sorted(tasks)}")
    start |= introduced or {}
    config = config or MonitorConfig()
    for task, points in tasks.items():
        _check(task, points, start[task], config)
    first = min(step - start[task] for task, points in tasks.items() for step, _ in points if step > start[task])
    # Every point counts: the first checkpoint is the first point.
    config = dataclasses.replace(config, s_min=max(1, int(first)), loss_floor=0.0, falls=True)
    fold = EventFold()
    return [event for record in _records(tasks, start, ledger, run, config) for event in fold.take(record)]


def _rows(losses: Any) -> Iterable[Mapping[str, Any]]:
    """Rows of a file, a frame or an iterable."""
    if isinstance(losses, str | Path):
        with Path(losses).open(newline="") as file:
            return list(csv.DictReader(file))
    if hasattr(losses, "to_dict"):
        return losses.to_dict("records")
    return list(losses)


def _tasks(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Task -> [(step, loss)], checked."""
    tasks: dict[str, list[tuple[float, float]]] = {}
    number = 0
    for number, row in enumerate(rows, 1):
        missing = [name for name in COLUMNS if row.get(name) is None]
        if missing:
            raise ValueError(f"row {number} lacks {', '.join(missing)}; columns needed: {', '.join(COLUMNS)}")
        task = str(row["task"])
        try:
            step, loss = float(row["step"]), float(row["loss"])
        except ValueError as error:
            raise ValueError(f"row {number}, task {task!r}: step and loss must be numbers ({error})") from error
        if not (math.isfinite(step) and math.isfinite(loss)):
            raise ValueError(f"row {number}, task {task!r}: step {step}, loss {loss}; leave out what is not finite")
        if loss <= 0:
            raise ValueError(
                f"row {number}, task {task!r}: loss {loss}; losses must be above 0 (cross-entropy, squared error)"
            )
        if step < 0 or step != int(step):
            raise ValueError(
                f"row {number}, task {task!r}: step {step}; steps are counts of updates, whole and not negative"
            )
        points = tasks.setdefault(task, [])
        if points and step <= points[-1][0]:
            raise ValueError(
                f"row {number}, task {task!r}: step {step:g} after {points[-1][0]:g}; each task's steps must increase: "
                "sort the rows and merge equal steps"
            )
        points.append((step, loss))
    if not tasks:
        raise ValueError(f"no rows; columns needed: {', '.join(COLUMNS)}")
    return tasks


def _check(task: str, points: list[tuple[float, float]], start: float, config: MonitorConfig) -> None:
    """Raise ValueError for a series that cannot be judged."""
    since = [step - start for step, _ in points if step > start]
    kept: list[float] = []
    for step in since:
        if not kept or apart(kept[-1], step, config):
            kept.append(step)
    if len(kept) < MIN_POINTS:
        close = f" ({len(since) - len(kept)} more are closer than 1/120 decade)" if len(since) > len(kept) else ""
        raise ValueError(
            f"task {task!r} has {len(kept)} points after its introduction at {start:g}{close}; {MIN_POINTS} are "
            "needed: record the loss at more steps, best log-spaced (60 a decade)"
        )
    decades = math.log10(kept[-1] / kept[0])
    if decades < MIN_DECADES:
        raise ValueError(
            f"task {task!r} spans {decades:.2f} decades of steps (from {since[0]:g} to {since[-1]:g} after its "
            f"introduction); {MIN_DECADES} are needed: record from earlier on, or for longer"
        )


def _records(tasks, start, ledger, run, config) -> Iterable[dict[str, Any]]:
    """The records that a live run would have written, in order."""
    common = {"run": run, "seed": 0, "seq": 0, "env_steps": 0}
    entries = [(start[task], 0, "game_added", task, "") for task in tasks]
    entries += [(step, 1, "other", None, what) for step, what in ledger]
    rows = [(step, 2, task, loss) for task, points in tasks.items() for step, loss in points]
    begin = min(entries)[0]
    settings = {"config": dataclasses.asdict(config), "versions": {"code": None, "config": None}}
    yield {"schema": LEDGER, **common, "update": int(begin), "kind": "start", "game": None, "before": None,
           "after": settings, "confounder": False, "note": ""}  # fmt: skip
    latest = ("", 0)
    last = max(step for step, *_ in rows)
    for item in sorted([*entries, *rows], key=lambda item: item[:2]):
        if len(item) == 5:
            step, _, kind, task, note = item
            latest = (task, int(step)) if kind == "game_added" else latest
            yield {"schema": LEDGER, **common, "update": int(step), "kind": kind, "game": task, "before": None,
                   "after": None, "confounder": True, "note": note}  # fmt: skip
        else:
            step, _, task, loss = item
            yield _loss_record(common, int(step), task, loss, start, latest, "checkpoint")
    for task in tasks:
        yield _loss_record(common, int(last), task, None, start, latest, "end")


def _loss_record(common, step, task, loss, start, latest, occasion) -> dict[str, Any]:
    summary = {"mean": loss, "se": None, "n": 10**9, "strata": {}, "change": None}
    return {
        "schema": LOSS, **common, "update": step, "game": task, "occasion": occasion, "subset": "small", "positions": 0,
        "since": step - int(start[task]), "latest": latest[0], "since_latest": step - latest[1], "frozen_set": "",
        "targets": "none", "losses": {"loss": summary},
    }  # fmt: skip


def _step(text: str, item: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{item!r}: write --introduced TASK=STEP and --ledger STEP=WHAT, STEP a number") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m monitor FILE.csv`: events as JSON lines; exit code 10 with a confirmed event, 0 without, 2 for bad
    input."""
    parser = argparse.ArgumentParser(prog="python -m monitor", description="Events of anybody's training logs.")
    parser.add_argument("csv", type=Path, help="file with the columns step, task, loss")
    parser.add_argument("--introduced", action="append", default=[], metavar="TASK=STEP", help="when a task joined")
    parser.add_argument("--ledger", action="append", default=[], metavar="STEP=WHAT", help="what could fake an event")
    args = parser.parse_args(arguments)
    try:
        introduced = {task: _step(step, item) for item in args.introduced for task, _, step in [item.rpartition("=")]}
        ledger = [(_step(step, item), what) for item in args.ledger for step, _, what in [item.partition("=")]]
        events = events_from_losses(args.csv, introduced, ledger, run=args.csv.stem)
    except (ValueError, OSError) as error:
        print(f"monitor: {error}", file=sys.stderr)
        return 2
    for event in events:
        print(json.dumps(event))
    return 10 if any(event["status"] == "confirmed" for event in standing(events)) else 0
