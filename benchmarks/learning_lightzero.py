"""Side by side with LightZero 0.2.0: its stock CartPole and tic-tac-toe, and ours, to the same score by the same rule.

  python benchmarks/learning_lightzero.py --setup                     LightZero's environment, once
  python benchmarks/learning_lightzero.py --seeds 0-2 --cap 1500      runs in turn, then writes the result
  python benchmarks/learning_lightzero.py --cap 60 --out /tmp         does everything work?

The rule is LightZero's own, its stopping rule: an evaluation whose mean return reaches the environment's stop value.
  cartpole    CartPole-v0, which ends at 200 moves: mean return 200 over 3 greedy episodes
  tictactoe   mean return 1 over 5 greedy games in which the agent moves first against LightZero's rule bot, which
              completes a line if it can, else blocks one, else moves at random: all 5 are won
Ours meets that bot as `tactician2`, which plays the same but where two lines cannot both be blocked, and there any
move loses to whoever completes one. Our tic-tac-toe run saves a checkpoint every 25 updates, and each is judged by the
rule afterwards, in order; CartPole is judged by the run's own short evaluations every 25 updates. As that is oftener
than LightZero evaluates, and three or five episodes may be lucky, ours must meet the rule twice running, LightZero
once. Wall-clock counts from the beginning of the process; evaluations are in it, and left out beside it.

A short run of ours before the first, whose time is told apart, leaves compiled kernels on the disk, as LightZero's
trees come compiled. Only one side works at a time. Each has a process of its own with the machine's cores, and is ended
after --cap seconds.
Memory is the highest sum of the proportional sizes (PSS) of a side's processes, looked at twice a second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import signal
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

from benchmarks.learning import copy_of, machine, read_stream, resolve, seeds_of, start_of  # noqa: E402

LIGHTZERO = Path.home() / ".cache" / "gurgeh-bench" / "lightzero-train"
VERSION = "0.2.0"
# DI-engine 0.5.3 asks for a setuptools that torch 2.13 refuses, so both come without their requirements.
PACKAGES = (
    ["torch==2.13.0", "numpy<2"],
    ["--no-deps", f"LightZero=={VERSION}", "DI-engine==0.5.3"],
    ["numpy<2", "gymnasium==0.28.0", "gym==0.25.1", "wandb", "tensorboardX", "matplotlib",
     "opencv-python-headless<4.12", "easydict", "pympler", "xxhash", "einops", "line_profiler", "pyyaml", "cloudpickle",
     "tabulate", "requests", "click", "URLObject>=2.4.0", "yapf", "responses", "pretty_errors", "tqdm", "numexpr",
     "treevalue", "DI-treetensor", "DI-toolkit", "h5py", "mpire", "pynng", "redis", "transformers", "imageio",
     "pygame", "trueskill", "hbutils", "dill", "pandas<3", "scipy", "flask", "hickle", "psutil"],
)  # fmt: skip
GAMES = ("cartpole", "tictactoe", "tictactoe-bot")
EVERY = 25  # our updates between two judgements
OURS = {
    "cartpole": ["games=[CartPole-v0]", 'goals=["CartPole-v0 return >= 200"]', "schedule.stop_after_met=2",
                 "schedule.updates=10000", f"logging.evaluate_every_updates={EVERY}", "logging.evaluate_episodes=3"],
    "tictactoe": ["games=[tictactoe]", "schedule.updates=4000", f"logging.every_updates={EVERY}",
                  "logging.evaluate_every_updates=0", f"checkpoint.every_updates={EVERY}", "checkpoint.keep=1000"],
}  # fmt: skip
OURS["tictactoe-bot"] = OURS["tictactoe"]


def set_up(python: Path) -> None:
    """LightZero with what its two games need."""
    subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    for words in PACKAGES:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *words], check=True)


# -- a process and what it uses ------------------------------------------------------------------------------------


def memory_of(session: int) -> int:
    """Bytes (PSS) of all processes of a session, right now."""
    total = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if os.getsid(int(folder.name)) == session:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        except OSError:  # it has just ended
            continue
    return total


def run(command: list[str], folder: Path, cap: float, environment: dict[str, str]) -> dict[str, Any]:
    """Run in a session of its own; after `cap` seconds all of it is ended."""
    with (folder / "output").open("w+b") as output:
        began = time.time()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        peak, capped = 0, False
        try:
            while process.poll() is None:
                peak = max(peak, memory_of(process.pid))
                if time.time() - began > cap and not capped:
                    capped = True
                    os.killpg(process.pid, signal.SIGTERM)
                if time.time() - began > cap + 30:
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(0.5)
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):  # its own subprocesses, too
                try:
                    os.killpg(process.pid, number)
                except ProcessLookupError:
                    break
                time.sleep(0.5)
            process.wait()
        seconds = time.time() - began
        output.seek(0)
        tail = output.read().decode(errors="replace").strip().splitlines()[-15:]
    return {"began": began, "process_seconds": seconds, "code": process.returncode, "capped": capped,
            "peak_mib": peak / 2**20, "tail": tail}  # fmt: skip


# -- the two sides: seconds, steps and updates to the rule; None where it was not met --------------------------------


def lightzero(game: str, seed: int, cap: float, folder: Path, python: Path) -> dict[str, Any]:
    """LightZero's run, from the log of benchmarks/learning_lightzero_worker.py."""
    log = folder / "log.jsonl"
    worker = ROOT / "benchmarks" / "learning_lightzero_worker.py"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"WANDB_MODE": "disabled"}
    used = run([str(python), str(worker), game, str(seed), str(log)], folder, cap, environment)
    lines = [json.loads(line) for line in log.read_text().split("\n")[:-1]] if log.exists() else []
    return used | lightzero_result(lines, used["capped"])


