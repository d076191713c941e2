"""gurgeh monitor: the ledger and the events of a run, found again from its logs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

EPILOG = """exit codes:
  0   no event
  10  a confirmed event
  20  a health event (the rank of a representation fell, or units went dormant); comes before 10
  2   the run cannot be read

The events are computed again from the records, not read back; where they are not those of the live run
(events.jsonl), a line on stderr says so."""

NOTHING, CONFIRMED, HEALTH = 0, 10, 20


def add_parser(subparsers: Any) -> None:
    """`monitor`."""
    parser = subparsers.add_parser(
        "monitor",
        help="show the events of a run and what could have faked them",
        description="Show the ledger and the events of a run, found again from its logs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run, such as runs/NAME")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Print; the exit code of the events."""
    from gurgeh.rundir import RunDirectory
    from monitor.events import regenerate
    from monitor.records import in_order, validate

    directory = RunDirectory.open(args.run)
    measured, ledger, live = (list(directory.records(stream)) for stream in ("monitor", "ledger", "events"))
    for stream, records in (("monitor", measured), ("ledger", ledger), ("events", live)):
        for number, record in enumerate(records, 1):
            try:
                validate(record)
            except ValueError as error:
                raise ValueError(f"{directory.path / stream}.jsonl, line {number}: {error}") from error
    if not measured:
        raise ValueError(f"{directory.path} has no records of the monitor; was it trained with monitor.enabled=false?")
    events = regenerate(in_order(measured, ledger))
    identical = events == live
    if not identical:
        print(
            f"gurgeh: warning: the {len(events)} events found again are not the {len(live)} of the live run "
            "(events.jsonl); the logs or the program changed since",
            file=sys.stderr,
        )
    code = exit_code(events)
    if args.json:
        answer = {
            "run": directory.path.name, "update": measured[-1]["update"], "exit_code": code, "identical": identical,
            "events": events, "ledger": ledger,
        }  # fmt: skip
        print(json.dumps(answer, indent=1))
    else:
        print("\n".join(text(directory.path.name, measured[-1], ledger, events)))
    return code


def exit_code(events: list[dict[str, Any]]) -> int:
    """20 with a health event, else 10 with a confirmed event, else 0."""
    if any(event["type"] == "health" for event in events):
        return HEALTH
    return CONFIRMED if any(event["status"] == "confirmed" for event in events) else NOTHING


def text(name: str, last: dict[str, Any], ledger: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[str]:
    """What a person reads: the ledger, then the events, one a line."""
    lines = [
        f"{name}: measured up to update {last['update']:,} ({last['env_steps']:,} environment steps)",
        "",
        "ledger",
    ]
    for entry in ledger:
        change = entry["kind"]
        if entry["game"]:
            change += f" {entry['game']}"
        elif entry["kind"] not in ("start", "monitor_config") and entry["after"] is not None:
            change += f" {entry['before']} -> {entry['after']}"
        lines.append(f"  update {entry['update']:>9,}  {change}" + (f"  ({entry['note']})" if entry["note"] else ""))
    lines += ["", "events" if events else "no events"]
    lines += [f"  update {event['step']:>9,}  {describe(event)}" for event in events]
    return lines


def describe(event: dict[str, Any]) -> str:
    """An event in one line."""
    effect = event["effect"]
    size = f"{effect['name']} {effect['value']:.3g}"
    if effect["ci95"]:
        size += f" [{effect['ci95'][0]:.3g}, {effect['ci95'][1]:.3g}]"
    head = f" {event['head']}" if event["head"] else ""
    near = ", ".join(f"{entry['kind']} at update {entry['update']:,}" for entry in event["confounders"])
    return f"{event['status']} {event['type']}: {event['game']}{head}, {size}, after {event['trigger']}" + (
        f"; near {near}" if near else ""
    )
