"""How long an update of the learner takes before and after a change, and how much of it is matrix products.

    git worktree add /tmp/before COMMIT
    python benchmarks/learner_update.py --before /tmp/before --out benchmarks/results/DATE-learner-update.md

Each of the two trees runs in a process of its own, which waits while the other makes some updates: a busy machine slows
both. Times are the thread's own processor time, which is the clock's on an idle machine and leaves out the waiting on
a busy one. Without --before this tree alone is measured. An update's parts are timed by wrapping the functions that
make them; products are the time in matrix products and convolutions (gradients included) in further updates, each
operation timed where torch dispatches it (its profiler has the wall's clock only, which a busy machine makes useless).
`--runs` also times whole short runs of both trees.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GAMES = ("tictactoe", "CartPole-v1", "connect_four", "minatar/breakout")
PRODUCTS = ("mm", "addmm", "addmm_", "bmm", "convolution", "convolution_backward")
BLOCK = 5  # updates in a row
# Part -> what makes it, by tree: attributes of agents.learner, as far as a tree has them.
PARTS = {
    "sample": ("Learner.sample", "FusedUpdate.draw"),
    "gradients": ("Learner._fused_backward", "FusedUpdate.backward"),
    "step": ("nn.utils.clip_grad_norm_", "torch.optim.AdamW.step", "Learner._average", "FusedUpdate.descend"),
}


# -- a worker: one tree ------------------------------------------------------------------------------------------


def prepared(games: list[str]) -> Callable[[], object]:
    """An update of a learner with buffers that are ready, a few updates behind it."""
    from agents.selfplay import collect_step
    from gurgeh.config import RunConfig
    from gurgeh.state import TrainingState

    config = RunConfig(games=games, threads=1)
    state = TrainingState(config)
    for name in games:
        state.add_game(name)
    collectors = {name: game.collector for name, game in state.games.items()}
    buffers = {name: game.buffer for name, game in state.games.items()}

    def update() -> None:
        state.learner.update(buffers, config.search.gamma, config.schedule.updates)

    while len(state.ready_buffers()) < len(games):
        collect_step(state.network, collectors, buffers, state.scales, config.search)
    for _ in range(20):
        collect_step(state.network, collectors, buffers, state.scales, config.search)
        update()
    return update


def timed(owner: Any, path: str, spent: dict[str, float], part: str) -> None:
    """Replace the function at `path` below `owner`, if it is there, by one that adds its seconds to spent[part]."""
    *outer, name = path.split(".")
    for step in outer:
        owner = getattr(owner, step, None)
    function = getattr(owner, name, None)
    if function is None:
        return

    @functools.wraps(function)
    def wrapper(*arguments, **named):
        started = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            spent[part] += time.thread_time() - started

    setattr(owner, name, wrapper)


def work(games: list[str]) -> None:
    """For each line on the standard input a block of updates and a line of milliseconds, whole and by part; for "end"
    the milliseconds of products in an update."""
    import torch

    import agents.learner

    torch.set_num_threads(1)
    spent = dict.fromkeys(PARTS, 0.0)
    for part, paths in PARTS.items():
        for path in paths:
            timed(agents.learner, path, spent, part)
    update = prepared(games)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        found = []
        for _ in range(BLOCK):
            spent.update(dict.fromkeys(PARTS, 0.0))
            started = time.thread_time()
            update()
            whole = time.thread_time() - started
            found.append({"whole": 1e3 * whole} | {part: 1e3 * seconds for part, seconds in spent.items()})
        print(json.dumps(found), flush=True)
    found = []
    for _ in range(40):
        with products() as spent_in_products:
            update()
        found.append(1e3 * spent_in_products[0])
    print(json.dumps(statistics.median(found)), flush=True)


@contextlib.contextmanager
def products() -> Iterator[list[float]]:
    """Within it, adds the seconds of every product to the only entry of the list."""
    from torch.utils._python_dispatch import TorchDispatchMode

    spent = [0.0]

    class Timed(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            started = time.thread_time()
            answer = function(*args, **(kwargs or {}))
            if function.overloadpacket.__name__ in PRODUCTS:
                spent[0] += time.thread_time() - started
            return answer

    with Timed():
        yield spent


# -- the one that compares ---------------------------------------------------------------------------------------


class Worker:
    """One tree's process."""

    def __init__(self, tree: Path, games: list[str]):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--work", ",".join(games), "--tree", str(tree)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tree,
        )  # fmt: skip
        assert self.answer() == "ready"

    def ask(self, word: str) -> Any:
        """Say one word and wait for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        """The next line of the process."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.process.args} ended without an answer")
        return json.loads(line)


