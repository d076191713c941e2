"""`gurgeh bench search`: how fast the batched tree search is on this machine, beside the bare network."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gurgeh.search_bench import Measured

HELP = "measure this machine"
EPILOG = """\
The network is an MLP: embedding D -> H -> D, then one linear head for prior logits, value and reward. `bare` is that
network alone, called as often as the search calls it: the limit of what a search can reach. Several values of a size
are all measured.

  gurgeh bench search
  gurgeh bench search --batch 1 16 256 --simulations 16 --policy gumbel
  gurgeh bench search --actions 362 --width 256 --hidden 512 --threads 1
"""
SIZES = {
    "batch": ([1, 16, 128], "trees that grow together, B"),
    "simulations": ([50], "network evaluations a tree"),
    "actions": ([9], "actions, A"),
    "width": ([64], "numbers in an embedding, D"),
    "hidden": ([128], "hidden units, H"),
}


def add_parser(subparsers: Any) -> None:
    """Add `bench` and its subcommand."""
    parser = subparsers.add_parser("bench", help=HELP, description="Measure how fast parts of Gurgeh are here.")
    parts = parser.add_subparsers(dest="bench_command", metavar="search", required=True)
    command = parts.add_parser(
        "search", help="the batched tree search beside the bare network", epilog=EPILOG,
        description="Measure the batched tree search on this machine, beside the bare network.",
    )  # fmt: skip
    for name, (default, text) in SIZES.items():
        shown = " ".join(map(str, default))
        command.add_argument(
            f"--{name}", type=int, nargs="+", default=default, metavar="N", help=f"{text} (default: {shown})"
        )
    command.add_argument(
        "--policy", nargs="+", choices=["gumbel", "puct"], default=["gumbel", "puct"], help="default: both"
    )
    command.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    command.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds; medians are shown (default: 5)")
    command.add_argument("--threads", type=int, metavar="N", help="threads of torch and the search (default: torch's)")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Measure every combination of the sizes and show it."""
    for name in ("repeats", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, found {value}")
    for name in SIZES:
        if min(getattr(args, name)) < 1:
            raise ValueError(f"--{name} must be at least 1, found {min(getattr(args, name))}")
    import torch
    from rich.console import Console

    from gurgeh import search_bench
    from gurgeh.bench_problem import Row

    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch finds no CUDA device here; leave out --device cuda, or install a torch with CUDA")
    device = torch.device(args.device)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    rows = [Row(*sizes) for sizes in itertools.product(*(getattr(args, name) for name in SIZES))]
    console = Console(highlight=False, stderr=args.json)
    measured: list[Measured] = []
    with console.status("compiling the kernels (half a minute in a fresh install)") as status:
        search_bench.warm_up(device)
        for policy in args.policy:
            for row in rows:
                status.update(f"measuring, {len(measured) + 1} of {len(args.policy) * len(rows)}")
                measured.append(search_bench.measure(row, policy, device, args.repeats))
    if args.json:
        import json

        where = {"device": str(device), "threads": torch.get_num_threads(), "torch": torch.__version__}
        print(json.dumps({**where, "rows": [dataclasses.asdict(one) for one in measured]}, indent=1))
    else:
        _show(console, measured, f"{_device_name(device)}, torch {torch.__version__}")
    return 0


def _device_name(device: Any) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"


def _show(console: Any, measured: list[Measured], where: str) -> None:
    from rich.table import Table

    if not console.is_terminal:
        console.width = 140  # a file or a pipe: whole lines
    models = list(measured[0].searches)
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", title=f"Batched tree search ({where})")
    table.add_column("policy")
    for column in ("B", "sims", "A", "D", "H", *models, "bare", "search/bare", "us a sim", "MiB"):
        table.add_column(column, justify="right")
    for one in measured:
        row, best = one.row, max(one.searches.values())
        table.add_row(
            one.policy, *(str(size) for size in (row.batch, row.simulations, row.actions, row.width, row.hidden)),
            *(_bold(_speed(speed), speed == best) for speed in one.searches.values()), _speed(max(one.bare.values())),
            f"{one.ratio:.2f}", f"{1e6 * row.batch / best:.1f}",
            "–" if one.memory is None else f"{one.memory / 2**20:.1f}",
        )  # fmt: skip
    console.print(table)
    console.print(
        "\nSimulations a second, all trees together, of a search with the network run in each way: "
        f"{', '.join(models)}.\nbare: the network alone, the fastest of these ways. search/bare: time of the fastest "
        "search over that.\nus a sim: of the whole batch. MiB: by which memory grew during a search, at its peak."
    )


def _bold(text: str, bold: bool) -> str:
    return f"[bold]{text}[/bold]" if bold else text


def _speed(speed: float) -> str:
    return f"{speed / 1e6:.2f} M" if speed >= 1e6 else f"{speed / 1e3:.3g} k"
