"""Does the learner train on Atari? The beginning of configs/atari_100k.yaml, as far as --updates go.

  python benchmarks/atari.py --updates 600                 Pong on this machine's CPU, then writes the result
  python benchmarks/atari.py --game ale/Breakout:100k

A smoke proof: frames a second, updates a second, memory, and the losses of each head as they fall. What the agent
scores after so little says nothing yet and stands there as it is. A move is four frames.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # instead of this folder, whose search.py would hide the package `search`

from benchmarks.learning import machine, read_stream, resolve  # noqa: E402

FRAMES = 4  # of a move, in the 100k protocol
HEADS = ("policy", "value", "reward", "continuation")


def report(lines: list[dict], game: str, head: list[str]) -> str:
    """The result as Markdown. lines: the run's metrics."""
    text = [*head, "", "| updates | moves | frames/s | updates/s | " + " | ".join(HEADS) + " | recent return |",
            "|---:|" + "---:|" * (4 + len(HEADS))]  # fmt: skip
    before = {"env_steps": 0, "update": 0, "time": {"seconds": 0.0, "evaluating": 0.0}}
    for line in lines:
        one = line["games"].get(game, {})
        spent = line["time"]["seconds"] - line["time"]["evaluating"]
        spent -= before["time"]["seconds"] - before["time"]["evaluating"]
        frames = FRAMES * (line["env_steps"] - before["env_steps"]) / max(spent, 1e-9)
        updates = (line["update"] - before["update"]) / max(spent, 1e-9)
        losses = " | ".join(f"{one[name]:.4f}" if name in one else "–" for name in HEADS)
        recent = f"{one['recent_return']:.2f}" if "recent_return" in one else "–"
        rates = f"{line['env_steps']:,} | {frames:,.0f} | {updates:.1f}"
        text.append(f"| {line['update']} | {rates} | {losses} | {recent} |")
        before = line
    first, last = (line["games"].get(game, {}).get("loss") for line in (lines[0], lines[-1]))
    if first is not None and last is not None:
        text += ["", f"The loss went from {first:.3f} (first {lines[0]['update']} updates) to {last:.3f}: "
                 f"{'it fell' if last < first else '**it did not fall**'}."]  # fmt: skip
    return "\n".join(text) + "\n"


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="ale/Pong:100k", help="(%(default)s)")
    parser.add_argument("--updates", type=int, default=600, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the result")
    args = parser.parse_args(argv)
    every = max(1, args.updates // 12)
    words = ["configs/atari_100k.yaml", f"games=[{args.game}]", f"schedule.updates={args.updates}",
             f"logging.every_updates={every}", "logging.evaluate_every_updates=0", f"seed={args.seed}",
             f"threads={args.threads}"]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="gurgeh-atari-") as folder:
        command = [sys.executable, "-m", "gurgeh", "train", *words, "--runs", folder, "--name", "run",
                   "--no-evaluation"]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        load, began = os.getloadavg()[0], time.monotonic()
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        seconds = time.monotonic() - began
        lines = read_stream(Path(folder) / "run", "metrics")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    name = args.game.partition(":")[0].partition("/")[2].lower()
    asked = shlex.join(argv if argv is not None else sys.argv[1:])
    head = [f"# Atari: the beginning of {args.game}, {time.strftime('%Y-%m-%d')}", "",
            f"- Command: `python benchmarks/atari.py {asked}`, that is `gurgeh train {shlex.join(words)}`",
            f"- Code: {resolve('HEAD')[:12]}. Machine: {machine()}; load before: {load:.1f}; {args.threads} threads",
            f"- {seconds:.0f} s in all, highest memory {peak:,.0f} MiB. A smoke proof: this is "
            f"{lines[-1]['env_steps'] / 1000:.1f} k of the 100 k moves."]  # fmt: skip
    path = args.out / f"{time.strftime('%Y-%m-%d')}-atari-{name}.md"
    path.write_text(report(lines, args.game, head))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
