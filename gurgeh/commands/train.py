"""gurgeh train: train one network on a growing set of games."""

from __future__ import annotations

import argparse
from typing import Any

EPILOG = """examples:
  gurgeh train configs/demo.yaml
  gurgeh train --games tictactoe,CartPole-v1 --name two schedule.updates=20000
  gurgeh train --resume runs/two
  gurgeh train --resume runs/two --add-game connect_four schedule.updates=40000

Ctrl-C saves a checkpoint and says how to go on."""


def add_parser(subparsers: Any) -> None:
    """`train`."""
    parser = subparsers.add_parser(
        "train", help="train one network on a growing set of games", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train one network on a growing set of games. Every setting below can be given as KEY=VALUE.",
    )  # fmt: skip
    parser.add_argument("arguments", nargs="*", metavar="CONFIG | KEY=VALUE", help="a YAML file, then settings")
    parser.add_argument("--games", help="games, separated by commas: names (`gurgeh games list`) or files")
    parser.add_argument(
        "--name", help="name of the run: the folder runs/NAME (default: the config's name and a number)"
    )
    parser.add_argument("--runs", default="runs", help="folder that runs are written to (default: %(default)s)")
    parser.add_argument("--resume", metavar="RUN", help="go on with the run in this folder")
    parser.add_argument(
        "--checkpoint", type=int, metavar="UPDATE", help="with --resume: from this checkpoint, not the last"
    )
    parser.add_argument("--add-game", action="append", default=[], metavar="NAME", help="with --resume: one game more")
    parser.add_argument("--no-evaluation", action="store_true", help="leave out the evaluation at the end")
    parser.settings = "gurgeh.config:RunConfig"


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the run is complete, 1 when a goal was missed, 130 when it was interrupted."""
    from gurgeh.session import train_session

    return train_session(args)
