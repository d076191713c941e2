"""`gurgeh games list | info | new | check | play | splits`: what can be played, how to add to it, whether a new game
keeps the contract, and which families of games are held out."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any

from gurgeh.commands._seed import as_seed

if TYPE_CHECKING:
    from rich.console import Console

HELP = "list the games, describe, write, check or play one"
CHECK_EPILOG = """\
  gurgeh games check my_game.py             what is wrong with it, if anything
  gurgeh games check my_game.py --record    the same, and record games that it must play alike for ever
  gurgeh games check                        every native game and plug-in, one line each
"""
PLAY_EPILOG = """\
A move is its number or its label; a cell also ROW COLUMN. m lists the moves, q quits.

  gurgeh games play connect_four --opponent mcts:200
  gurgeh games play tictactoe --opponent runs/demo --seat 1
  gurgeh games play my_game.py --opponent self
  gurgeh games play connect_four --moves 3,3,2
  gurgeh games play connect_four < moves.txt
"""


def add_parser(subparsers: Any) -> None:
    """Add `games` and its subcommands."""
    parser = subparsers.add_parser("games", help=HELP, description=HELP)
    actions = parser.add_subparsers(
        dest="games_command", metavar="list | info | new | check | play | splits", required=True
    )
    listed = actions.add_parser("list", help="every game that can be named", description="Every game that has a name.")
    listed.add_argument("text", nargs="?", default="", help="only names that contain this")
    listed.add_argument("--catalogue", action="store_true", help="the small solved games: name, positions, value")
    info = actions.add_parser("info", help="what a game is", description="What a game is, without playing it.")
    info.add_argument("game", help="a name or a file: tictactoe, CartPole-v1, ale/Pong:100k, my_game.py:Name")
    new = actions.add_parser(
        "new",
        help="write the file of a new game, which passes the check at once",
        description="Write NAME.py: a small game that passes the check, to be changed into yours.",
    )
    new.add_argument("name", help="of the game and its file: small letters, digits and _")
    new.add_argument("--kind", choices=("native", "gymnasium"), default="native",
                     help="batched rules on tensors, or a Gymnasium environment (default: native)")  # fmt: skip
    new.add_argument("--folder", default=".", metavar="DIR", help="where the file goes (default: here)")
    check = actions.add_parser(
        "check",
        help="hold a game to the contract; exit code 2 when it breaks it",
        description="Play random games and say what is wrong, where, and what to do.",
        epilog=CHECK_EPILOG,
    )
    check.add_argument(
        "game", nargs="?", help="a name or a file, my_game.py or my_game.py:Name (default: every native game)"
    )
    check.add_argument("--record", action="store_true", help="record games, where there are none or of an old version")
    check.add_argument("--copies", type=int, default=4, help="how many copies are played at once (default: 4)")
    check.add_argument("--moves", type=int, default=200, help="moves in each copy (default: 200)")
    check.add_argument("--seed", type=as_seed, default=0, help="seed of the moves and the episodes (default: 0)")
    play = actions.add_parser(
        "play",
        help="play a game at the terminal, or a script of moves",
        description="Play one game at the terminal, or the moves of a script, and stop.",
        epilog=PLAY_EPILOG,
    )
    play.add_argument("game", help="a name or a file")
    play.add_argument("--opponent", metavar="WHO", help="random (default), perfect, tactician1 or 2, mcts:N, the "
                      "directory of a run; self: all seats are yours")  # fmt: skip
    play.add_argument("--seat", type=int, metavar="N", help="where you sit; seat 0 begins (default: 0)")
    play.add_argument("--simulations", type=int, metavar="S", help="of an opponent that is a run (default: 16)")
    play.add_argument("--seed", type=as_seed, default=0, metavar="N", help="of chance and of the opponent (default: 0)")
    play.add_argument("--moves", metavar="M,M,...", help="play these moves and stop (default: ask, or read stdin)")
    play.add_argument("--no-color", action="store_true", help="letters and digits instead of colours")
    splits = actions.add_parser(
        "splits",
        help="held-out splits by family",
        description="Which families of games are trained on, and which are held out.",
    )
    splits.add_argument("split", nargs="?", help="one split, with its games: a name or a file PATH.yaml")


def run(args: argparse.Namespace) -> int:
    """Exit code 2 when a checked game breaks the contract, else 0."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if args.games_command == "list":
        return _catalogue(console, args.text) if args.catalogue else _list(console, args.text)
    if args.games_command == "info":
        return _info(console, args.game)
    if args.games_command == "new":
        return _new(console, args)
    if args.games_command == "check":
        return _check(console, args)
    if args.games_command == "play":
        return _play(args)
    if args.games_command == "splits":
        return _splits(console, args.split)
    raise ValueError(f"unknown command {args.games_command!r}: list, info, new, check, play or splits")


