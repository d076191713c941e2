"""What the monitor costs: the main job with it on and off in turn, and its share of the time inside a run.

    python benchmarks/monitor_cost.py --pairs 2 --out benchmarks/results/DATE-monitor-cost.md   # 35 minutes, alone
    python benchmarks/monitor_cost.py --updates 3000 --pairs 3                                  # shortened

Every run is a process of its own, in the order on, off, off, on, on, off ... so that a machine that slows down does so
for both. Training is bit-identical either way, so the difference is the monitor's. Inside a run with the monitor on,
its own calls are timed as well (processor time of the calling thread, and the clock), the frozen sets that are built
for it included: that share is less noisy than the difference, but misses threads of the linear algebra.

Shortened, the introductions move to the same shares of the run. The monitor's checkpoints are log-spaced from each
introduction on, so that it takes a **larger** share of a shorter run: only the whole main job says whether the aim
(5 % of training time) is met.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # instead of this folder, whose search.py would hide the package `search`

DEMO = ROOT / "configs" / "demo.yaml"
AIM = 0.05
TIMED = ("introduce", "settings", "observe", "finish")  # of Monitor: all that the loop calls


def main() -> int:
    """Run the pairs and print the table; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, help="of each run (default: as many as the main job has)")
    parser.add_argument("--pairs", type=int, default=1, help="runs with the monitor on and off (default: 1 of each)")
    parser.add_argument("--only-on", action="store_true", help="only the share inside runs with the monitor on")
    parser.add_argument("--out", type=Path, help="write the table there as well")
    parser.add_argument("--json", type=Path, help="write the numbers of every run there")
    parser.add_argument("--child", choices=("on", "off"), help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of the runs")
    args = parser.parse_intermixed_args()
    if args.child:
        print(json.dumps(timed_run(args.child == "on", args.runs, args.settings)))
        return 0
    settings = [*shortened(args.updates), *args.settings]
    runs = [one_run(monitor, settings) for monitor in order(args.pairs, args.only_on)]
    text = report(runs, settings)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    if args.json:
        args.json.write_text(json.dumps(runs, indent=1) + "\n")
    return 0


def order(pairs: int, only_on: bool = False) -> list[bool]:
    """Whether the monitor is on, run by run: on, off, off, on ..."""
    if only_on:
        return [True] * pairs
    return [on for pair in range(pairs) for on in ((True, False) if pair % 2 == 0 else (False, True))]


def shortened(updates: int | None) -> list[str]:
    """Settings of the main job with that many updates, its games joining at the same shares of them."""
    if updates is None:
        return []
    import yaml

    schedule = yaml.safe_load(DEMO.read_text())["schedule"]
    at = [round(update * updates / schedule["updates"]) for update in schedule["at"]]
    return [f"schedule.updates={updates}", f"schedule.at=[{','.join(map(str, at))}]"]


def one_run(monitor: bool, settings: list[str]) -> dict[str, Any]:
    """A run in a process of its own: what `timed_run` says of it."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, __file__, "--child", "on" if monitor else "off", "--runs", runs, *settings]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"monitor {'on ' if monitor else 'off'}: {found['wall']:.1f} s, {found['cpu']:.1f} s of processor time, of "
          f"which the monitor's calls {found['monitor_cpu']:.1f} s", file=sys.stderr)  # fmt: skip
    return found


def timed_run(monitor: bool, runs: Path, settings: list[str]) -> dict[str, Any]:
    """The main job without its last evaluation; seconds, of it all and of the monitor's calls: {"monitor", "wall",
    "cpu", "monitor_wall", "monitor_cpu", "parts"}."""
    import gurgeh.train
    from gurgeh import cli
    from monitor import Monitor

    spent: dict[str, list[float]] = {}

    def wrap(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.monotonic(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                mine = spent.setdefault(name, [0.0, 0.0])
                mine[0] += time.monotonic() - wall
                mine[1] += time.thread_time() - cpu

        setattr(owner, name, timed)

    for name in TIMED:
        wrap(Monitor, name)
    for name in ("build_frozen_set", "save_frozen_set"):
        wrap(gurgeh.train, name)
    wall, cpu = time.monotonic(), time.process_time()
    code = cli.main([
        "train", str(DEMO), "--runs", str(runs), "--name", "cost", "--no-evaluation",
        f"monitor.enabled={'true' if monitor else 'false'}", *settings,
    ])  # fmt: skip
    if code:
        sys.exit(f"the run ended with code {code}")
    return {
        "monitor": monitor, "wall": time.monotonic() - wall, "cpu": time.process_time() - cpu,
        "monitor_wall": sum(part[0] for part in spent.values()), "monitor_cpu": sum(part[1] for part in spent.values()),
        "parts": spent,
    }  # fmt: skip


def report(runs: list[dict[str, Any]], settings: list[str]) -> str:
    """The table of all runs, and what the monitor takes of a run with it off, in pairs, and inside runs with it on."""
    shown = [
        f"The main job without its last evaluation; settings: {' '.join(settings) or 'as in configs/demo.yaml'}.", "",
        "| monitor | wall s | processor s | its calls: wall s | processor s | share of processor time |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for run in runs:
        share = f"{run['monitor_cpu'] / run['cpu']:.1%}" if run["monitor"] else "-"
        shown.append(
            f"| {'on' if run['monitor'] else 'off'} | {run['wall']:.1f} | {run['cpu']:.1f} | {run['monitor_wall']:.1f} "
            f"| {run['monitor_cpu']:.1f} | {share} |"
        )
    on, off = ([run for run in runs if run["monitor"] is which] for which in (True, False))
    inside = [run["monitor_cpu"] / run["cpu"] for run in on]
    shown += ["", f"Share of its calls, frozen sets included, in processor time: {_spread(inside)}; of the clock: "
              f"{_spread([run['monitor_wall'] / run['wall'] for run in on])}."]  # fmt: skip
    for name, field in (("processor time", "cpu"), ("clock", "wall")):
        if off:
            ratios = [one[field] / other[field] - 1 for one, other in zip(on, off, strict=True)]
            shown.append(f"On against off in pairs, {name}: {_spread(ratios)} more.")
    met = "met" if statistics.mean(inside) <= AIM else "missed"
    shown.append(f"The aim, 5 % of processor time, is {met} by the share of its calls in these runs.")
    return "\n".join(shown)


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.1%}"
    return mean if len(values) == 1 else f"{mean} ({', '.join(f'{value:.1%}' for value in values)})"


if __name__ == "__main__":
    sys.exit(main())