def lightzero_result(lines: list[dict[str, Any]], capped: bool) -> dict[str, Any]:
    """What the worker's lines say. Seconds count from the process's beginning; `net` leaves evaluations out."""
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    met = next((line for line in evaluations if line["stop"]), None)
    last = max(lines, key=lambda line: line.get("train_iter", -1), default={})
    at = met or last
    ended = any(line["kind"] == "end" for line in lines)
    return {
        "status": "met" if met else "capped" if capped else "ended without" if ended else "failed",
        "gross": at.get("seconds"), "net": at["seconds"] - at["evaluating"] if at else None,
        "env_steps": at.get("env_steps"), "updates": at.get("train_iter"),
        "start": next((line for line in lines if line["kind"] == "start"), None),
        "curve": [[line["train_iter"], line["env_steps"], statistics.fmean(line["returns"])] for line in evaluations],
    }  # fmt: skip


def ours(game: str, seed: int, cap: float, folder: Path, code: Path) -> dict[str, Any]:
    """Our run, by the same rule."""
    command = [sys.executable, "-m", "gurgeh", "train", *OURS[game], f"seed={seed}", "--runs", str(folder), "--name",
               "run", "--no-evaluation"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(code)}
    used = run(command, folder, cap, environment)
    path = folder / "run"
    start = start_of(path, used["began"])
    failed = used["code"] not in (0, 130) and not used["capped"]
    timed = read_stream(path, "metrics") + read_stream(path, "evaluation")
    if game == "cartpole":
        judged = [
            (line["update"], line["games"]["CartPole-v0"]["return"], line["games"]["CartPole-v0"]["return"] >= 200)
            for line in read_stream(path, "evaluation")
        ]
    else:
        # In a process of its own, for the code of the commit; `sys.path[0]` is the folder `code` there.
        asked = [sys.executable, str(ROOT / "benchmarks" / "learning_lightzero_judge.py"), str(path)]
        found = subprocess.run(asked, cwd=code, env=environment, capture_output=True, text=True)
        judged = [tuple(line) for line in json.loads(found.stdout.splitlines()[-1])] if found.returncode == 0 else []
        if found.returncode:
            failed = True
            used["tail"] += found.stderr.splitlines()[-5:]
    return used | our_result(judged, timed, start, failed, used["capped"])


