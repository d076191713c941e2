"""What a report is made from: the records of one run, read once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from gurgeh.rundir import RunDirectory
from monitor.records import HEALTH, LOSS


@dataclasses.dataclass(frozen=True)
class RunData:
    """What the report needs of one run."""

    path: Path
    config: dict[str, Any]
    versions: dict[str, Any]
    losses: list[dict[str, Any]]  # monitor.loss/1
    health: list[dict[str, Any]]  # monitor.health/1
    ledger: list[dict[str, Any]]
    events: list[dict[str, Any]]
    evaluations: list[tuple[Path, dict[str, Any]]]  # file and content, oldest step first
    short: dict[str, Any] | None  # the last short evaluation during training
    metrics: dict[str, Any] | None  # the last line

    @property
    def games(self) -> list[str]:
        """Games in order of introduction."""
        return [entry["game"] for entry in self.ledger if entry["kind"] == "game_added"]

    @property
    def last(self) -> dict[str, Any]:
        """The newest record that has an update and env_steps."""
        records = [*self.losses[-1:], *([self.metrics] if self.metrics else [])]
        return max(records, key=lambda record: record["update"], default={"update": 0, "env_steps": 0})


def read_run(path: Path) -> RunData:
    """The records of the run at `path`. FileNotFoundError where there is none, ValueError where one is damaged."""
    run = RunDirectory.open(path)
    measured = list(run.records("monitor"))
    evaluations = []
    for file in sorted((path / "evaluations").glob("*.json")):
        try:
            content = json.loads(file.read_text())
        except ValueError as error:
            raise ValueError(f"{file}: not an evaluation ({error}); remove it, or evaluate again") from error
        if isinstance(content, dict) and content.get("schema") == "evaluation/1":
            evaluations.append((file, content))
    versions = path / "versions.json"
    return RunData(
        path=path,
        config=run.config,
        versions=json.loads(versions.read_text()) if versions.exists() else {},
        losses=[record for record in measured if record["schema"] == LOSS],
        health=[record for record in measured if record["schema"] == HEALTH],
        ledger=list(run.records("ledger")),
        events=list(run.records("events")),
        evaluations=sorted(evaluations, key=lambda pair: pair[1]["step"] or 0),
        short=next(iter(list(run.records("evaluation"))[-1:]), None),
        metrics=next(iter(list(run.records("metrics"))[-1:]), None),
    )
