"""Does it learn? Experiments of benchmarks/learning_table.py, run with `gurgeh train` as a user runs it.

  python benchmarks/learning.py --list
  python benchmarks/learning.py tictactoe cartpole --seeds 0-4       what is missing in the results file
  python benchmarks/learning.py --set ablations --jobs 2 --budget 7200
  python benchmarks/learning.py tictactoe --with search.simulations=4
  python benchmarks/learning.py --report control cartpole cartpole-v1

Each finished (experiment, seed, commit, settings) is one line of the results file, failed runs too, so that a killed
session goes on where it was. The code of a commit is run from a copy of its own: work in this checkout changes nothing.
A first short run of each experiment, whose time is recorded apart, leaves compiled kernels on the disk. Times say
something with --jobs 1 on an idle machine only.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import ctypes
import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # instead of this folder, whose search.py would hide the package `search`

from benchmarks.learning_rules import Experiment, Record, deadline  # noqa: E402
from benchmarks.learning_table import EXPERIMENTS, SETS  # noqa: E402

CODE = ("agents", "envs", "search", "monitor", "gurgeh", "configs", "pyproject.toml")
COPIES = Path.home() / ".cache" / "gurgeh-bench" / "code"
POLL = 0.5  # seconds between two looks at a run
_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be
GRACE = 120.0  # seconds that a run has to save itself after it was told to stop


# -- what to run ---------------------------------------------------------------------------------------------------


def arguments_of(experiment: Experiment, seed: int, extra: Sequence[str]) -> list[str]:
    """The words of `gurgeh train` after its own options. extra: KEY=VALUE that count before all else."""
    settings = [*experiment.settings, *extra]
    words = [f"games=[{', '.join(experiment.games)}]", f"goals=[{', '.join(map(json.dumps, experiment.goals))}]"]
    if experiment.stop:
        words.append(f"schedule.stop_after_met={experiment.running}")
    updates = experiment.updates or updates_for(experiment.games[0], experiment.env_steps, settings)
    words.append(f"schedule.updates={updates}")
    return [*words, *settings, f"seed={seed}"]


def updates_for(game: str, env_steps: int, settings: Sequence[str]) -> int:
    """The updates that `env_steps` of `game` pay for."""
    from envs import registry
    from gurgeh.config import RunConfig
    from gurgeh.configure import load_config

    config = load_config(RunConfig, None, settings)
    copies = config.selfplay.copies_of(registry.make(game).spec)
    return max(1, int(env_steps / copies * config.learner.updates_per_step))


def key_of(experiment: Experiment, seed: int, commit: str, extra: Sequence[str]) -> list[Any]:
    """What makes a result the same result: experiment, seed, commit, hash of all settings and of the time."""
    told: list[Any] = [arguments_of(experiment, seed, extra), experiment.limit, experiment.after, experiment.episodes]
    if experiment.opponents:
        told.append(list(experiment.opponents))
    return [experiment.name, seed, commit, hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]]


def read_results(path: Path) -> list[Record]:
    """The lines of a results file; a last one that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line.strip()]


def append_result(path: Path, record: Record) -> None:
    """One line, written as a whole; a line that a kill cut short is cut off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
        file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


# -- the code ------------------------------------------------------------------------------------------------------


def resolve(commit: str) -> str:
    """The full name of a commit; ValueError for what git does not know."""
    found = subprocess.run(
        ["git", "rev-parse", "--verify", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True, text=True
    )
    if found.returncode:
        raise ValueError(f"--commit {commit}: git knows no such commit")
    return found.stdout.strip()


def copy_of(commit: str) -> Path:
    """A folder with the code of a commit, made when there is none yet."""
    folder = COPIES / commit[:12]
    if not folder.exists():
        COPIES.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".making-", dir=COPIES))
        archive = subprocess.run(["git", "archive", commit, *CODE], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", str(fresh)], input=archive.stdout, check=True)
        try:
            os.rename(fresh, folder)
        except OSError:  # another process was faster
            shutil.rmtree(fresh)
    return folder


# -- one process ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Ended:
    """How a process ended, and what it used."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    stopped: bool
    output: str
    error: str


