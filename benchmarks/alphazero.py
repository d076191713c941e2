"""MuZero and AlphaZero on the native boards: strength for seconds of training, one field apart.

  python benchmarks/alphazero.py --marks 15,30,60,120 --seeds 0-2        what is missing in the results file
  python benchmarks/alphazero.py --games connect_four --modes learned,rules --clock cpu
  python benchmarks/alphazero.py --report                                 the table of the results file, as Markdown

Every (game, mode, seed) is one run of the defaults with a constant learning rate. It is stopped at each mark, saved
and measured; measuring, saving and starting do not count. Each mark is a line of the results file, so that a killed
session goes on at its last mark. Tic-tac-toe: the share of all positions played optimally; Connect Four: points of
games against tactician2 (a draw is half). Both with the search of the training and with the raw policy.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does
ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # instead of this folder, whose search.py would hide the package `search`

import torch  # noqa: E402

from agents.player import Player, StatePlayer  # noqa: E402
from envs.game import Game  # noqa: E402
from envs.solver import solve  # noqa: E402
from gurgeh.config import RunConfig  # noqa: E402
from gurgeh.configure import load_config, to_dict  # noqa: E402
from gurgeh.episodes import play_episodes  # noqa: E402
from gurgeh.evaluate import built_in, optimal_share  # noqa: E402
from gurgeh.live import Progress  # noqa: E402
from gurgeh.load import LoadedRun  # noqa: E402
from gurgeh.rundir import RunDirectory  # noqa: E402
from gurgeh.scores import summarize  # noqa: E402
from gurgeh.train import Trainer  # noqa: E402

GAMES = ("tictactoe", "connect_four")
MODES = {  # the settings that tell one mode from another
    "learned": (),
    "rules": ("search.model=rules",),
    "rules-only": ("search.model=rules", "learner.unroll=0"),
}
COMMON = ("schedule.updates=100000000", "learner.decay_share=0", "checkpoint.every_updates=100000000",
          "logging.evaluate_every_updates=0", "logging.tensorboard=false", "monitor.enabled=false")  # fmt: skip
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.monotonic, "cpu": time.process_time}
OPPONENT = "tactician2"


def config_of(game: str, mode: str, seed: int, extra: list[str]) -> RunConfig:
    """The configuration of a run. extra: KEY=VALUE that count before all else."""
    return load_config(RunConfig, None, [f"games=[{game}]", f"seed={seed}", *COMMON, *MODES[mode], *extra])


def train_until(path: Path, config: RunConfig, seconds: float, step: int | None, clock: Callable[[], float]) -> dict:
    """Train for so many seconds more, from checkpoint `step` (None: from the beginning), and save.

    Returns the update reached, the environment steps so far and the seconds that this took.
    """
    run = RunDirectory.open(path) if step is not None else RunDirectory.create(path, to_dict(config))
    if step is not None:
        run.lock()
    with run, Progress(title=path.name, stream=open(os.devnull, "w")) as progress:
        trainer = Trainer(run, config, progress, step)
        try:
            if step is not None:
                trainer.load(*run.load_checkpoint(step))
            start = clock()
            took = [0.0]

            def over() -> bool:
                took[0] = clock() - start
                return took[0] >= seconds

            trainer.train(over)
            return {"update": trainer.state.updates, "env_steps": trainer.state.env_steps, "seconds": took[0]}
        finally:
            trainer.close()


def judge(player: Player | StatePlayer, game: Game, episodes: int) -> float:
    """Share of optimal positions, or of the points against the tactician."""
    if game.spec.solvable and game.native is not None:
        return optimal_share(player, solve(game.native)).share
    played = play_episodes(game, [player, built_in(OPPONENT, game)], episodes, seed=1)
    return summarize(played)["score"]["mean"]


def measure(path: Path, episodes: int) -> dict[str, float]:
    """Strength of the newest checkpoint, searching as in training and by the raw policy."""
    loaded = LoadedRun(path)
    (game,) = loaded.games.values()
    simulations = loaded.config.evaluation.simulations
    return {
        "search": judge(loaded.player(game, simulations), game, episodes),
        "raw": judge(loaded.player(game, 0), game, episodes),
        "simulations": simulations,
    }


def warm_up(games: list[str], modes: list[str], extra: list[str]) -> None:
    """A second of every kind of run: kernels are compiled or read before any clock runs."""
    with tempfile.TemporaryDirectory() as folder:
        for game in games:
            for mode in modes:
                early = [*extra, "learner.start_steps=100"]
                train_until(Path(folder) / f"{game}-{mode}", config_of(game, mode, 0, early), 1.0, None, CLOCKS["wall"])


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of the results file; a last line that was cut short is left out."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def follow(game: str, mode: str, seed: int, args: argparse.Namespace, known: list[dict[str, Any]]) -> None:
    """One run through all marks that the results file lacks."""
    config, path = config_of(game, mode, seed, args.settings), args.work / f"{game}-{mode}-{seed}"
    done = sorted((line for line in known if key(line) == (game, mode, seed)), key=lambda line: line["mark"])
    if not done and path.exists():
        shutil.rmtree(path)  # what was trained before its first mark
    at = done[-1] if done else {"update": None, "seconds": 0.0, "mark": 0.0}
    for mark in args.marks:
        if mark <= at["mark"]:
            continue
        torch.set_num_threads(config.threads)
        reached = train_until(path, config, mark - at["seconds"], at["update"], CLOCKS[args.clock])
        at = {
            "schema": "alphazero/1", "game": game, "mode": mode, "seed": seed, "mark": mark, "clock": args.clock,
            **reached, "seconds": at["seconds"] + reached["seconds"], **measure(path, args.episodes),
            "episodes": args.episodes, "settings": args.settings, "threads": config.threads,
            "command": shlex.join(["python", *sys.argv]), "date": datetime.date.today().isoformat(),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
                       f"torch {torch.__version__}",
        }  # fmt: skip
        with args.out.open("a") as file:
            file.write(json.dumps(at) + "\n")
        print(f"{game} {mode} seed {seed}: {mark:g} s, {at['update']} updates, {at['env_steps']:,} steps, "
              f"search {at['search']:.4f}, raw {at['raw']:.4f}", flush=True)  # fmt: skip


def key(line: dict[str, Any]) -> tuple[str, str, int]:
    """Which run a line belongs to."""
    return line["game"], line["mode"], line["seed"]


def report(lines: list[dict[str, Any]]) -> str:
    """The results as Markdown: means over seeds, and each seed's number where there are several."""
    if not lines:
        return "no results yet"
    commands = "\n".join(sorted({f"    {line['command']}" for line in lines}))
    facts = [
        sorted({str(line[name]) for line in lines}) for name in ("date", "machine", "clock", "threads", "settings")
    ]
    text = [
        f"Command:\n\n{commands}\n",
        "Date {}; {}; clock {}; threads {}; settings {}.\n".format(*map(", ".join, facts)),
    ]
    for game in sorted({line["game"] for line in lines}):
        what = "positions played optimally" if game == "tictactoe" else f"points against {OPPONENT}"
        text += [f"## {game}: share of {what}\n", "| mode | seconds | updates | steps | with search | raw policy |",
                 "|---|---|---|---|---|---|"]  # fmt: skip
        for mode in MODES:
            for mark in sorted({line["mark"] for line in lines}):
                some = [line for line in lines if (line["game"], line["mode"], line["mark"]) == (game, mode, mark)]
                if not some:
                    continue
                mean = {name: sum(line[name] for line in some) / len(some) for name in ("update", "env_steps")}
                shares = (_shares([line[name] for line in some]) for name in ("search", "raw"))
                cells = (mode, f"{mark:g}", f"{mean['update']:.0f}", f"{mean['env_steps']:,.0f}", *shares)
                text.append(f"| {' | '.join(cells)} |")
        text.append("")
    return "\n".join(text)


