"""`gurgeh replay`: watch recorded episodes, or prove that they happened as recorded."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EPILOG = """\
On a terminal: space pauses, any other key shows the next move, q stops.

  gurgeh replay runs/demo/evaluations/000012000-tictactoe-perfect-s0.jsonl.gz --episode 3
  gurgeh replay RECORD --verify
  gurgeh replay RECORD --episode 3 --export game.gif
"""


def add_parser(subparsers: Any) -> None:
    """The options of `gurgeh replay`."""
    parser = subparsers.add_parser(
        "replay", help="watch recorded episodes, or prove that they happened as recorded",
        description="Watch a recorded episode move by move, or play all of them again and compare everything.",
        epilog=EPILOG,
    )  # fmt: skip
    parser.add_argument("record", metavar="RECORD", help="a file that gurgeh evaluate saved (.jsonl.gz)")
    parser.add_argument("--episode", type=int, metavar="N", help="which episode (default: the first)")
    parser.add_argument("--verify", action="store_true", help="play every episode again and compare everything")
    parser.add_argument("--delay", type=float, default=0.5, metavar="S", help="seconds a move on a terminal (0.5)")
    parser.add_argument("--no-color", action="store_true", help="letters and digits instead of colours")
    parser.add_argument("--export", metavar="FILE", help="write the episode to FILE: .gif, .json, .txt, .html or .svg")


def run(args: argparse.Namespace) -> int:
    """Verify, export or show."""
    from gurgeh.replay import open_records, verify

    if args.delay < 0:
        raise ValueError(f"--delay must be at least 0 seconds, found {args.delay}")
    if args.export and Path(args.export).exists():
        raise FileExistsError(f"{args.export} exists already and is not overwritten; choose another name")
    _refuse_summary(Path(args.record))
    game, header, episodes = open_records(args.record)
    chosen = episodes
    if args.episode is not None:
        chosen = [episode for episode in episodes if episode.index == args.episode]
        if not chosen:
            last = episodes[-1].index if episodes else "none"
            raise ValueError(f"{args.record} has no episode {args.episode}; its last one is {last}")
    if args.verify:
        found = verify(game, chosen)
        print(f"verified: {found.episodes} episodes, {found.observations} observations")
        return 0
    if not chosen:
        raise ValueError(f"{args.record} has no episodes")
    if args.export:
        from gurgeh.export import export

        export(game, header, chosen[0], Path(args.export))
        print(f"wrote {args.export}")
        return 0
    _show(args, game, header, chosen[0])
    return 0


def _refuse_summary(path: Path) -> None:
    """`gurgeh evaluate` saves NAME.json beside NAME.jsonl.gz: easily taken for it."""
    record = path.with_suffix(".jsonl.gz")
    if path.suffix == ".json" and record.is_file():
        raise ValueError(f"{path} is the summary; the record is {record}")


def _show(args: argparse.Namespace, game: Any, header: Any, episode: Any) -> None:
    from rich.console import Console
    from rich.live import Live

    from gurgeh.drawing import Drawer
    from gurgeh.replay import frames

    console = Console(no_color=args.no_color or None, highlight=False)
    if not console.is_terminal:
        console.width = 120  # a file or a pipe: whole lines
    color = console.color_system is not None and not console.no_color
    size = (max(16, min(96, console.width - 48)), max(8, console.height - 4) if console.is_terminal else 24)
    drawer = Drawer(game.spec, header, episode, color, size)
    at = "" if header.step is None else f" at step {header.step}"
    console.print(f"{game.spec.name}: {' against '.join(header.players)}{at}, seed {episode.seed}", style="bold")
    if not console.is_terminal:
        for frame in frames(game, episode):
            console.print(drawer.draw(frame))
        return
    with _keys() as wait, Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for frame in frames(game, episode):
            live.update(drawer.draw(frame), refresh=True)
            if frame.action is not None and not wait(args.delay):
                break


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """A function that waits for a delay or a key and says whether to go on; keys work where stdin is a terminal."""
    import time

    if not sys.stdin.isatty():
        yield lambda delay: time.sleep(delay) or True
        return
    import select
    import termios
    import tty

    def pressed(delay: float | None) -> str:
        ready = select.select([sys.stdin], [], [], delay)[0]
        return sys.stdin.read(1) if ready else ""

    def wait(delay: float) -> bool:
        key = pressed(delay)
        if key == " ":
            key = pressed(None)  # until the next key
        return key != "q"

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield wait
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