def _die_with_parent() -> None:
    """In the child: end when the harness is killed, so that no run goes on unseen."""
    _LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Processes:
    """The processes that run now; `stop` ends them all and lets no new one begin."""

    def __init__(self) -> None:
        self._lock, self._running, self.stopped = threading.Lock(), set(), False

    def stop(self) -> None:
        self.stopped = True
        with self._lock:
            for process in self._running:
                process.terminate()

    def run(self, command: list[str], code: Path, over: Any = None) -> Ended:
        """Run to the end, in the folder `code`; `over()` says that it shall be stopped (SIGTERM, then SIGKILL)."""
        environment = {**os.environ, "PYTHONPATH": str(code)}
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
            began = time.monotonic()
            process = subprocess.Popen(
                command, cwd=code, env=environment, stdout=output, stderr=error,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )  # fmt: skip
            with self._lock:
                self._running.add(process)
            if self.stopped:
                process.terminate()
            told = None
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                if told is None and over is not None and over():
                    told = time.monotonic()
                    process.terminate()
                if told is not None and time.monotonic() - told > GRACE:
                    process.kill()
                time.sleep(POLL if time.monotonic() - began > 5 else 0.05)
            seconds = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            with self._lock:
                self._running.discard(process)
            texts = []
            for file in (output, error):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return Ended(
            process.returncode,
            seconds,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss / 1024,
            told is not None,
            *texts,
        )


# -- one run -------------------------------------------------------------------------------------------------------


def read_stream(run: Path, name: str) -> list[dict[str, Any]]:
    """The records of one of a run's streams that are whole."""
    path = run / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def curve_of(run: Path, start: float) -> list[dict[str, Any]]:
    """The short evaluations of a run whose process began `start` seconds before its clock: both times count from
    there. `seconds` leave out what evaluations took, `gross` does not."""
    return [
        {
            "update": line["update"], "env_steps": line["env_steps"], "games": line["games"],
            "seconds": start + line["time"]["seconds"] - line["time"]["evaluating"],
            "gross": start + line["time"]["seconds"],
        }
        for line in read_stream(run, "evaluation")
    ]  # fmt: skip


def start_of(run: Path, began: float) -> float:
    """Seconds from the process's beginning (of the epoch) to that of the run: Python, imports, checks."""
    config = run / "config.yaml"
    return max(0.0, config.stat().st_mtime - began) if config.exists() else 0.0


def newest_time(run: Path) -> dict[str, float]:
    """Seconds of the run so far, and of its short evaluations."""
    lines = [line for name in ("metrics", "evaluation") for line in read_stream(run, name)[-1:]]
    newest = max(lines, key=lambda line: line["time"]["seconds"], default={"time": {"seconds": 0.0, "evaluating": 0.0}})
    return {"seconds": newest["time"]["seconds"], "evaluating": newest["time"]["evaluating"]}


def processor_ticks() -> tuple[int, int]:
    """(used, stolen) by all of the machine since it began: what ran, and what the host of a virtual machine kept from
    it (man 5 proc_stat); (0, 0) where the system does not say."""
    path = Path("/proc/stat")
    words = path.read_text().split("\n", 1)[0].split() if path.exists() else []
    if len(words) < 9:
        return 0, 0
    user, nice, system, _, _, interrupt, soft, stolen = map(int, words[1:9])
    return user + nice + system + interrupt + soft, stolen


def run_one(
    experiment: Experiment,
    seed: int,
    code: Path,
    extra: Sequence[str],
    folder: Path,
    processes: Processes,
    warm: float | None,
) -> Record:
    """Train, judge, and return the record; its folder is `folder`. warm: seconds of the short run before it."""
    shutil.rmtree(folder, ignore_errors=True)  # what a killed session left
    words = arguments_of(experiment, seed, extra)
    train = [sys.executable, "-m", "gurgeh", "train", *words, "--runs", str(folder.parent), "--name", folder.name,
             "--no-evaluation"]  # fmt: skip
    looked, began = [time.monotonic()], time.time()

    def over() -> bool:
        if time.monotonic() - looked[0] < 2:
            return False
        looked[0] = time.monotonic()
        spent = newest_time(folder)
        start = start_of(folder, began)
        net = start + spent["seconds"] - spent["evaluating"]
        return net > deadline(experiment, {"curve": curve_of(folder, start)})

    used, stolen = processor_ticks()
    ended = processes.run(train, code, over)
    used, stolen = (after - before for after, before in zip(processor_ticks(), (used, stolen), strict=True))
    start, spent = start_of(folder, began), newest_time(folder)
    curve = curve_of(folder, start)
    metrics = read_stream(folder, "metrics")[-1:] + read_stream(folder, "evaluation")[-1:]
    last = max(metrics, key=lambda line: line["update"], default={"update": 0, "env_steps": 0})
    record: Record = {
        "status": "done" if ended.code == 0 or (ended.stopped and ended.code == 130) else "failed",
        "command": " ".join(["gurgeh train", *map(shlex.quote, words)]), "code": ended.code, "stopped": ended.stopped,
        "updates": last["update"], "env_steps": last["env_steps"],
        "process_seconds": ended.seconds, "warm_up_seconds": warm, "evaluation_seconds": spent["evaluating"],
        "start_seconds": start,
        "net_seconds": start + spent["seconds"] - spent["evaluating"],
        "cpu_seconds": ended.cpu_seconds, "stolen": stolen / max(1, used + stolen),
        "peak_mib": ended.peak_mib, "curve": curve, "judged": None,
    }  # fmt: skip
    if record["status"] == "failed":
        return record | {"error": _tail(ended)}
    named = [goal.split(" against ")[1].split()[0] for goal in experiment.goals if " against " in goal]
    opponents = ",".join(dict.fromkeys([*named, *experiment.opponents]))
    judge = [sys.executable, str(ROOT / "benchmarks" / "learning_judge.py"), str(folder), "--episodes",
             str(experiment.episodes), "--opponents", opponents]  # fmt: skip
    ended = processes.run(judge, code)
    if ended.code:
        return record | {"status": "failed", "error": "judge: " + _tail(ended)}
    judged = json.loads(ended.output.splitlines()[-1])
    return record | {
        "judged": judged["games"], "judged_at": judged["update"], "simulations": judged["simulations"],
        "judge_seconds": ended.seconds, "versions": judged["versions"],
    }  # fmt: skip


