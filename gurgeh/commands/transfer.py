"""gurgeh transfer: what runs say of transfer, from their records: forgetting, adaptation, learning to learn."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

EPILOG = """PATH is a run, a folder of runs, or a study that `gurgeh adapt` made. Shown is what its records allow:
  a run of several games   GEM's backward and forward transfer, forgetting; Continual World's measures
  a study                  jump-start, savings and area ratio of every start on every held-out game, the matrix of
                           savings, aggregates as in rliable, meta_onset
  a folder of runs         the learning-curve effect over games; how games that joined later learn against runs of
                           them alone (the behaviour pillar of sharing)

docs/transfer.md defines every measure. What is not defined says why. Exit code 10 with a confirmed event, else 0."""


def add_parser(subparsers: Any) -> None:
    """`transfer`."""
    parser = subparsers.add_parser(
        "transfer", help="forgetting, adaptation to held-out games and learning to learn, from records", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="What runs say of transfer, from their records.",
    )  # fmt: skip
    parser.add_argument("paths", nargs="+", metavar="PATH", help="runs, folders of runs, studies")
    parser.add_argument(
        "--alone", action="append", default=[], metavar="PATH",
        help="runs of single games, or folders of them, for Continual World's forward transfer",
    )  # fmt: skip
    parser.add_argument(
        "--series", help="which loss or score (default: policy where all games have it, else dynamics_1)"
    )
    parser.add_argument("--json", action="store_true", help="the records and events, one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print; 0, or 10 with a confirmed event."""
    from gurgeh.transfer_data import (
        adaptation_records,
        behaviour_of,
        learning_curves_of,
        runs_in,
        sequence_of,
        series_of,
    )
    from monitor.records import validate

    folders = runs_in(args.paths)
    adapting = [folder for folder in folders if (folder / "adaptation.jsonl").exists()]
    others = [folder for folder in folders if folder not in adapting]
    records, events = adaptation_records(adapting, args.series)
    if others:
        series = args.series or series_of(others)
        singles = [folder for folder in (runs_in(args.alone) if args.alone else others)]
        several = [folder for folder in others if len(_games(folder)) > 1]
        records = [sequence_of(folder, series, singles) for folder in several] + records
        if len(others) > 1:
            curves = learning_curves_of(several, series)
            alone = [f for f in (*others, *adapting, *(runs_in(args.alone) if args.alone else ())) if f not in several]
            behaviour, onsets = behaviour_of([*several, *dict.fromkeys(alone)], series)
            records += [*curves, *behaviour]
            events = [*events, *onsets]
    for record in (*records, *events):
        validate(record)
    if not records:
        raise ValueError(
            "nothing here says anything of transfer: give runs of several games, or a study with a finished run from "
            "scratch and one from other weights (gurgeh adapt)"
        )
    if args.json:
        print(json.dumps({"records": records, "events": events}, indent=1))
    else:
        print("\n".join(text(records, events)))
    return 10 if any(event["status"] == "confirmed" for event in events) else 0


def _games(folder: Path) -> list[str]:
    from gurgeh.rundir import RunDirectory

    return RunDirectory.open(folder).config["games"]