def measure(trees: dict[str, Path], games: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """name of the tree -> median milliseconds of an update, of its parts and of its products."""
    workers = {name: Worker(tree, games) for name, tree in trees.items()}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for number in range(rounds):
        for name in list(trees) if number % 2 else list(trees)[::-1]:
            times[name] += workers[name].ask("go")
    found = {}
    for name, worker in workers.items():
        found[name] = {key: statistics.median(line[key] for line in times[name]) for key in ("whole", *PARTS)}
        found[name]["products"] = worker.ask("end")
        worker.process.wait()
    return found


def time_runs(trees: dict[str, Path], folder: Path, updates: int, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """name of the tree -> of each `gurgeh train games=[tictactoe]`, tree by tree in turn, the seconds by its own clock
    and the processor seconds of the whole process, its start included."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
    for number in range(repeats):
        for name, tree in trees.items():
            shutil.rmtree(folder / f"{name}-{number}", ignore_errors=True)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, "-m", "gurgeh", "train", "--no-evaluation", "--runs", str(folder), "--name",
                 f"{name}-{number}", "games=[tictactoe]", f"schedule.updates={updates}", "monitor.enabled=false",
                 "logging.evaluate_every_updates=0", "logging.tensorboard=false"],
                cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            lines = (folder / f"{name}-{number}" / "metrics.jsonl").read_text().splitlines()
            processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            found[name].append((json.loads(lines[-1])["time"]["seconds"], processor))
            print(name, found[name], flush=True)
    return found


def revision(tree: Path) -> str:
    """The commit of a tree, with a plus where files differ from it."""
    said = [subprocess.run(["git", *words], cwd=tree, capture_output=True, text=True).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno"])]  # fmt: skip
    return said[0] + ("+" if said[1] else "")


def write(path: Path | None, lines: list[str]) -> None:
    """What there is so far."""
    if path is not None:
        path.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another tree, such as a worktree of an older commit")
    parser.add_argument("--after", type=Path, default=ROOT, help="the tree that it is compared with; default: this one")
    parser.add_argument("--rounds", type=int, default=20, help=f"rounds of {BLOCK} updates of each tree")
    parser.add_argument("--games", action="append", help="games of one line, with commas; default: each, then all")
    parser.add_argument("--runs", type=int, default=0, help="updates of whole runs of tictactoe, also timed")
    parser.add_argument("--repeats", type=int, default=2, help="whole runs of each tree")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/learner-update"), help="where those runs lie")
    parser.add_argument("--note", default="", help="said of the machine")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--tree", type=Path, default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path[0] = str(args.tree)  # this folder's search.py would hide the package `search`
    if args.work:
        work(args.work.split(","))
        return
    import torch

    trees = ({"before": args.before.resolve()} if args.before else {}) | {"after": args.after.resolve()}
    lines = [
        "# An update of the learner",
        "",
        f"- Command: `{' '.join(['python', *sys.argv])}`",
        f"- Date: {datetime.date.today().isoformat()}",
        f"- Machine: {platform.processor() or platform.machine()}, {os.cpu_count()} cores; one thread; "
        f"torch {torch.__version__}{'; ' if args.note else ''}{args.note}",
        f"- Commits: {', '.join(f'{name} {revision(tree)}' for name, tree in trees.items())}",
        f"- Defaults of the product; {BLOCK * args.rounds} updates each, in turn; medians, milliseconds",
        "",
        "| games | tree | an update | updates/s | times as fast | sample | gradients | clip and step | products |",
        "|" + "---|" * 9,
    ]
    wanted = [games.split(",") for games in args.games] if args.games else [[g] for g in GAMES] + [list(GAMES)]
    for games in wanted:
        found = measure(trees, games, args.rounds)
        first = next(iter(found.values()))["whole"]
        for name, f in found.items():
            lines.append(
                f"| {', '.join(games)} | {name} | {f['whole']:.2f} | {1e3 / f['whole']:.0f} | "
                f"{first / f['whole']:.2f} | {f['sample']:.2f} | {f['gradients']:.2f} | {f['step']:.2f} | "
                f"{f['products']:.2f} = {100 * f['products'] / f['whole']:.0f} % |"
            )
            print(lines[-1], flush=True)
        write(args.out, lines)
    if args.runs:
        seconds = time_runs(trees, args.folder, args.runs, args.repeats)
        lines += ["", f"Whole runs, `gurgeh train games=[tictactoe] schedule.updates={args.runs}` without monitor and "
                  "evaluation, in turn: seconds by the run's own clock (processor seconds of the process, its start "
                  "included):", ""]  # fmt: skip
        lines += [f"- {name}: {', '.join(f'{s:.1f} ({p:.1f})' for s, p in times)}" for name, times in seconds.items()]
    write(args.out, lines)


if __name__ == "__main__":
    main()
