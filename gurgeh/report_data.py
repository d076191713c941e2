"""What a report is made from: the records of one run, read once. A line that is damaged is left out and said."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gurgeh.figures import Marked
from gurgeh.rundir import RunDirectory
from monitor.config import MonitorConfig
from monitor.events import regenerate, standing
from monitor.records import HEALTH, LOSS, SHARING, in_order, validate

CALLED = ("confirmed", "confounded", "suspended")


@dataclasses.dataclass(frozen=True)
class RunData:
    """What the report needs of one run."""

    path: Path
    config: dict[str, Any]
    versions: dict[str, Any]
    losses: list[dict[str, Any]]  # monitor.loss/1
    health: list[dict[str, Any]]  # monitor.health/1
    sharing: list[dict[str, Any]]  # monitor.sharing/1
    ledger: list[dict[str, Any]]
    events: list[dict[str, Any]]
    evaluations: list[tuple[Path, dict[str, Any]]]  # file and content, oldest step first
    short: dict[str, Any] | None  # the last short evaluation during training
    metrics: dict[str, Any] | None  # the last line
    adaptation: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # monitor.adaptation/1
    problems: tuple[str, ...] = ()  # what could not be read, in words
    prefix: str = ""  # of the ids on a page of several runs

    @property
    def games(self) -> list[str]:
        """Games in order of introduction."""
        return list(self.added)

    @property
    def added(self) -> dict[str, int]:
        """Game -> update of its introduction, in order."""
        return {entry["game"]: entry["update"] for entry in self.ledger if entry["kind"] == "game_added"}

    @property
    def last(self) -> dict[str, Any]:
        """The newest record that has an update and env_steps."""
        records = [*self.losses[-1:], *([self.metrics] if self.metrics else [])]
        return max(records, key=lambda record: record["update"], default={"update": 0, "env_steps": 0})

    @property
    def called(self) -> list[Marked]:
        """The events that stand and were called (confirmed, confounded or suspended), numbered by step."""
        found = [event for event in standing(self.events) if event["status"] in CALLED]
        return [Marked(i, f"{self.prefix}event-{i}", event) for i, event in enumerate(found, 1)]

    @property
    def monitor_config(self) -> MonitorConfig:
        """Thresholds and cadence as the run recorded them; the defaults where that cannot be read."""
        recorded = [e["after"] for e in self.ledger if e["kind"] in ("start", "monitor_config")]
        known = {field.name for field in dataclasses.fields(MonitorConfig)}
        try:
            values = recorded[-1]["config"] if recorded else {}
            return MonitorConfig(**{name: value for name, value in values.items() if name in known})
        except (TypeError, ValueError, KeyError, AttributeError):
            return MonitorConfig()

    @property
    def in_order(self) -> list[dict[str, Any]]:
        """All records of the monitor and the ledger in the order of writing."""
        return in_order(self.losses, self.health, self.sharing, self.ledger)


def read_run(path: Path, falls: bool = False, prefix: str = "") -> RunData:
    """The records of the run at `path`; FileNotFoundError where there is none.

    What is damaged is left out and listed in `problems`. falls: look for sudden falls now, where the run did not.
    """
    run = RunDirectory.open(path)
    problems: list[str] = []
    streams = {name: _lines(path / f"{name}.jsonl", validate, problems) for name in ("monitor", "ledger", "events")}
    added = {e["game"] for e in streams["ledger"] if e["kind"] == "game_added"}
    strangers = [r for r in streams["monitor"] if not _introduced(r, added)]
    if strangers:
        names = ", ".join(sorted({r["game"] for r in strangers}))
        problems.append(
            f"monitor.jsonl: {len(strangers)} records are of games that the ledger does not introduce ({names}); they "
            "are left out"
        )
    measured = [r for r in streams["monitor"] if _introduced(r, added)]
    events = [e for e in streams["events"] if _whole(e) and e["game"] in added]
    if len(events) < len(streams["events"]):
        problems.append(f"events.jsonl: {len(streams['events']) - len(events)} events are of unknown games or lack "
                        "their size; they are left out")  # fmt: skip
    found = RunData(
        path=path,
        config=_tried(lambda: run.config, {}, "config.yaml", problems),
        versions=_tried(lambda: _object(path / "versions.json"), {}, "versions.json", problems),
        losses=[record for record in measured if record["schema"] == LOSS],
        health=[record for record in measured if record["schema"] == HEALTH],
        sharing=[record for record in measured if record["schema"] == SHARING],
        ledger=streams["ledger"],
        events=events,
        evaluations=_evaluations(path, problems),
        short=_last(path / "evaluation.jsonl", ("update", "games"), problems),
        adaptation=_lines(path / "adaptation.jsonl", validate, problems),
        metrics=_last(path / "metrics.jsonl", ("update", "env_steps"), problems),
        prefix=prefix,
    )
    if falls and not found.monitor_config.falls:
        sought = _tried(lambda: regenerate(found.in_order, falls=True), None, "sudden falls", problems)
        found = found if sought is None else dataclasses.replace(found, events=sought)
    return dataclasses.replace(found, problems=tuple(problems))


def _whole(event: dict[str, Any]) -> bool:
    """Whether an event has what the table of events shows."""
    effect = event["effect"]
    return {"name", "value"} <= effect.keys() and isinstance(effect["value"], int | float | None)


def _introduced(record: dict[str, Any], added: set[str | None]) -> bool:
    """Whether the ledger knows the game, or both of a pair."""
    return record["game"] in added and record.get("other_game", record["game"]) in added


def _lines(file: Path, check: Callable[[dict[str, Any]], None], problems: list[str]) -> list[dict[str, Any]]:
    """The good records of a stream in order; the others are counted, and the first of them is quoted."""
    good: list[dict[str, Any]] = []
    bad: list[str] = []
    if not file.exists():
        return good
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                break  # still being written
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not an object")
                check(record)
            except ValueError as error:
                bad.append(f"line {number}: {error}")
                continue
            good.append(record)
    if bad:
        several = f"{len(bad)} lines cannot be read and are" if len(bad) > 1 else "1 line cannot be read and is"
        problems.append(f"{file.name}: {several} left out ({bad[0]})")
    return good


def _last(file: Path, fields: tuple[str, ...], problems: list[str]) -> dict[str, Any] | None:
    """The last good record of a stream that has these fields."""

    def check(record: dict[str, Any]) -> None:
        missing = [name for name in fields if name not in record]
        if missing:
            raise ValueError(f"has no {', '.join(missing)}")

    return next(iter(_lines(file, check, problems)[-1:]), None)


def _evaluations(path: Path, problems: list[str]) -> list[tuple[Path, dict[str, Any]]]:
    """The evaluations that can be read, oldest step first."""
    found = []
    for file in sorted((path / "evaluations").glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            problems.append(f"evaluations/{file.name}: not an evaluation ({error}); remove it, or evaluate again")
            continue
        if isinstance(content, dict) and content.get("schema") == "evaluation/1":
            missing = {"game", "players", "summary", "records", "step"} - content.keys()
            if missing:
                problems.append(f"evaluations/{file.name}: has no {', '.join(sorted(missing))}; evaluate again")
            else:
                found.append((file, content))
    return sorted(found, key=lambda pair: pair[1]["step"] or 0)


def _object(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if not isinstance(content, dict):
        raise ValueError("not an object")
    return content


def _tried(read: Callable[[], Any], otherwise: Any, name: str, problems: list[str]) -> Any:
    try:
        return read()
    except (ValueError, OSError, KeyError, TypeError) as error:
        problems.append(f"{name}: {error}")
        return otherwise
