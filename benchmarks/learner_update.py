"""How long an update of the learner takes, with its gradients by autograd and written out, and where the time goes.

    python benchmarks/learner_update.py --out benchmarks/results/DATE-learner-update.md

Both ways are timed in turn in one process, so that a busy machine slows both. Shares of operations are of the time that
torch's profiler measures in matrix products and convolutions (gradients included), of all the time of an update.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder's search.py would hide the package `search`

from agents.learner import Learner  # noqa: E402
from agents.selfplay import collect_step  # noqa: E402
from gurgeh.config import RunConfig  # noqa: E402
from gurgeh.state import TrainingState  # noqa: E402

GAMES = ("tictactoe", "CartPole-v1", "connect_four", "minatar/breakout")
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::convolution_backward", "aten::mkldnn_convolution")


def prepared(games: list[str]) -> tuple[Learner, dict, RunConfig]:
    """A learner with buffers that are ready, a few updates behind it."""
    config = RunConfig(games=games, threads=1)
    state = TrainingState(config)
    for name in games:
        state.add_game(name)
    collectors = {name: game.collector for name, game in state.games.items()}
    buffers = {name: game.buffer for name, game in state.games.items()}
    while len(state.ready_buffers()) < len(games):
        collect_step(state.network, collectors, buffers, state.scales, config.search)
    for _ in range(20):
        collect_step(state.network, collectors, buffers, state.scales, config.search)
        state.learner.update(buffers, config.search.gamma, config.schedule.updates)
    return state.learner, buffers, config


def measure(games: list[str], rounds: int) -> dict[str, float]:
    """Median milliseconds of an update and of its parts, and the share of products in it."""
    learner, buffers, config = prepared(games)

    def update() -> None:
        learner.update(buffers, config.search.gamma, config.schedule.updates)

    fused = learner._can_fuse
    samples = learner.sample(buffers, config.search.gamma)[0]
    parts: dict[str, Callable[[], object]] = {
        "autograd": update,
        "written out": update,
        "sample": lambda: learner.sample(buffers, config.search.gamma),
        "gradients by autograd": lambda: learner._backward(samples),
        "gradients written out": lambda: learner._fused_backward(samples),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, run in parts.items():
            learner._can_fuse = fused if name != "autograd" else lambda: False
            for _ in range(5):
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
    learner._can_fuse = fused
    found = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    for name, way in (("autograd", lambda: False), ("written out", fused)):
        learner._can_fuse = way
        with torch.profiler.profile() as profile:
            started = time.perf_counter()
            for _ in range(20):
                update()
            whole = time.perf_counter() - started
        products = sum(event.self_cpu_time_total for event in profile.key_averages() if event.key in PRODUCTS) / 1e6
        found[f"products {name}"] = 100 * products / whole
    learner._can_fuse = fused
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="rounds of five updates each way")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    lines = [
        "# An update of the learner",
        "",
        f"- Command: `{' '.join(['python', *sys.argv])}`",
        f"- Date: {datetime.date.today().isoformat()}",
        f"- Machine: {machine}; one thread; torch {torch.__version__}",
        f"- Defaults of the product; {5 * args.rounds} updates each way, in turn; medians, milliseconds",
        "",
        "| games | autograd | written out | updates/s before | after | times as fast | sample | gradients: autograd "
        "| written out | products before | after |",
        "|" + "---|" * 11,
    ]
    for games in [[name] for name in GAMES] + [list(GAMES)]:
        f = measure(games, args.rounds)
        lines.append(
            f"| {', '.join(games)} | {f['autograd']:.1f} | {f['written out']:.1f} | {1e3 / f['autograd']:.0f} | "
            f"{1e3 / f['written out']:.0f} | {f['autograd'] / f['written out']:.2f} | {f['sample']:.1f} | "
            f"{f['gradients by autograd']:.1f} | {f['gradients written out']:.1f} | "
            f"{f['products autograd']:.0f} % | {f['products written out']:.0f} % |"
        )
        print(lines[-1], flush=True)
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
