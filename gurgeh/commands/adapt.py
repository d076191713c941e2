"""gurgeh adapt: train held-out games from a run's weights, from scratch, and from runs of single games."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EPILOG = """examples:
  gurgeh adapt runs/boards --games hex:3 --single runs/tictactoe --single runs/misere
  gurgeh adapt runs/boards --games hex:3,mnk:4x3x3 --checkpoints 2000,4000,last --split connection --seeds 5
  gurgeh adapt runs/boards-0 runs/boards-1 runs/boards-2 --games hex:3      one source, a seed each
  gurgeh adapt --resume runs/adapt-boards --seeds 8                         go on, with more seeds

A study is a folder of runs, one for each arm, game and seed: from scratch, from RUN, from every --single. They share
configuration, budget and seed, and differ in their first weights alone. What comes out is shown again by
`gurgeh transfer STUDY`; `gurgeh monitor STUDY` finds its events again. Ctrl-C saves; --resume goes on."""


def add_parser(subparsers: Any) -> None:
    """`adapt`."""
    parser = subparsers.add_parser(
        "adapt", help="how fast a run learns held-out games, against scratch and single games", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train held-out games from a run's weights, from scratch and from runs of single games, and "
        "compare. Settings of the adaptation runs can be given as KEY=VALUE (gurgeh train --help lists them); they "
        "begin as those of the first RUN.",
    )  # fmt: skip
    parser.add_argument("arguments", nargs="*", metavar="RUN | KEY=VALUE", help="runs to start from, then settings")
    parser.add_argument("--games", default="", help="held-out games, separated by commas")
    parser.add_argument(
        "--single", action="append", default=[], metavar="RUN", help="a run of one game, to compare with; may be given "
        "several times, and the best one on a held-out game counts as the nearest",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoints", metavar="UPDATE,...",
        help="checkpoints or snapshots of RUN to start from: updates, or `last` (default)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds of every arm (3); intervals need at least 3")
    parser.add_argument(
        "--budget", type=int, metavar="UPDATES", help="updates of every run (default: RUN's, divided by its games)"
    )
    parser.add_argument(
        "--split", default="", help="a split by family that the games must respect: a name or PATH.yaml"
    )
    parser.add_argument("--name", help="name of the study: the folder runs/NAME (default: adapt-RUN)")
    parser.add_argument("--runs", default="runs", help="folder that the study is written to (default: %(default)s)")
    parser.add_argument("--resume", metavar="STUDY", help="go on with a study; only --seeds may be given beside it")


def run(args: argparse.Namespace) -> int:
    """Train what is missing, then show the study; 0, or 130 when it was interrupted."""
    from gurgeh.adapt import begin_study, is_done, make_plan, read_plan, train_one, with_seeds
    from gurgeh.commands.transfer import print_study
    from gurgeh.configure import split_list
    from gurgeh.transfer_data import write_study

    runs = [word for word in args.arguments if "=" not in word]
    overrides = [word for word in args.arguments if "=" in word]
    if args.resume:
        asked = (args.games, args.single, args.name, args.split)
        if runs or overrides or any(asked) or args.budget is not None or args.checkpoints is not None:
            raise ValueError("--resume takes everything from the study's own study.json; give only --seeds")
        folder = Path(args.resume)
        plan = read_plan(folder)
        if args.seeds is not None:
            plan = with_seeds(folder, plan, args.seeds)
    else:
        if not runs:
            raise ValueError("name at least one run to start from, such as runs/NAME")
        checkpoints = split_list("last" if args.checkpoints is None else args.checkpoints)
        plan = make_plan(
            runs, split_list(args.games), args.single, [_checkpoint(word) for word in checkpoints],
            3 if args.seeds is None else args.seeds, args.budget, args.split, overrides,
        )  # fmt: skip
        folder = Path(args.runs) / (args.name or f"adapt-{Path(runs[0]).resolve().name}")
        begin_study(folder, plan)
    planned = list(plan.runs())
    for number, (name, game, seed, source) in enumerate(planned, 1):
        if is_done(folder / name, plan.budget):
            continue
        print(f"{number} of {len(planned)}: {name}", flush=True)
        if not train_one(folder / name, plan.config_of(game, seed, source), source):
            print(f"stopped and saved; go on with: gurgeh adapt --resume {folder}")
            return 130
    records, events = write_study(folder)
    print_study(folder, records, events)
    return 0


def _checkpoint(word: str) -> int | None:
    if word == "last":
        return None
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"--checkpoints {word!r} is neither an update nor `last`")
    return int(word)