def _tail(ended: Ended, lines: int = 15) -> str:
    return "\n".join((ended.error or ended.output).strip().splitlines()[-lines:])


def warm_up(experiment: Experiment, code: Path, extra: Sequence[str], folder: Path, processes: Processes) -> float:
    """Seconds of a whole process with three updates and an evaluation: kernels are compiled and stay on the disk."""
    shutil.rmtree(folder, ignore_errors=True)
    words = [*arguments_of(experiment, 0, extra), "schedule.stop_after_met=0", "schedule.updates=3",
             "logging.evaluate_every_updates=2", "logging.evaluate_episodes=2"]  # fmt: skip
    command = [sys.executable, "-m", "gurgeh", "train", *words, "--runs", str(folder.parent), "--name", folder.name,
               "--no-evaluation"]  # fmt: skip
    ended = processes.run(command, code)
    shutil.rmtree(folder, ignore_errors=True)
    return ended.seconds


# -- a session -----------------------------------------------------------------------------------------------------


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line; errors end the program with one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", help="names (--list shows them)")
    parser.add_argument("--set", choices=SETS, help="all experiments of a set")
    parser.add_argument("--list", action="store_true", help="show the experiments, and what is done, and stop")
    parser.add_argument("--seeds", help="such as 0-4 or 0,3 (default: the experiment's)")
    parser.add_argument(
        "--with", dest="extra", action="append", default=[], metavar="KEY=VALUE", help="one more setting"
    )
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="runs at once; with 2, each has one thread")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="begin no run after so many seconds")
    parser.add_argument("--commit", default="HEAD", help="the code to run (%(default)s)")
    parser.add_argument("--here", action="store_true", help="run the code of this checkout as it stands: no result")
    parser.add_argument("--any-commit", action="store_true", help="results of other commits count as done, too")
    parser.add_argument("--no-warm-up", action="store_true", help="compile within the runs")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoints of the runs")
    parser.add_argument("--again", action="store_true", help="run once more what failed")
    parser.add_argument(
        "--again-stolen", type=float, default=1.0, metavar="SHARE",
        help="run once more where the host kept more than SHARE of the processor from this machine, met or not",
    )  # fmt: skip
    parser.add_argument("--results", type=Path, default=ROOT / "runs" / "learning" / "results.jsonl")
    parser.add_argument("--report", metavar="NAME", help="write benchmarks/results/DATE-learning-NAME.md and stop")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of reports")
    args = parser.parse_args(argv)
    for name in args.experiments:
        if name not in EXPERIMENTS:
            parser.error(f"unknown experiment {name!r}; --list shows them")
    chosen = [EXPERIMENTS[name] for name in args.experiments] + list(SETS[args.set] if args.set else ())
    if not chosen:
        if not args.list and not args.report:
            parser.error("name experiments, or give --set or --list")
        chosen = list(EXPERIMENTS.values())
    args.chosen = list(dict.fromkeys(chosen))
    if args.jobs == 2:
        args.extra.append("threads=1")
    try:
        args.seeds = seeds_of(args.seeds) if args.seeds else None
        args.commit = resolve(args.commit) if not args.report else None
    except ValueError as error:
        parser.error(str(error))
    args.command = " ".join(
        ["python benchmarks/learning.py", *map(shlex.quote, sys.argv[1:] if argv is None else argv)]
    )
    return args


def seeds_of(text: str) -> list[int]:
    """0-4 or 0,3 as numbers."""
    seeds: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        if not low.isdigit() or (high and not high.isdigit()):
            raise ValueError(f"--seeds {text!r}: expected such as 0-4 or 0,3")
        seeds += range(int(low), int(high or low) + 1)
    return seeds


