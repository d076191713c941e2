"""A real control of the sudden falls: a duplicate of a game that a run already plays joins it as a placebo.

    python benchmarks/monitor_placebo.py --game tictactoe --at 1500 --updates 4000 --seeds 0 1 2
    python benchmarks/monitor_placebo.py --report runs/monitor-placebo/*

Each run trains GAME, and `placebo:GAME`, the same game under another name, joins at `--at`. There is nothing to learn
but a game embedding, so what should come out is no breakthrough of the placebo and no drop. What did come out is
printed as it is: every event that stands about the placebo and about the original since the placebo came, how the
placebo's losses went, and what was said of sharing between the two. `--newcomer NAME` lets another game join in its
place, to see what a game with something to learn looks like. Nothing here chooses what to show.
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

FALLS = ("breakthrough", "drop")
STOOD = ("confirmed", "confounded")  # statuses of an event that was found, whatever else happened near it


def main() -> int:
    """Train what is missing, then print what was found; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="tictactoe", help="a native game (default: %(default)s)")
    parser.add_argument("--newcomer", help="the game that joins (default: placebo:GAME)")
    parser.add_argument("--at", type=int, default=1500, help="update at which it joins (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=4000, help="of each run (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run each (default: 0)")
    parser.add_argument("--runs", type=Path, default=Path("runs/monitor-placebo"), help="folder (default: %(default)s)")
    parser.add_argument("--report", type=Path, nargs="+", help="only print what these runs found")
    parser.add_argument("--json", type=Path, help="write it there as well")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of the runs")
    args = parser.parse_intermixed_args()
    found = [judge(folder) for folder in args.report or [train(args, seed) for seed in args.seeds]]
    print("\n".join(line for one in found for line in lines(one)))
    print(summary(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def train(args: argparse.Namespace, seed: int) -> Path:
    """The folder of a finished run; one that is there already is gone on with."""
    from gurgeh import cli

    newcomer = args.newcomer or f"placebo:{args.game}"
    folder = args.runs / f"{newcomer.replace(':', '-').replace('/', '-')}-{seed}"
    if (folder / "config.yaml").exists():
        code = cli.main(["train", "--resume", str(folder), "--no-evaluation"])
    else:
        code = cli.main([
            "train", "--games", f"{args.game},{newcomer}", "--name", folder.name, "--runs", str(args.runs),
            "--no-evaluation", f"seed={seed}", f"schedule.updates={args.updates}", f"schedule.at=[{args.at}]",
            *args.settings,
        ])  # fmt: skip
    if code:
        sys.exit(f"training {folder} ended with code {code}")
    return folder


def judge(folder: Path) -> dict[str, Any]:
    """What a run's records say of the game that joined last; sudden falls are sought in them now, as `gurgeh monitor
    RUN --falls` does."""
    from gurgeh.rundir import RunDirectory
    from monitor.events import regenerate, standing
    from monitor.records import LEDGER, LOSS, SHARING, in_order

    run = RunDirectory.open(folder)
    records = in_order(list(run.records("monitor")), list(run.records("ledger")))
    added = [r for r in records if r["schema"] == LEDGER and r["kind"] == "game_added"]
    game, start = added[-1]["game"], added[-1]["update"]
    events = [e for e in standing(regenerate(records, falls=True)) if e["step"] >= start]
    dense = [r for r in records if r["schema"] == LOSS and r["subset"] == "small" and r["game"] == game]
    losses = {
        head: [[r["update"] - start, r["losses"][head]["mean"]] for r in dense]
        for head in (dense[-1]["losses"] if dense else {})
    }
    sharing: dict[str, dict[str, Any]] = {}
    for record in records:
        if record["schema"] == SHARING and record["occasion"] == "checkpoint" and record["other_game"] == game:
            part = sharing.setdefault(record["measure"], {"above": 0, "checkpoints": 0})
            part["above"] += record["excess"] is not None and record["excess"]["low"] > 0
            part["checkpoints"] += 1
            part |= {name: record[name] for name in ("value", "excess", "refused")}
    return {
        "run": run.path.name, "game": game, "joined": start, "updates": records[-1]["update"], "events": events,
        "losses": losses, "sharing": sharing,
        "series": len({(head, stratum) for r in dense for head, part in r["losses"].items()
                       for stratum in ("all", *part["strata"])}),
    }  # fmt: skip


def falls(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The falls of the newcomer that stand."""
    return [e for e in found["events"] if e["type"] in FALLS and e["status"] in STOOD and e["game"] == found["game"]]


def lines(found: dict[str, Any]) -> list[str]:
    """One run in words."""
    said = [f"{found['run']}: {found['game']} joins at update {found['joined']} of {found['updates']}; "
            f"{found['series']} series of its losses"]  # fmt: skip
    for event in found["events"]:
        effect, p = event["effect"], event["test"].get("p")
        size = "" if effect["value"] is None else f" {effect['name']} {effect['value']:.3g}"
        about = event["game"] + (f" and {event['other_game']}" if event["type"] == "sharing_onset" else "")
        head = "" if event["head"] is None else f", {event['head']} ({event['stratum']})"
        chance = "" if p is None else f", p {p:.3g}"
        unmet = ", ".join(event["test"].get("unmet") or [])
        said.append(f"  {event['status']:10} {event['type']:13} {about}{head} at {event['step']}:{size}{chance}"
                    + (f"; unmet: {unmet}" if unmet else ""))  # fmt: skip
    if not found["events"]:
        said.append("  no event since then")
    for head, points in found["losses"].items():
        known = [(since, loss) for since, loss in points if loss is not None]
        if known:
            middle = min(known, key=lambda point: abs(point[0] - 500))
            said.append(f"  loss {head:13} {known[0][1]:8.4f} when it joins, {middle[1]:.4f} after {middle[0]}, "
                        f"{known[-1][1]:.4f} after {known[-1][0]} updates")  # fmt: skip
    for measure, part in found["sharing"].items():
        if part["excess"] is None:
            said.append(f"  sharing {measure:9} refused: {part['refused'][:100]}")
            continue
        over = part["excess"]
        said.append(f"  sharing {measure:9} {part['value']:.3f}, over its worst null ({over['null']}) by "
                    f"{over['value']:.3f} [{over['low']:.3f}, {over['high']:.3f}]; above 0 at {part['above']} of "
                    f"{part['checkpoints']} checkpoints")  # fmt: skip
    return said


def summary(found: list[dict[str, Any]]) -> str:
    """How many runs said what they should not."""
    fallen = [one["run"] for one in found if falls(one)]
    broken = [one["run"] for one in found if any(e["type"] == "breakthrough" for e in falls(one))]
    return (
        f"{len(broken)} of {len(found)} runs with a breakthrough of the game that joined, {len(fallen)} with a "
        f"breakthrough or a drop{': ' + ', '.join(fallen) if fallen else ''}"
    )


if __name__ == "__main__":
    sys.exit(main())
