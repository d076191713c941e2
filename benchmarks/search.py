"""Our search against mctx and LightZero's C++ trees, on the same network, in the same run, in turn.

  python benchmarks/search.py --setup                               the peers' environments, once
  python benchmarks/search.py --out benchmarks/results/FILE.md      all rows
  python benchmarks/search.py --quick                               does everything work?

gurgeh/bench_problem.py has the network. Each side runs in a process and an environment of its own and is told over a
pipe what to time; only one works at a time. A round times every side once, in an order that changes from round to
round; ratios are medians over the rounds. Compiling is reported apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # instead of this folder, whose search.py would hide the package `search`

import numpy as np  # noqa: E402

from benchmarks import search_report  # noqa: E402
from benchmarks.peers.client import Worker, WorkerError, default_environments, python_of, set_up  # noqa: E402
from gurgeh.bench_problem import Row, actions_of, evaluate, make_arrays  # noqa: E402

PEERS = ("mctx", "lightzero")
POLICIES = ("gumbel", "puct")
BASE = Row(32, 50, 9, 64, 128)  # what the stretched rows start from

TABLE = (
    Row(1, 50, 9, 64, 128, name="t1"),
    Row(16, 50, 9, 64, 128, name="t2"),
    Row(128, 50, 9, 64, 128, name="t3"),
    Row(128, 50, 18, 256, 512, name="t4"),
    Row(512, 16, 18, 256, 512, name="t5"),
    Row(64, 200, 82, 128, 256, name="t6"),
)


def _stretched(name: str, **sizes: Any) -> Row:
    return dataclasses.replace(BASE, name=name, **sizes)


STRETCH = (
    *(_stretched(f"a{actions}", actions=actions) for actions in (18, 82, 362, 4672)),
    *(_stretched(f"b{batch}", batch=batch) for batch in (256, 1024, 4096)),
    *(_stretched(f"s{simulations}", simulations=simulations) for simulations in (100, 400, 800)),
    _stretched("flat", logit_scale=0.1),
    _stretched("peaked", logit_scale=4.0),
    _stretched("d256", width=256, hidden=512),
    _stretched("d512", width=512, hidden=1024),
)
ROWS = {row.name: row for row in (*TABLE, *STRETCH)}
GROUPS = {"table": tuple(row.name for row in TABLE), "stretch": tuple(row.name for row in STRETCH), "all": tuple(ROWS)}
QUICK = ("t1", "t2", "peaked")

SLOT = 0.1  # seconds that one side is timed for in one round
ONCE_ABOVE = 20.0  # seconds of one search above which it is timed once
SIDE_BUDGET = 8.0  # seconds of timing a side and row, after which its rounds end
TIMEOUT = 240.0  # seconds after which a side is given up in a row
TOLERANCE = 1e-4  # between the sides' networks


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line; errors end the program with one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = f"{', '.join(ROWS)}; table, stretch, all; or sizes as B/S/A/D/H, such as 64/50/9/64/128"
    parser.add_argument("--setup", action="store_true", help="make the peers' environments and stop")
    parser.add_argument("--venvs", type=Path, default=default_environments(), help="their folder (%(default)s)")
    parser.add_argument("--pip-flags", default="", help="with --setup: more words for pip, such as an index")
    parser.add_argument("--peers", default=",".join(PEERS), help="separated by commas, or none (%(default)s)")
    parser.add_argument("--rows", default="all", help=f"separated by commas: {names} (%(default)s)")
    parser.add_argument("--policies", default=",".join(POLICIES), help="separated by commas (%(default)s)")
    parser.add_argument("--repeats", type=int, help="rounds (5; with --quick 2)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="cores a side (%(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="write the result to this Markdown file")
    parser.add_argument("--json", type=Path, help="write every time of every side to this file")
    parser.add_argument("--quick", action="store_true", help=f"rows {', '.join(QUICK)} and short rounds: no result")
    args = parser.parse_args(argv)
    args.command = " ".join(["python benchmarks/search.py", *map(shlex.quote, sys.argv[1:] if argv is None else argv)])
    try:
        args.peers = _names(args.peers, PEERS, "--peers") if args.peers != "none" else []
        args.policies = _names(args.policies, POLICIES, "--policies")
        args.rows = _rows(",".join(QUICK) if args.quick and args.rows == "all" else args.rows)
    except ValueError as error:
        parser.error(str(error))
    if args.repeats is None:
        args.repeats = 2 if args.quick else 5
    if args.repeats < 1 or args.threads < 1:
        parser.error(f"--repeats and --threads must be at least 1, found {args.repeats} and {args.threads}")
    if not args.setup:
        for peer in args.peers:
            if not python_of(peer, args.venvs).exists():
                parser.error(f"no environment for {peer} in {args.venvs}: run with --setup, or with --peers none")
    for path in (args.out, args.json):
        if path is not None and not path.absolute().parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent}")
    return args


def _names(text: str, known: tuple[str, ...], option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ValueError(f"{option}: unknown {name!r}; choose from {', '.join(known)}")
    return names


def _rows(text: str) -> list[Row]:
    rows: list[Row] = []
    for name in (name.strip() for name in text.split(",")):
        if name in GROUPS:
            rows += [ROWS[member] for member in GROUPS[name]]
        elif name in ROWS:
            rows.append(ROWS[name])
        else:
            sizes = name.split("/")
            if len(sizes) != 5 or not all(size.isdigit() for size in sizes):
                raise ValueError(f"--rows: unknown {name!r}; choose from {', '.join((*GROUPS, *ROWS))}, or B/S/A/D/H")
            rows.append(Row(*map(int, sizes), name=name))
    return rows


class Contest:
    """The workers and the files that they exchange."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.args, self.folder = args, folder
        self.workers: dict[str, Worker] = {}
        self.hello: dict[str, dict[str, Any]] = {}

    def worker(self, side: str) -> Worker:
        """The side's worker, started when it is not running."""
        worker = self.workers.get(side)
        if worker is None or not worker.alive:
            args = self.args
            worker = self.workers[side] = Worker(side, python_of(side, args.venvs), args.threads, args.device)
            self.hello[side] = worker.ask({"do": "hello"}, TIMEOUT)
        return worker

    def measure(self, row: Row, policy: str) -> dict[str, Any]:
        """One row with one policy: the record that search_report makes lines of."""
        arrays: dict[str, Any] = {**make_arrays(row), "bare_actions": actions_of(row)}
        np.savez(self.folder / "arrays.npz", **arrays)
        expected = evaluate(arrays, arrays["bare_actions"][0])
        record: dict[str, Any] = {
            "row": dataclasses.asdict(row), "policy": policy, "entrants": {}, "failures": {}, "difference": 0.0
        }  # fmt: skip
        for side in ("ours", *self.args.peers):
            try:
                for name, first in self._first(side, row, policy).items():
                    record["entrants"][f"{side} {name}"] = {"first": first, "times": [], "once": False}
                record["difference"] = max(record["difference"], self._compare(side, expected))
            except WorkerError as error:
                record["failures"][side] = str(error)
        self._rounds(record)
        check(record)
        return record

    def _first(self, side: str, row: Row, policy: str) -> dict[str, Any]:
        message = {
            "do": "row", "row": dataclasses.asdict(row), "policy": policy,
            "arrays": str(self.folder / "arrays.npz"), "outputs": str(self.folder / f"{side}.npz"),
        }  # fmt: skip
        return self.worker(side).ask(message, TIMEOUT)["first"]

    def _compare(self, side: str, expected: tuple[np.ndarray, np.ndarray]) -> float:
        """The largest difference between a side's network and numpy's, from the file that it wrote."""
        after, head = expected
        wanted = {"embedding": after, "logits": head[:, :-2], "value": head[:, -2], "reward": head[:, -1]}
        with np.load(self.folder / f"{side}.npz") as file:
            largest = max(float(np.abs(file[key] - wanted[key.split()[-1]]).max()) for key in file.files)
        if not largest <= TOLERANCE:
            raise AssertionError(f"the network of {side} differs from numpy's by {largest:.1e}, above {TOLERANCE}")
        return largest

    def _rounds(self, record: dict[str, Any]) -> None:
        entrants = list(record["entrants"].items())
        for _, entrant in entrants:
            if entrant["first"]["seconds"] > ONCE_ABOVE:
                entrant.update(times=[entrant["first"]["seconds"]], once=True)
        slot = SLOT / 5 if self.args.quick else SLOT
        for i in range(self.args.repeats):
            turned = entrants[i % len(entrants) :] + entrants[: i % len(entrants)]
            for name, entrant in turned if i % 2 == 0 else reversed(turned):
                side, _, own_name = name.partition(" ")
                if entrant["once"] or side in record["failures"] or sum(entrant["times"]) > SIDE_BUDGET:
                    continue
                time.sleep(0.01)  # threads of the side before may still be spinning
                try:
                    answer = self.worker(side).ask({"do": "time", "entrant": own_name, "at_least": slot}, TIMEOUT)
                    entrant["times"].append(answer["seconds"])
                except WorkerError as error:
                    record["failures"][side] = str(error)
        for side in record["failures"]:
            record["entrants"] = {
                name: entrant for name, entrant in record["entrants"].items() if name.partition(" ")[0] != side
            }

    def close(self) -> None:
        """Ends the workers."""
        for worker in self.workers.values():
            worker.close()