def missing(args: argparse.Namespace) -> list[tuple[Experiment, int]]:
    """What was asked for and is not in the results file yet."""
    done = set()
    for record in {tuple(record["key"]): record for record in read_results(args.results)}.values():
        disturbed = record.get("stolen", 0.0) > args.again_stolen
        if not disturbed and not (args.again and record["status"] == "failed"):
            name, seed, commit, settings = record["key"]
            done.add((name, seed, None if args.any_commit else commit, settings))
    todo = []
    for experiment in args.chosen:
        for seed in args.seeds or range(experiment.seeds):
            name, _, commit, settings = key_of(experiment, seed, args.code_name, args.extra)
            if (name, seed, None if args.any_commit else commit, settings) not in done:
                todo.append((experiment, seed))
    return todo


def expected_seconds(results: list[Record], experiment: Experiment) -> float:
    """What a run of an experiment takes: the mean of those that are done, of its games' others, or its limit."""
    mine = [r["process_seconds"] for r in results if r["key"][0] == experiment.name and r["status"] == "done"]
    if not mine:
        kin = [
            one.name
            for one in EXPERIMENTS.values()
            if (one.games, one.updates) == (experiment.games, experiment.updates)
        ]
        mine = [r["process_seconds"] for r in results if r["key"][0] in kin and r["status"] == "done"]
    return sum(mine) / len(mine) if mine else experiment.limit + experiment.after


def session(args: argparse.Namespace, code: Path) -> int:
    """Run what is missing; 130 when it was interrupted."""
    processes, began = Processes(), time.monotonic()

    def interrupt(*_: object) -> None:
        processes.stop()

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    todo = missing(args)
    results = read_results(args.results)
    total = sum(expected_seconds(results, experiment) for experiment, _ in todo) / args.jobs
    print(f"{len(todo)} runs, about {total / 60:.0f} minutes, into {args.results}", flush=True)
    warm: dict[str, concurrent.futures.Future[float]] = {}
    lock = threading.Lock()

    def work(item: tuple[Experiment, int]) -> None:
        experiment, seed = item
        if processes.stopped or (args.budget is not None and time.monotonic() - began > args.budget):
            return
        key = key_of(experiment, seed, args.code_name, args.extra)
        folder = (
            args.results.parent.absolute()
            / "runs"
            / f"{experiment.name}-s{seed}-{key[3]}".replace(":", "-").replace("/", "-")
        )
        with lock:  # one at a time: two would compile the same kernels
            if not args.no_warm_up and experiment.name not in warm and not processes.stopped:
                warm[experiment.name] = concurrent.futures.Future()
                warm[experiment.name].set_result(
                    warm_up(experiment, code, args.extra, folder.with_name(f"warm-{folder.name}"), processes)
                )
        seconds = warm[experiment.name].result() if experiment.name in warm else None
        record = run_one(experiment, seed, code, args.extra, folder, processes, seconds)
        if processes.stopped:
            return  # half a run is no result
        record = {
            "schema": "learning/1", "key": key, "date": time.strftime("%Y-%m-%d %H:%M"), "jobs": args.jobs,
            "threads": 1 if args.jobs == 2 else 2, "load": os.getloadavg()[0], "machine": machine(),
            "harness": args.command, **record,
        }  # fmt: skip
        append_result(args.results, record)
        if not args.keep:  # what remains are its logs
            for name in ("checkpoints", "tensorboard", "validation"):
                shutil.rmtree(folder / name, ignore_errors=True)
        verdict = experiment.rule(experiment, record)
        print(
            f"{experiment.name} seed {seed}: {record['status']}, met {verdict.met}, "
            f"{record['net_seconds']:.0f} s, {record['updates']} updates. "
            f"{verdict.note} {record.get('error', '')}", flush=True,
        )  # fmt: skip

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for future in [pool.submit(work, item) for item in todo]:
            future.result()
    for number, handler in before.items():
        signal.signal(number, handler)
    left = len(missing(args))
    print("done" if not left else f"{left} runs are left; the same command goes on", flush=True)
    return 130 if processes.stopped else 0


def machine() -> str:
    """What the runs ran on, in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores ({model}), {memory:.0f} GiB, no GPU used, Python {platform.python_version()}"


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    args = parse(argv)
    if args.report:
        from benchmarks.learning_report import write_report

        results = read_results(args.results)
        print(write_report(args.out, args.report, args.chosen, results, args.command))
        return 0
    args.code_name = "checkout" if args.here else args.commit[:12]
    if args.list:
        results, todo = read_results(args.results), missing(args)
        for experiment in args.chosen:
            left = sum(one is experiment for one, _ in todo)
            seeds = len(args.seeds or range(experiment.seeds))
            print(
                f"{experiment.name:28} {seeds - left} of {seeds} seeds done, "
                f"{expected_seconds(results, experiment):5.0f} s each  {'; '.join(experiment.goals)}"
            )
        return 0
    return session(args, ROOT if args.here else copy_of(args.commit))


if __name__ == "__main__":
    sys.exit(main())
