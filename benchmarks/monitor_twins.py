"""A real control of the monitor's sharing: a game trained with its isomorphic twin and with its scrambled twin.

    python benchmarks/monitor_twins.py --game tictactoe --updates 4000 --seeds 0 1 2
    python benchmarks/monitor_twins.py --report runs/monitor-twins/*

Each run trains one network on GAME, `twin:1:GAME` and `scrambled:1:GAME` together from the beginning, and records what
`gurgeh train` records. What should come out: sharing with the twin, none with the scrambled one. What did come out is
printed as it is: for each pair and measure the value, the worst null, the excess with its band and the index at the
last checkpoint, how often the excess was above 0, and every onset. Nothing here chooses what to show.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # instead of this folder, whose search.py would hide the package `search`


def main() -> int:
    """Train what is missing, then print the table; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="tictactoe", help="a native game (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=4000, help="of each run (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run each (default: 0)")
    parser.add_argument("--runs", type=Path, default=Path("runs/monitor-twins"), help="folder (default: %(default)s)")
    parser.add_argument("--report", type=Path, nargs="+", help="only print the table of these runs")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of the runs")
    args = parser.parse_intermixed_args()
    folders = args.report or [train(args, seed) for seed in args.seeds]
    rows = [row for folder in folders for row in table(folder)]
    print("\n".join(lines(rows)))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def train(args: argparse.Namespace, seed: int) -> Path:
    """The folder of a finished run; one that is there already is gone on with."""
    from gurgeh import cli

    name = f"{args.game.replace(':', '-')}-{seed}"
    folder = args.runs / name
    if (folder / "config.yaml").exists():
        code = cli.main(["train", "--resume", str(folder), "--no-evaluation"])
    else:
        games = f"{args.game},twin:1:{args.game},scrambled:1:{args.game}"
        code = cli.main([
            "train", "--games", games, "--name", name, "--runs", str(args.runs), "--no-evaluation", f"seed={seed}",
            f"schedule.updates={args.updates}", *args.settings,
        ])  # fmt: skip
    if code:
        sys.exit(f"training {folder} ended with code {code}")
    return folder


def table(folder: Path) -> list[dict[str, Any]]:
    """One row a pair and measure of a run, in the order of the records."""
    from gurgeh.rundir import RunDirectory
    from monitor.records import SHARING

    run = RunDirectory.open(folder)
    onsets = {
        (event["game"], event["other_game"]): f"{event['status']} at {event['step']}"
        for event in run.records("events")
        if event["type"] == "sharing_onset"
    }
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for record in run.records("monitor"):
        if record["schema"] == SHARING and record["occasion"] == "checkpoint":
            found.setdefault((record["game"], record["other_game"], record["measure"]), []).append(record)
    rows = []
    for (game, other, measure), records in found.items():
        last = records[-1]
        held = [r["excess"] is not None and r["excess"]["low"] > 0 for r in records]
        rows.append({
            "run": run.path.name, "game": game, "other_game": other, "relation": last["relation"], "measure": measure,
            "pillar": last["pillar"], "update": last["update"], "value": last["value"], "excess": last["excess"],
            "ceiling": last["ceiling"], "index": last["index"], "refused": last["refused"], "nulls": last["nulls"],
            "checkpoints": len(records), "above": sum(held), "onset": onsets.get((game, other)),
        })  # fmt: skip
    return rows


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table in words."""
    shown = [f"{'pair':52} {'relation':10} {'measure':9} {'value':>7} {'worst null':>24} {'excess and 95 % band':>24} "
             f"{'index':>6} {'above 0':>8}  onset"]  # fmt: skip
    for row in rows:
        pair = f"{row['run']}: {row['game']} - {row['other_game']}"
        if row["excess"] is None:
            shown.append(f"{pair:52} {row['relation']:10} {row['measure']:9} refused: {row['refused'][:90]}")
            continue
        over, null = row["excess"], row["excess"]["null"]
        index = "-" if row["index"] is None else f"{row['index']['value']:.2f}"
        shown.append(
            f"{pair:52} {row['relation']:10} {row['measure']:9} {row['value']:7.3f} "
            f"{null[:16] + ' ' + format(row['nulls'][null]['mean'], '.3f'):>24} "
            f"{over['value']:8.3f} [{over['low']:.3f}, {over['high']:.3f}] {index:>6} "
            f"{row['above']:>3}/{row['checkpoints']:<3}  {row['onset'] or 'none'}"
        )
    return shown


if __name__ == "__main__":
    sys.exit(main())