def print_study(folder: Path, records: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    """What `gurgeh adapt` says at the end."""
    print("\n".join([f"{folder}: {len(records)} records in transfer.jsonl", "", *text(records, events)]))


def text(records: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[str]:
    """What a person reads."""
    from gurgeh.commands.monitor import describe

    lines: list[str] = []
    sharing = [record for record in records if record["schema"] == "monitor.sharing/1"]
    for record in records:
        if record in sharing:
            continue
        lines += [*_TEXT[record["schema"]](record), ""]
    if sharing:
        lines += [*_behaviour(sharing), ""]
    lines.append("events" if events else "no events")
    return lines + [f"  update {event['step']:>9,}  {describe(event)}" for event in events]


def _of(source: dict[str, Any]) -> str:
    return f"{source['arm']} {'+'.join(source['games'])} at update {source['update']:,}"


def _transfer(record: dict[str, Any]) -> list[str]:
    from gurgeh.commands.scale import interval

    seeds = len(record["seeds"])
    lines = [
        f"{record['game']} from {_of(record['source'])}: {record['series']}, {seeds} seeds, budget {record['budget']:,}"
    ]
    for name, label in (("against_scratch", "scratch"), ("against_nearest", "nearest")):
        compared = record[name]
        if compared is None:
            continue
        against = label if label == "scratch" else f"nearest single game ({'+'.join(record['nearest']['games'])})"
        lines.append(f"  against {against}")
        for measure in ("jump_start", "advantage", "savings", "area_ratio"):
            found = compared[measure]
            bound = f"; {found['bounds']} of {found['n']} are upper bounds" if found["bounds"] else ""
            lines.append(f"    {measure.replace('_', ' '):<11} {interval(found)}{bound}")
    shots = [point for point in record["curve"] if point["shot"]]
    scratch = {point["update"]: point["value"] for point in record["scratch_curve"]}
    cells = [
        f"{100 * p['share']:.2g} %: {p['value']:.3g} (scratch {scratch[p['update']]:.3g})"
        for p in shots
        if p["update"] in scratch
    ]
    return [*lines, f"  {record['series']} at {'; '.join(cells)}"]


def _matrix(record: dict[str, Any]) -> list[str]:
    lines = [
        f"savings from a single game (row) on a held-out game (column), {record['seeds']} seeds, intervals corrected "
        f"for {record['cells']} cells"
    ]
    if record["refused"]:
        lines.append(f"  no intervals: {record['refused']}")
    for row, name in enumerate(record["from"]):
        cells = []
        for column, game in enumerate(record["to"]):
            mean, low, high = (record[part][row][column] for part in ("mean", "low", "high"))
            if mean is not None:
                cells.append(f"{game} {mean:.2f}" + (f" [{low:.2f}, {high:.2f}]" if low is not None else ""))
        lines.append(f"  {name}: {'; '.join(cells) or 'not measured'}")
    return lines


def _aggregate(record: dict[str, Any]) -> list[str]:
    from gurgeh.commands.scale import interval

    return [
        f"{_of(record['source'])} over {len(record['games'])} held-out games and {record['seeds']} seeds",
        f"  IQM of the advantage, as a share of what there is to learn: {interval(record['iqm'])}",
        f"  P(better than scratch) {interval(record['better_than_scratch'])}; "
        f"P(better than the nearest single game) {interval(record['better_than_nearest'])}",
    ]  # fmt: skip


def _sequence(record: dict[str, Any]) -> list[str]:
    def said(found: dict[str, Any]) -> str:
        return f"refused: {found['refused']}" if found["value"] is None else f"{found['value']:+.3g}"

    world = record["continual_world"]
    lines = [
        f"{record['run']}: {', '.join(record['games'])}; {record['series']}, minus the loss in nats (above 0: better)",
        f"  GEM: backward transfer {said(record['backward_transfer'])}; forward transfer "
        f"{said(record['forward_transfer'])}; forgetting {said(record['forgetting'])}",
        f"  Continual World, short evaluations: average performance {said(world['average_performance'])}",
    ]
    for name in ("forgetting", "forward_transfer"):
        each = "; ".join(f"{game} {said(found)}" for game, found in world[name].items())
        lines.append(f"    {name.replace('_', ' ')}: {each}")
    return lines


def _curve(record: dict[str, Any]) -> list[str]:
    from gurgeh.commands.scale import interval

    names = ", ".join(dict.fromkeys(point["run"] for point in record["points"]))
    head = f"learning curve over games: {record['series']}, {record['runs']} runs{f' ({names})' if names else ''}"
    if record["beta"]["refused"]:
        return [f"{head}: refused: {record['beta']['refused']}"]
    return [
        head,
        f"  log2 cost of the k-th game = difficulty + beta log2 k: beta {interval(record['beta'])}; progress ratio "
        f"{interval(record['progress_ratio'])}",
    ]


def _behaviour(records: list[dict[str, Any]]) -> list[str]:
    lines = ["games that joined later, against runs of them alone (nats less at the same number of updates)"]
    last = {(r["run"], r["game"], r["other_game"]): r for r in records}
    for (name, game, other), record in last.items():
        band = (
            f" [{record['ci95'][0]:.3g}, {record['ci95'][1]:.3g}] over seeds"
            if record["ci95"]
            else f" ({record['refused']})"
        )
        lines.append(f"  {name}: {other} after {game}, {record['since']:,} updates on: {record['value']:.3g}{band}")
    return lines


_TEXT = {
    "monitor.transfer/1": _transfer, "monitor.transfer_matrix/1": _matrix, "monitor.aggregate/1": _aggregate,
    "monitor.sequence/1": _sequence, "monitor.learning_curve/1": _curve,
}  # fmt: skip