def check(record: dict[str, Any]) -> None:
    """Raises AssertionError unless every side made the same number of evaluations and its visits say so."""
    simulations = record["row"]["simulations"]
    for name, entrant in record["entrants"].items():
        first = entrant["first"]
        if "evaluations" not in first:
            continue
        found = {first["evaluations"], first.get("calls", simulations)}
        if found != {simulations} or not first["visits_agree"]:
            raise AssertionError(f"{name} made {found} evaluations a tree in place of {simulations}, or lost visits")


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    args = parse(argv)
    if args.setup:
        try:
            set_up(args.peers, args.venvs, args.device, shlex.split(args.pip_flags))
        except subprocess.CalledProcessError as error:
            print(f"search.py: error: {shlex.join(map(str, error.cmd))} failed", file=sys.stderr)
            return 2
        return 0
    started, load = time.time(), os.getloadavg()[0]
    records: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []  # rows in which our side gave no time
    with tempfile.TemporaryDirectory(prefix="gurgeh-bench-") as folder:
        contest = Contest(args, Path(folder))
        try:
            for row in args.rows:
                for policy in args.policies:
                    begin = time.time()
                    record = contest.measure(row, policy)
                    (failed if "ours" in record["failures"] else records).append(record)
                    print(f"{search_report.progress(record)}  ({time.time() - begin:.0f} s)", flush=True)
        finally:
            contest.close()
        hello = contest.hello
    result = {
        "command": args.command, "date": time.strftime("%Y-%m-%d", time.localtime(started)), "load": load,
        "seconds": time.time() - started, "machine": search_report.machine(), "sides": hello, "threads": args.threads,
        "device": args.device, "quick": args.quick, "repeats": args.repeats, "records": records,
        "failed": failed,
    }  # fmt: skip
    if not records:
        print("search.py: error: our side gave no time in any row", file=sys.stderr)
        return 1
    search_report.print_table(result)
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.out is not None:
        args.out.write_text(search_report.markdown(result))
        print(f"wrote {args.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