def _list(console: Console, text: str) -> int:
    """Names by ecosystem on a terminal, one a line elsewhere."""
    from rich.columns import Columns

    from envs import registry

    found = 0
    for origin, names, missing in registry.groups():
        names = [name for name in names if text.lower() in name.lower()]
        found += len(names)
        if not console.is_terminal:
            print("".join(f"{name}\n" for name in names), end="")
            continue
        if names or missing:
            console.print(
                f"\n[bold]{origin}[/bold] ({len(names)})" + (f"  [yellow]{missing}[/yellow]" if missing else "")
            )
        console.print(Columns(names, column_first=True, padding=(0, 2)))
    if not found:
        raise ValueError(f"no game's name contains {text!r}; `gurgeh games list` shows every name")
    if console.is_terminal:
        for syntax in registry.families().values():
            console.print(f"\nAlso {syntax}", markup=False)
        console.print("\nA game of your own: docs/adding-a-game.md")
    return 0


def _catalogue(console: Console, text: str) -> int:
    """A table on a terminal, tab-separated lines elsewhere."""
    from rich.table import Table

    from envs import catalogue

    found = catalogue.load()
    entries = [entry for entry in found.entries if text.lower() in entry.name]
    if not entries:
        raise ValueError(f"no name in the catalogue contains {text!r}; leave it out to see all {len(found.entries)}")
    result = {1: "win", 0: "draw", -1: "loss"}
    rows = [
        (entry.name, str(entry.positions), str(entry.reachable), result[entry.value], str(entry.plies))
        for entry in entries
    ]
    if not console.is_terminal:
        print("".join("\t".join(row) + "\n" for row in rows), end="")
        return 0
    table = Table("name", "positions to move in", "with ends", "who begins", "longest game", box=None)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"{len(rows)} games; catalogue {found.hash[:16]}, version {found.game_version} of the games")
    return 0


def _splits(console: Console, name: str | None) -> int:
    """All splits, or the games of one: those that have a name here and whose package is installed."""
    from envs import registry, splits

    for split in map(splits.load, [name] if name else splits.names()):
        console.print(f"{split.name}, version {split.version}, {split.hash}: {split.description}", markup=False)
        console.print(f"  train:    {', '.join(split.train)}", markup=False)
        console.print(f"  held out: {', '.join(split.held_out)}", markup=False)
        if name:
            native = next(names for origin, names, _ in registry.groups() if origin == "native")
            sides = {}
            for game in native:
                with contextlib.suppress(registry.MissingExtraError):
                    sides[game] = split.side(registry.make(game).spec)
            for side in (splits.TRAIN, splits.HELD_OUT, None):
                games = [game for game, found in sides.items() if found == side]
                label = side.replace("_", " ") if side else "on neither side"
                console.print(f"native games, {label}: {', '.join(games) or 'none'}", markup=False)
    return 0


