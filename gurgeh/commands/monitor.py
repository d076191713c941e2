"""gurgeh monitor: the ledger and the events of runs, found again from their logs, once or while they grow."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EPILOG = """exit codes:
  0   no event
  10  a confirmed event
  20  a health event (the rank of a representation fell, or units went dormant); comes before 10
  2   the run cannot be read

The events are computed again from the records, not read back; where they are not those of the live run
(events.jsonl), a line on stderr says so. A folder of runs gives the answer for each and the exit code of the
worst. What counts of several lines on one event (warn, alert, confirmed or rejected) is the last."""

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
    parser.add_argument("run", metavar="RUN", help="folder of a run, such as runs/NAME, or a folder of runs")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text; with --follow one a line")
    parser.add_argument(
        "--follow", action="store_true", help="print events as a live run confirms them, until it ends or Ctrl-C"
    )
    parser.add_argument(
        "--falls", action="store_true",
        help="look for sudden falls also where the run did not (monitor.falls=false); takes minutes for a long run",
    )  # fmt: skip
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often --follow looks (2)")


def run(args: argparse.Namespace) -> int:
    """Print; the exit code of the events."""
    path = Path(args.run)
    folders = _runs_in(path)
    if args.follow:
        if folders:
            raise ValueError(f"{path} is a folder of {len(folders)} runs; --follow watches one: {folders[0]}")
        if not args.every > 0:
            raise ValueError(f"--every must be above 0 seconds, found {args.every}")
        return follow(path, args.json, args.every, args.falls)
    answers = [judge(folder, args.falls) for folder in folders or [path]]
    together = judge_folder(path, folders) if folders else {"events": []}
    if args.json:
        print(json.dumps({"runs": answers, "transfer": together} if folders else answers[0], indent=1))
    else:
        print("\n\n".join("\n".join(text(answer)) for answer in answers))
        if folders:
            print("\n" + "\n".join(over_runs(answers)))
            for event in together["events"]:
                print(f"  update {event['step']:>9,}  {describe(event)}  ({event['run']})")
    return max(*(answer["exit_code"] for answer in answers), exit_code(together["events"]))


def judge(path: Path, falls: bool = False) -> dict[str, Any]:
    """What the records of one run say: run, update, exit_code, identical, events, ledger. falls: see --falls."""
    from gurgeh.rundir import RunDirectory
    from monitor.events import regenerate
    from monitor.records import in_order, validate

    directory = RunDirectory.open(path)
    measured, ledger, live = (list(directory.records(stream)) for stream in ("monitor", "ledger", "events"))
    for stream, records in (("monitor", measured), ("ledger", ledger), ("events", live)):
        for number, record in enumerate(records, 1):
            try:
                validate(record)
            except ValueError as error:
                raise ValueError(f"{directory.path / stream}.jsonl, line {number}: {error}") from error
    if not measured:
        raise ValueError(f"{directory.path} has no records of the monitor; was it trained with monitor.enabled=false?")
    ordered = in_order(measured, ledger)
    events = regenerate(ordered)
    identical = events == live
    if not identical:
        print(
            f"gurgeh: warning: the {len(events)} events found again are not the {len(live)} of the live run "
            "(events.jsonl); the logs or the program changed since",
            file=sys.stderr,
        )
    if falls and not any((entry["after"] or {}).get("config", {}).get("falls") for entry in ledger
                         if entry["kind"] == "start"):  # fmt: skip
        events = regenerate(ordered, falls=True)
    return {
        "run": directory.path.name, "update": measured[-1]["update"], "env_steps": measured[-1]["env_steps"],
        "exit_code": exit_code(events), "identical": identical, "events": events, "ledger": ledger,
    }  # fmt: skip


def judge_folder(path: Path, folders: list[Path]) -> dict[str, Any]:
    """What runs of a folder show together of transfer (docs/transfer.md): records, events, identical (to those that
    gurgeh adapt left in the folder; None where it did not)."""
    from gurgeh.transfer_data import adaptation_records, behaviour_of, series_of, stored_events

    adapting = [folder for folder in folders if (folder / "adaptation.jsonl").exists()]
    records, events = adaptation_records(adapting)
    stored, identical = stored_events(path), None
    if stored is not None:
        identical = json.loads(json.dumps(events)) == stored
        if not identical:
            print(
                f"gurgeh: warning: the {len(events)} events of adaptation found again are not the {len(stored)} of "
                f"{path / 'events.jsonl'}; the study or the program changed since",
                file=sys.stderr,
            )
    more, onsets = behaviour_of(folders, series_of(folders))
    return {"records": [*records, *more], "events": [*events, *onsets], "identical": identical}


def _runs_in(path: Path) -> list[Path]:
    """The runs in a folder that is none itself; empty where it is a run (or nothing, which opening it will say)."""
    if not path.is_dir() or (path / "monitor.jsonl").exists() or (path / "config.yaml").exists():
        return []
    return sorted(child for child in path.iterdir() if (child / "monitor.jsonl").exists())


def follow(path: Path, as_json: bool, every: float, falls: bool = False) -> int:
    """Print each event once its records are there; the exit code at the run's end, or at Ctrl-C.

    The run has ended when its records of occasion "end" are there and nothing was added since the last look.
    """
    from gurgeh.rundir import RunDirectory
    from monitor.events import EventFold

    directory = RunDirectory.open(path)
    fold, events = EventFold(falls or None), []
    source = _growing(directory.path, every)
    try:
        for record in source:
            for event in fold.take(record):
                events.append(event)
                line = json.dumps(event) if as_json else f"update {event['step']:>9,}  {describe(event)}"
                print(line, flush=True)
    except KeyboardInterrupt:
        pass
    return exit_code(events)


def _growing(path: Path, every: float) -> Iterator[dict[str, Any]]:
    """Records of a run in the order of `seq`, as they are written, until it has ended."""
    waiting: dict[int, dict[str, Any]] = {}
    places = {path / "monitor.jsonl": 0, path / "ledger.jsonl": 0}
    following, ended = 0, False
    while True:
        grew = False
        for file, place in places.items():
            for line, end in _lines_from(file, place):
                places[file], grew = end, True
                record = json.loads(line)
                if record.get("kind") != "resume":  # not counted: it has its successor's number
                    waiting[record["seq"]] = record
        while following in waiting:
            record = waiting.pop(following)
            following += 1
            ended = record.get("occasion") == "end"
            yield record
        if not grew:
            if ended:
                return
            time.sleep(every)


def _lines_from(file: Path, place: int) -> Iterator[tuple[str, int]]:
    """(line, offset after it) of the whole lines from byte `place` on. ValueError where the file was cut back."""
    if not file.exists():
        return
    if file.stat().st_size < place:
        raise ValueError(f"{file} was cut back, for the run was resumed from a checkpoint; start --follow again")
    with file.open("rb") as stream:
        stream.seek(place)
        for line in stream:
            if not line.endswith(b"\n"):
                return  # half a line: being written
            place += len(line)
            yield line.decode(), place


def exit_code(events: list[dict[str, Any]]) -> int:
    """20 with a health event, else 10 with a confirmed event that stands, else 0."""
    from monitor.events import standing

    if any(event["type"] == "health" for event in events):
        return HEALTH
    return CONFIRMED if any(event["status"] == "confirmed" for event in standing(events)) else NOTHING


def text(answer: dict[str, Any]) -> list[str]:
    """What a person reads: the ledger, then what stands of the events, one a line."""
    from monitor.events import standing

    lines = [
        f"{answer['run']}: measured up to update {answer['update']:,} ({answer['env_steps']:,} environment steps)",
        "",
        "ledger",
    ]
    for entry in answer["ledger"]:
        change = entry["kind"]
        if entry["game"]:
            change += f" {entry['game']}"
        elif entry["kind"] not in ("start", "monitor_config") and entry["after"] is not None:
            change += f" {entry['before']} -> {entry['after']}"
        lines.append(f"  update {entry['update']:>9,}  {change}" + (f"  ({entry['note']})" if entry["note"] else ""))
    stand = standing(answer["events"])
    events = [event for event in stand if event["status"] != "rejected"]
    lines += ["", "events" if events else "no events"]
    lines += [f"  update {event['step']:>9,}  {describe(event)}" for event in events]
    rejected = len(stand) - len(events)
    return lines + ([f"  {rejected} alarms came to nothing (--json lists them)"] if rejected else [])


def over_runs(answers: list[dict[str, Any]]) -> list[str]:
    """How many runs have each kind of event, by game."""
    from monitor.events import standing

    found: dict[tuple[str, str], set[str]] = {}
    for answer in answers:
        for event in standing(answer["events"]):
            if event["status"] == "confirmed":
                found.setdefault((event["type"], event["game"]), set()).add(answer["run"])
    head = [f"{len(answers)} runs; confirmed in"]
    return head + [
        f"  {len(runs):>3} of {len(answers)}  {kind}: {game}  ({', '.join(sorted(runs))})"
        for (kind, game), runs in sorted(found.items())
    ] if found else [f"{len(answers)} runs; no confirmed events"]  # fmt: skip


def describe(event: dict[str, Any]) -> str:
    """An event in one line."""
    effect = event["effect"]
    size = f"{effect['name']} {effect['value']:.3g}" if effect["value"] is not None else "too few points to judge"
    if effect["ci95"]:
        size += f" [{effect['ci95'][0]:.3g}, {effect['ci95'][1]:.3g}]"
    if event["test"]["p"] is not None:
        size += f", p = {event['test']['p']:.2g}, q = {event['test']['q_bh']:.2g}"
    if event["test"].get("unmet"):
        size += f"; unmet: {', '.join(event['test']['unmet'])}"
    head = f" {event['head']}" if event["head"] else ""
    if event["stratum"] != "all":
        head += f" ({event['stratum']})"
    near = ", ".join(f"{entry['kind']} at update {entry['update']:,}" for entry in event["confounders"])
    return f"{event['status']} {event['type']}: {event['game']}{head}, {size}, after {event['trigger']}" + (
        f"; near {near}" if near else ""
    )