def _shares(values: list[float]) -> str:
    mean = f"{sum(values) / len(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ({', '.join(f'{value:.4f}' for value in values)})"


def numbers(text: str) -> list[int]:
    """`0-2,5` as 0, 1, 2, 5."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of all runs")
    parser.add_argument("--games", default=",".join(GAMES), help="default %(default)s")
    parser.add_argument("--modes", default=",".join(MODES), help="default %(default)s")
    parser.add_argument("--seeds", type=numbers, default=[0], help="such as 0-2,5 (default 0)")
    parser.add_argument("--marks", default="15,30,60,120", help="seconds of training (default %(default)s)")
    parser.add_argument("--episodes", type=int, default=200, help="games against the tactician (default %(default)s)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: seconds that the process computed, all "
                        "threads together, for a machine that is not idle (default %(default)s)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "alphazero.jsonl")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "gurgeh-bench" / "alphazero",
                        help="folder of the runs (default %(default)s)")  # fmt: skip
    parser.add_argument("--report", action="store_true", help="only print the table")
    args = parser.parse_args()
    games, modes = args.games.split(","), args.modes.split(",")
    for given, known in ((games, GAMES), (modes, tuple(MODES))):
        for name in given:
            if name not in known:
                parser.error(f"unknown {name!r}; choose from {', '.join(known)}")
    lines = list(records(args.out))
    if args.report:
        print(report(lines))
        return
    other = [line for line in lines if (line["clock"], line["settings"]) != (args.clock, args.settings)]
    if other:
        parser.error(f"{args.out} was measured with --clock {other[0]['clock']} and settings {other[0]['settings']}; "
                     "give another --out and --work")  # fmt: skip
    args.marks = sorted(float(mark) for mark in args.marks.split(","))
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    warm_up(games, modes, args.settings)
    for seed in args.seeds:
        for game in games:
            for mode in modes:
                follow(game, mode, seed, args, lines)


if __name__ == "__main__":
    main()