def _info(console: Console, name: str) -> int:
    from rich.table import Table

    from envs import registry
    from envs.reference_scores import reference

    game = registry.make(name)
    spec = game.spec
    keys = spec.action_keys
    shape = " x ".join(map(str, spec.observation.shape))
    low, high = spec.reward_range
    known = reference(game.name)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {
        "name": f"{spec.name}, version {spec.version}" + (f" ({game.name})" if game.name != spec.name else ""),
        "family": spec.family,
        "rules": "native: batched, pure functions on tensors" if game.native else "a wrapped environment",
        "players": f"{spec.num_players}" + (", zero-sum" if spec.zero_sum else ""),
        "observation": f"{spec.observation.kind.value} {shape}, {str(spec.observation.dtype).removeprefix('torch.')}"
        + ("; planes 0 and 1 are mine and theirs" if spec.board_planes else ""),
        "actions": "continuous: "
        + ", ".join(f"{low:g} to {high:g}" for low, high in zip(spec.box.low, spec.box.high, strict=True))
        if spec.box
        else f"{spec.num_actions}"
        + (f": {', '.join(keys[:20])}{' ...' * (len(keys) > 20)}" if keys else "")
        + (f" at most: commands that vary, of up to {spec.action_tokens} bytes" if spec.action_tokens else ""),
        "chance": f"explicit: {spec.num_outcomes} outcomes"
        if spec.num_outcomes
        else "yes"
        if spec.stochastic
        else "none that is known",
        "information": "perfect" if spec.perfect_information else "hidden",
        "reward of a move": "any" if (low, high) == (-float("inf"), float("inf")) else f"{low:g} to {high:g}",
        "length": f"at most {spec.max_length} moves" if spec.max_length else "no limit known",
        "twin": f"isomorphic to {spec.twin_of}"
        if spec.twin_of
        else f"scrambled: looks like {spec.scrambles}"
        if spec.scrambles
        else "no",
        "symmetries": str(len(spec.symmetries.cells)) if spec.symmetries else "none",
        **({"scores": f"random {known.random:,g}, human {known.human:,g}"} if known else {}),
        "perfect player": "yes: small enough to be solved" if spec.solvable else "no",
    }
    for key, value in rows.items():
        table.add_row(f"[bold]{key}[/bold]", value)
    console.print(table)
    return 0


def _new(console: Console, args: argparse.Namespace) -> int:
    """Write the file and say what to do with it."""
    from pathlib import Path

    from envs import registry
    from gurgeh import skeleton

    name = args.name.removesuffix(".py")
    if name in registry.names():
        raise ValueError(f"there is a game called {name} already; choose another name")
    path = skeleton.write(name, args.kind, Path(args.folder))
    console.print(f"wrote {path}: a game that passes the check. Change it, and look again:", markup=False)
    for line in ("games check {}", "games play {}", "train --games tictactoe,{}"):
        console.print(f"  gurgeh {line.format(path)}", markup=False)
    return 0


def _check(console: Console, args: argparse.Namespace) -> int:
    from gurgeh.checking import Effort, check_all, check_one

    effort = Effort(args.copies, args.moves, args.seed)
    if args.game:
        return check_one(console, args.game, effort, args.record)
    if args.record:
        raise ValueError("--record is for one game: name it")
    return check_all(console, effort)


def _play(args: argparse.Namespace) -> int:
    """One game; 0 also where the person stopped."""
    from rich.console import Console

    from envs import registry
    from gurgeh.play import Table, introduce, seat_players, source_of

    if args.simulations is not None and args.simulations < 0:
        raise ValueError(f"--simulations must be at least 0, found {args.simulations}")
    console = Console(highlight=False, no_color=args.no_color or None)
    if not console.is_terminal:
        console.width = 120
    game = registry.make(args.game)
    players = seat_players(game, args.opponent, args.seat, args.simulations)
    introduce(game, players, console)
    source = source_of(args.moves, console)
    if not source.script:
        console.print("h for help, q to quit", style="dim")
    try:
        Table(game, players, args.seed, console).play(source)
    except KeyboardInterrupt:  # as good as q
        console.print()
    return 0
