"""The ways to run one small network on the CPU: bare, and inside a search.

    python benchmarks/search_network.py [--out FILE.md]

The benchmark network of `gurgeh bench search` in eager torch, traced and frozen by TorchScript, compiled by
torch.compile (needs a C++ compiler; its compile time is apart), and native (`search.MLP`), with one and two threads.
Microseconds, medians of 15 rounds in turn: of one call with B rows, and of one simulation of a Gumbel search (50).
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder's search.py would hide the package `search`

import search  # noqa: E402
from gurgeh import search_bench  # noqa: E402
from gurgeh.bench_problem import Row, make_arrays  # noqa: E402
from search import Root  # noqa: E402

CPU = torch.device("cpu")
SIMULATIONS = 50


def compiled(arrays, device):
    """torch.compile of the same operations."""
    return search_bench._model(torch.compile(search_bench._forward(arrays, device), dynamic=False), arrays, device)


MAKERS = {"eager": search_bench.eager, "traced": search_bench.traced, "torch.compile": compiled,
          "native": search_bench.native}  # fmt: skip


def measure(batch: int, width: int, hidden: int, threads: int) -> list[str]:
    """A line for each way."""
    torch.set_num_threads(threads)
    arrays = make_arrays(Row(batch, SIMULATIONS, 9, width, hidden))
    generator = torch.Generator().manual_seed(0)
    root = Root(
        torch.randn(batch, 9, generator=generator), torch.randn(batch, 1, generator=generator),
        torch.randn(batch, width, generator=generator), torch.ones(batch, 9, dtype=torch.bool),
        torch.zeros(batch, dtype=torch.int64), torch.arange(batch),
    )  # fmt: skip
    actions = [torch.randint(9, (batch,), generator=generator) for _ in range(SIMULATIONS)]
    ways, first = {}, {}
    for name, maker in MAKERS.items():
        begin = time.perf_counter()
        model = maker(arrays, CPU)
        with torch.no_grad():
            model.bare(root.embedding, actions)
        first[name] = time.perf_counter() - begin
        ways[name] = {
            "bare": lambda model=model: model.bare(root.embedding, actions),
            "search": lambda model=model: search.gumbel_muzero(root, model.recurrent_fn, SIMULATIONS, check=False),
        }
    times = {(name, what): [] for name in ways for what in ("bare", "search")}
    with torch.no_grad():
        for repeat in range(17):
            for name, what in times:
                begin = time.perf_counter()
                ways[name][what]()
                if repeat >= 2:
                    times[name, what].append((time.perf_counter() - begin) / SIMULATIONS * 1e6)
    lines = []
    for name in ways:
        bare, whole = (statistics.median(times[name, what]) for what in ("bare", "search"))
        made = f"{first[name]:.1f}" if name == "torch.compile" else "-"
        lines.append(f"| {batch} | {width}, {hidden} | {threads} | {name} | {bare:.1f} | {whole:.1f} | {made} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    search.warm_up()
    lines = ["| B | D, H | threads | network | one call, us | one simulation, us | compile, s |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for batch, width, hidden in ((1, 64, 128), (16, 64, 128), (128, 64, 128), (128, 256, 512)):
        for threads in (1, 2):
            lines += measure(batch, width, hidden, threads)
    text = "\n".join(lines)
    print(text)
    if args.out:
        command = "`python benchmarks/search_network.py`"
        where = f"{datetime.date.today()}, {platform.machine()}, 2 cores, torch {torch.__version__}"
        args.out.write_text(f"# Ways to run a small network on the CPU\n\n{command}, {where}.\n\n{text}\n")


if __name__ == "__main__":
    main()
