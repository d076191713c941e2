"""Positions a second of the native games: random play through NativeEnvironment, all copies at once.

    python benchmarks/native_games.py --out record.json [--device cuda]

A position is one step of one copy: choosing a random legal move, playing it, the reward and the end, auto-reset, and
what the next mover sees and may do. One thread on the CPU. The recorded run is
benchmarks/results/2026-11-22-native-games.json, that of later games 2026-11-23-native-games-more.json beside it (0.7
seconds each); the table is in docs/games.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from envs import registry  # noqa: E402
from envs.batch import NativeEnvironment  # noqa: E402

GAMES = (
    "tictactoe", "connect_four", "mnk:4x4x3:gravity", "mnk:9x9x5", "hex:5", "hex:11", "othello:8", "breakthrough:8x8",
    "go:5", "go:9", "2048", "catch:5x10", "pig:3", "mnk3:4x4x3", "kuhn", "matrix:rps:10", "pendulum:5", "text:zen",
    "digits:4", "motion:pendulum", "cottage", "twin:1:connect_four", "scrambled:1:connect_four",
)  # fmt: skip
SIZES = (1, 64, 4096)


def speed(name: str, num_copies: int, seconds: float, device: str) -> float:
    """Positions a second of CPU time (of wall-clock time on another device), after some steps to warm up."""
    rules = registry.make(name).native
    assert rules is not None, f"{name} has no native rules"
    environment = NativeEnvironment(rules, num_copies, 0, device)
    now, generator = environment.reset(), torch.Generator(device).manual_seed(0)
    clock = time.process_time if device == "cpu" else time.perf_counter

    def step(shown):
        noise = torch.rand(shown.legal.shape, generator=generator, device=device)
        return environment.step(torch.where(shown.legal, noise, -1.0).argmax(1))

    for _ in range(5):
        now = step(now)
    steps, begin = 0, clock()
    while clock() - begin < seconds:
        now = step(now)
        if device != "cpu":
            torch.cuda.synchronize()
        steps += 1
    return steps * num_copies / (clock() - begin)


def main() -> int:
    """Measure all; one line each, and the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (default: 1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--out", type=Path, help="where to write the record as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, int]] = {}
    for name in GAMES:
        found[name] = {str(size): round(speed(name, size, args.seconds, args.device)) for size in SIZES}
        print(f"| `{name}` | " + " | ".join(f"{rate:,}" for rate in found[name].values()) + " |", flush=True)
    if args.out:
        record = {
            "schema": "native_games/1", "device": args.device, "threads": 1, "clock": "CPU time" if args.device == "cpu"
            else "wall clock", "torch": torch.__version__, "machine": platform.processor() or platform.machine(),
            "positions_a_second": found,
        }  # fmt: skip
        args.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
