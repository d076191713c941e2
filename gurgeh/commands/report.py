"""gurgeh report: one HTML page about one or several runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """`report`."""
    parser = subparsers.add_parser(
        "report",
        help="write one HTML page about a run",
        description="Write one self-contained HTML page about one or several runs: the figures that their records "
        "support, each beside its null, and for the others what would be needed.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, such as runs/NAME, or of several")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where to write (default: RUN/report; of several runs, report-NAMES beside them)",
    )
    parser.add_argument(
        "--figures", nargs="?", const="", metavar="DIR",
        help="write each figure as SVG and PNG too (default place: figures beside the page)",
    )  # fmt: skip
    parser.add_argument(
        "--arena", nargs="+", action="extend", default=[], metavar="DIR",
        help="folders or reports of arenas in which one checkpoint plays with different numbers of simulations",
    )  # fmt: skip
    parser.add_argument(
        "--records", nargs="+", action="extend", default=[], metavar="FILE",
        help="JSON lines of records over several runs (gurgeh transfer, gurgeh scale)",
    )  # fmt: skip
    parser.add_argument(
        "--falls", action="store_true", help="look for sudden falls where a run did not (takes a while)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the page and print its path."""
    from gurgeh.report import Options, default_folder, write_report
    from gurgeh.transfer_data import runs_in

    runs = runs_in(args.runs)
    place = default_folder([Path(name) for name in args.runs])  # of a folder of runs: in that folder
    output = Path(args.output) if args.output else place
    figures = None if args.figures is None else Path(args.figures) if args.figures else output / "figures"
    arenas, records = tuple(map(Path, args.arena)), tuple(map(Path, args.records))
    print(write_report(runs, options=Options(output, figures, arenas, records, args.falls)))
    return 0
