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
        description="Write one self-contained HTML page about one or several runs, with each figure as SVG and PNG.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, such as runs/NAME")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where to write (default: RUN/report; of several runs, report-NAMES beside them)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the page and print its path."""
    from gurgeh.report import write_report

    runs = [Path(name) for name in args.runs]
    print(write_report(runs, Path(args.output) if args.output else None))
    return 0
