"""Every game of an ecosystem by its default parameters: which keep the contract, which do not and why, how fast.

    python benchmarks/adapter_games.py openspiel --out record.json [--names hex,chess] [--moves 60] [--seconds 0.5]

Each game is tried in a process of its own (forked, ended after --limit seconds of wall clock): made, held to the
contract with random legal moves (`envs.check`), then timed: positions a second of CPU time with 1 and with 16 copies,
random legal moves and auto-reset included. For OpenSpiel the games that are not offered are listed with the reason. The
recorded runs are benchmarks/results/*-adapters-*.json; docs/adapters.md quotes them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import multiprocessing
import platform
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from envs import registry  # noqa: E402
from envs.check import check  # noqa: E402
from envs.game import Game  # noqa: E402
from envs.trial import random_move  # noqa: E402


def speed(game: Game, copies: int, seconds: float) -> int:
    """Positions a second of CPU time."""
    environment, random = game.environment(copies, 0), np.random.default_rng(0)
    now = environment.reset()
    steps, begin = 0, time.process_time()
    while time.process_time() - begin < seconds:
        now = environment.step(random_move(environment.spec, now.legal, random))
        steps += 1
    rate = steps * copies / (time.process_time() - begin)
    environment.close()
    return round(rate)


def examine(name: str, moves: int, seconds: float) -> dict[str, Any]:
    """What one game is, what the contract says of it, and its speed."""
    found: dict[str, Any] = {"name": name}
    begin = time.perf_counter()
    try:
        game = registry.make(name)
    except ValueError as error:
        return {**found, "result": "refused", "reason": str(error)}
    spec = game.spec
    found |= {
        "observation": f"{spec.observation.kind.value} {list(spec.observation.shape)}", "actions": spec.num_actions,
        "players": spec.num_players, "perfect": spec.perfect_information, "stochastic": spec.stochastic,
        "max_length": spec.max_length, "made_in": round(time.perf_counter() - begin, 2),
    }  # fmt: skip
    report = check(game, num_copies=2, num_moves=moves)
    found["result"] = "works" if report.ok else "breaks"
    found["findings"] = [f"{check}: {finding}"[:400] for check, finding in report.findings()]
    found["skipped"] = [result.check for result in report.results if result.skipped]
    found["checked_in"] = round(time.perf_counter() - begin, 2)
    found["positions_a_second"] = {str(copies): speed(game, copies, seconds) for copies in (1, 16)} if seconds else {}
    return found


def _child(pipe: Any, name: str, moves: int, seconds: float) -> None:
    try:
        pipe.send(examine(name, moves, seconds))
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
        pipe.send({"name": name, "result": "raises", "reason": reason[:400]})


def attempt(name: str, moves: int, seconds: float, limit: float) -> dict[str, Any]:
    """`examine` in a process of its own."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(send, name, moves, seconds), daemon=True)
    process.start()
    send.close()
    try:
        if not receive.poll(limit):
            return {"name": name, "result": "slow", "reason": f"not done within {limit:g} s"}
        return receive.recv()
    except EOFError:
        process.join()
        return {"name": name, "result": "dies", "reason": f"the process ended with code {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def main() -> int:
    """Try all, one line each, and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prefix", help="an adapter: openspiel, minigrid, pettingzoo ...")
    parser.add_argument("--names", help="only these, separated by semicolons (default: all that the adapter lists)")
    parser.add_argument("--every", type=int, default=1, help="only every Nth name (default: 1)")
    parser.add_argument("--moves", type=int, default=60, help="random moves in each of two copies (default: 60)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each timing, 0 for none (default: 0.3)")
    parser.add_argument("--limit", type=float, default=60, help="seconds for one game (default: 60)")
    parser.add_argument("--out", type=Path, help="where to write the record as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    adapter = importlib.import_module(f"envs.adapters.{args.prefix}")
    names = args.names.split(";") if args.names else adapter.names()[:: args.every]
    with contextlib.suppress(ValueError):  # its own process will say so
        registry.make(names[0])  # import once, before forking
    rows = []
    for name in names:
        rows.append(attempt(name, args.moves, args.seconds, args.limit))
        row = rows[-1]
        said = row.get("reason") or "; ".join(row.get("findings", [])) or row.get("positions_a_second")
        print(f"{row['result']:8} {name}: {row.get('observation', '')} {said}", flush=True)
    if args.prefix == "openspiel" and not args.names:
        refused = [(kind.short_name, adapter.refusal(kind)) for kind in adapter._kinds()]
        rows += [{"name": name, "result": "not offered", "reason": why} for name, why in refused if why]
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["result"]] = counts.get(row["result"], 0) + 1
    print(counts)
    if args.out:
        distribution = adapter.PACKAGE[1] if hasattr(adapter, "PACKAGE") else "gymnasium"
        record = {
            "schema": "adapter_games/1", "package": f"{distribution} {importlib.metadata.version(distribution)}",
            "numpy": np.__version__, "torch": torch.__version__, "machine": platform.machine(),
            "moves": args.moves, "copies": 2, "every": args.every, "clock": "CPU time", "counts": counts, "games": rows,
        }  # fmt: skip
        args.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