def our_result(
    judged: list[tuple[int, float, bool]], timed: list[dict[str, Any]], start: float, failed: bool, capped: bool
) -> dict[str, Any]:
    """judged: (update, mean return, rule met) in order; timed: lines of metrics and evaluations, which have times."""
    times = {line["update"]: line for line in sorted(timed, key=lambda line: line["time"]["seconds"], reverse=True)}
    met = next((last[0] for before, last in itertools.pairwise(judged) if before[0] and before[2] and last[2]), None)
    # Where no line of the log is of that very update, the next one.
    at = times.get(
        min((update for update in times if met is not None and update >= met), default=max(times, default=0))
    )
    seconds = at["time"]["seconds"] if at else None
    return {
        "status": "met" if met is not None else "failed" if failed else "capped" if capped else "ended without",
        "gross": None if at is None or seconds is None else start + seconds,
        "net": None if at is None or seconds is None else start + seconds - at["time"]["evaluating"],
        "env_steps": at["env_steps"] if at else None,
        "updates": at["update"] if at else None,
        "curve": [[update, times[update]["env_steps"] if update in times else None, value]
                  for update, value, _ in judged],
    }  # fmt: skip


def warm_up(games: list[str], code: Path) -> float:
    """Seconds of short runs of ours, one a game."""
    began = time.monotonic()
    for game in dict.fromkeys(tuple(OURS[game]) for game in games):
        with tempfile.TemporaryDirectory(prefix="gurgeh-lightzero-") as name:
            command = [sys.executable, "-m", "gurgeh", "train", *game, "schedule.updates=50", "--runs", name, "--name",
                       "run", "--no-evaluation"]  # fmt: skip
            environment = {**os.environ, "PYTHONPATH": str(code)}
            subprocess.run(command, cwd=code, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


# -- the result ----------------------------------------------------------------------------------------------------


def verdicts(records: list[dict[str, Any]]) -> list[str]:
    """Per game, medians of both sides. A side that missed the rule counts with what it had spent, so that a ratio is
    then a bound from below where LightZero missed it, and no ratio is told where ours did."""
    lines = []
    for game in dict.fromkeys(record["game"] for record in records):
        side = {
            name: [one for one in records if one["game"] == game and one["side"] == name]
            for name in ("ours", "lightzero")
        }
        if not all(side.values()):
            continue
        missed = [one for one in side["ours"] if one["status"] != "met"]
        if missed:
            lines.append(f"- {game}: ours missed the rule in {len(missed)} of {len(side['ours'])} runs: **missed**")
            continue
        if any(one["status"] == "failed" for one in side["lightzero"]):
            lines.append(f"- {game}: LightZero failed to run; nothing to compare")
            continue
        ratio = {
            key: statistics.median(one[key] for one in side["lightzero"])
            / max(statistics.median(one[key] for one in side["ours"]), 1e-9)
            for key in ("gross", "net", "env_steps", "updates", "peak_mib")
        }
        bound = "at least " if any(one["status"] != "met" for one in side["lightzero"]) else ""
        fast, few = ratio["gross"] >= 10, ratio["env_steps"] >= 1
        lines.append(
            f"- {game}: LightZero took {bound}{ratio['gross']:.1f} times our wall-clock ({ratio['net']:.1f} without "
            f"evaluations; target 10: {'met' if fast else '**missed**'}), {bound}{ratio['env_steps']:.2f} times our "
            f"environment steps (target 1: {'met' if few else '**missed**'}), {bound}{ratio['updates']:.1f} times our "
            f"updates, {ratio['peak_mib']:.1f} times our memory"
        )
    return lines


def report(records: list[dict[str, Any]], command: str, commit: str, cap: float, warm: float | None) -> str:
    """The result as Markdown."""
    started = next((one["start"] for one in records if one.get("start")), None) or {}
    lines = [
        f"# Side by side with LightZero {VERSION}, {time.strftime('%Y-%m-%d')}", "", f"- Command: `{command}`",
        f"- Code of ours: {commit}. Machine: {machine()}; load at the beginning of a run in the table.",
        f"- LightZero's environment: {started.get('versions')}, {started.get('threads')} threads of torch. "
        f"Cap: {cap:g} s a run.",
        *([] if warm is None else [f"- Ours before that, to compile what a fresh checkout has to: {warm:.0f} s."]), "",
        *("> " + line for line in (__doc__ or "").strip().split("\n\n", 2)[2].splitlines()), "", *verdicts(records), "",
        "| game | seed | side | rule | wall-clock s | without evaluations | env steps | updates | peak MiB | load |",
        "|---|---:|---|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip

    def number(value: float | None, digits: int = 0) -> str:
        return "–" if value is None else f"{value:,.{digits}f}"

    for one in records:
        lines.append(
            f"| {one['game']} | {one['seed']} | {one['side']} | {one['status']} | {number(one['gross'], 1)} | "
            f"{number(one['net'], 1)} | {number(one['env_steps'])} | {number(one['updates'])} | "
            f"{number(one['peak_mib'])} | {one['load']:.1f} |"
        )
    lines += ["", "Curves, as [updates, environment steps, mean return of the rule's episodes]:", ""]
    for one in records:
        shown = one["curve"] if len(one["curve"]) <= 12 else [*one["curve"][:6], "...", *one["curve"][-5:]]
        lines.append(f"- {one['game']} seed {one['seed']} {one['side']}: {json.dumps(shown)}")
        if one["status"] == "failed":
            lines += ["", "```", *one["tail"], "```"]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true", help="make LightZero's environment and stop")
    parser.add_argument("--venv", type=Path, default=LIGHTZERO, help="its folder (%(default)s)")
    parser.add_argument("--games", default="cartpole,tictactoe", help=f"of {', '.join(GAMES)} (%(default)s)")
    parser.add_argument("--sides", default="ours,lightzero", help="(%(default)s)")
    parser.add_argument("--seeds", default="0", help="such as 0-2 (%(default)s)")
    parser.add_argument("--cap", type=float, default=1500, help="seconds a run (%(default)s)")
    parser.add_argument("--commit", default="HEAD", help="our code (%(default)s)")
    parser.add_argument("--here", action="store_true", help="our code as this checkout stands: no result")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the result")
    parser.add_argument("--json", type=Path, help="a file for every record; those in it are not made again")
    args = parser.parse_args(argv)
    python = args.venv / "bin" / "python"
    if args.setup:
        set_up(python)
        return 0
    games, sides = args.games.split(","), args.sides.split(",")
    if set(games) - set(GAMES) or set(sides) - {"ours", "lightzero"}:
        parser.error(f"--games are of {', '.join(GAMES)} and --sides of ours, lightzero")
    if "lightzero" in sides and not python.exists():
        parser.error(f"no LightZero in {args.venv}: run with --setup")
    commit = resolve(args.commit)
    code = ROOT if args.here else copy_of(commit)
    records = json.loads(args.json.read_text()) if args.json and args.json.exists() else []
    warm = warm_up(games, code) if "ours" in sides else None
    done = {(one["game"], one["seed"], one["side"]) for one in records}
    for game in games:
        for seed in seeds_of(args.seeds):
            for side in sides:
                if (game, seed, side) in done:
                    continue
                with tempfile.TemporaryDirectory(prefix="gurgeh-lightzero-") as name:
                    load = os.getloadavg()[0]
                    if side == "ours":
                        found = ours(game, seed, args.cap, Path(name), code)
                    else:
                        found = lightzero(game, seed, args.cap, Path(name), python)
                records.append({"game": game, "seed": seed, "side": side, "load": load, "cap": args.cap, **found})
                if args.json:
                    args.json.write_text(json.dumps(records, indent=1))
                shown = {key: found[key] for key in ("status", "gross", "net", "env_steps", "updates", "peak_mib")}
                print(game, seed, side, json.dumps(shown), *(found["tail"] if found["status"] == "failed" else []),
                      sep="  ", flush=True)  # fmt: skip
    command = " ".join(["python benchmarks/learning_lightzero.py", *map(shlex.quote, argv or sys.argv[1:])])
    path = args.out / f"{time.strftime('%Y-%m-%d')}-learning-lightzero.md"
    path.write_text(report(records, command, "this checkout" if args.here else commit[:12], args.cap, warm))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
