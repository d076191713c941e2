"""Waves against the sequential order: how often results differ, and what is gained.

    python benchmarks/search_waves.py [--positions 1920] [--out FILE.md]

Differences: random tables of states as models (4, 9 and 18 actions, values and rewards normal, 10 % terminal edges,
all Gumbel noise on). Gains: the benchmark network of `gurgeh bench search` (D 64, H 128, 9 actions), torch eager and
native, one thread, pairs in turn, medians.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "search")]

from models import random_model  # noqa: E402

import search  # noqa: E402
from gurgeh import search_bench  # noqa: E402
from gurgeh.bench_problem import Row, make_arrays  # noqa: E402
from search import GumbelConfig, NodeRange, Root, RowScale, TreeRange  # noqa: E402

SETTINGS = [
    (RowScale(), 8),
    (RowScale(), 16),
    (RowScale(), 32),
    (TreeRange(), 16),
    (NodeRange(), 16),
    (NodeRange(), 32),
]


def difference(unit: search.Unit, simulations: int, positions: int) -> str:
    """One line of the first table."""
    calls, visits, actions, target, count = [], 0, 0, 0.0, 0
    batch = 64
    for index in range(positions // batch):
        model = random_model(index, (4, 9, 18)[index % 3], 1, 0.1, 1.0)
        root = model.root(batch, 1.0, index)
        called = []

        def step(embedding, action, row, model=model, called=called):
            called.append(len(row))
            return model.step(embedding, action)

        first = search.gumbel_muzero(root, model.step, simulations, GumbelConfig(unit=unit))
        second = search.gumbel_muzero(root, step, simulations, GumbelConfig(unit=unit, waves=True))
        calls.append(len(called))
        visits += int((first.visits != second.visits).any(1).sum())
        actions += int((first.action != second.action).sum())
        target += float((first.policy_target - second.policy_target).abs().sum()) / 2
        count += batch
    name = type(unit).__name__
    return (
        f"| `{name}` | {simulations} | {statistics.mean(calls):.1f} | {visits / count:.1%} | {actions / count:.1%} | "
        f"{target / count:.4f} |"
    )


def gain(batch: int, simulations: int) -> str:
    """One line of the second table: microseconds a simulation and row, sequential and with waves."""
    cells = []
    row = Row(batch, simulations, 9, 64, 128)
    arrays = make_arrays(row)
    generator = torch.Generator().manual_seed(0)
    root = Root(
        torch.randn(batch, 9, generator=generator), torch.randn(batch, 1, generator=generator),
        torch.randn(batch, 64, generator=generator), torch.ones(batch, 9, dtype=torch.bool),
        torch.zeros(batch, dtype=torch.int64), torch.arange(batch),
    )  # fmt: skip
    for maker in (search_bench.eager, search_bench.native):
        model = maker(arrays, torch.device("cpu"))
        assert model is not None
        step = model.recurrent_fn
        most = batch * 16
        discount, seats = torch.full((most,), 0.997), torch.zeros(most, dtype=torch.int64)

        def with_row(embedding, action, row, step=step, discount=discount, seats=seats):
            # The benchmark's own step has B rows of these two; here there are as many as the wave is wide.
            return step(embedding, action)._replace(discount=discount[: len(row)], to_play=seats[: len(row)])

        in_waves = step if isinstance(step, search.NativeModel) else with_row
        times: dict[bool, list[float]] = {False: [], True: []}
        for repeat in range(23):
            for waves in (False, True):
                begin = time.perf_counter()
                search.gumbel_muzero(
                    root, in_waves if waves else step, simulations, GumbelConfig(waves=waves), check=False
                )
                if repeat >= 2:
                    times[waves].append(time.perf_counter() - begin)
        one, other = (statistics.median(times[waves]) / batch / simulations * 1e6 for waves in (False, True))
        ratio = statistics.median(a / b for a, b in zip(times[False], times[True], strict=True))
        cells.append(f"{one:.2f} | {other:.2f} | {ratio:.2f}")
    return f"| {batch} | {simulations} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=1920, help="a setting (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the tables here, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| unit | simulations | calls | rows with other visits | rows with another action | target, mean total "
             "variation |", "|---|---|---|---|---|---|"]  # fmt: skip
    lines += [difference(unit, simulations, args.positions) for unit, simulations in SETTINGS]
    lines += ["", "| B | simulations | eager, us | waves, us | gain | native, us | waves, us | gain |",
              "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    lines += [gain(batch, simulations) for batch in (1, 4, 16, 64, 256) for simulations in (16, 32)]
    text = "\n".join(lines)
    print(text)
    if args.out:
        head = (
            "# Waves against the sequential order\n\n"
            f"`python benchmarks/search_waves.py --positions {args.positions}`, "
            f"{datetime.date.today()}, {platform.processor() or platform.machine()}, one thread, torch "
            f"{torch.__version__}.\n\n"
        )
        args.out.write_text(head + text + "\n")


if __name__ == "__main__":
    main()
