"""`gurgeh games list | info NAME | check NAME_OR_FILE | splits`: what can be played, whether a new game keeps the
rules, and which families of games are held out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

HELP = "list the games, describe one, or check a new one against the contract"


def add_parser(subparsers: Any) -> None:
    """Add `games` and its four subcommands."""
    parser = subparsers.add_parser("games", help=HELP, description=HELP)
    actions = parser.add_subparsers(dest="games_command", metavar="list | info | check | splits", required=True)
    listed = actions.add_parser("list", help="every game that can be named", description="Every game that has a name.")
    listed.add_argument("text", nargs="?", default="", help="only names that contain this")
    listed.add_argument("--catalogue", action="store_true", help="the small solved games: name, positions, value")
    info = actions.add_parser("info", help="what a game is", description="What a game is, without playing it.")
    info.add_argument("game", help="a name or a file: tictactoe, CartPole-v1, ale/Pong:100k, my_game.py:Name")
    check = actions.add_parser(
        "check",
        help="hold a game to the contract; exit code 2 when it breaks it",
        description="Play random games and say what is wrong, where, and what to do.",
    )
    check.add_argument("game", help="a name or a file, my_game.py or my_game.py:Name")
    check.add_argument("--copies", type=int, default=4, help="how many copies are played at once (default: 4)")
    check.add_argument("--moves", type=int, default=200, help="moves in each copy (default: 200)")
    check.add_argument("--seed", type=int, default=0, help="seed of the moves and the episodes (default: 0)")
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
    if args.games_command == "check":
        return _check(console, args)
    if args.games_command == "splits":
        return _splits(console, args.split)
    raise ValueError(f"unknown command {args.games_command!r}: list, info, check or splits")


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
            sides = {game: split.side(registry.make(game).spec) for game in native}
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
        "actions": f"{spec.num_actions}" + (f": {', '.join(keys[:20])}{' ...' * (len(keys) > 20)}" if keys else ""),
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


def _check(console: Console, args: argparse.Namespace) -> int:
    from rich.markup import escape

    from envs import registry
    from envs.check import check

    if args.copies < 1 or args.moves < 1:
        raise ValueError(f"--copies and --moves must be at least 1, found {args.copies} and {args.moves}")
    report = check(registry.make(args.game), args.copies, args.moves, args.seed)
    for result in report.results:
        broken = any(finding.broken for finding in result.findings)
        if result.skipped is not None:
            console.print(f"[dim]–  {result.check}: {escape(result.skipped)}[/dim]")
        elif not result.findings:
            console.print(f"[green]✓[/green]  {result.check}")
        else:
            console.print(f"[red]✗[/red]  {result.check}" if broken else f"[yellow]?[/yellow]  {result.check}")
        for finding in result.findings:
            console.print(f"   {escape(str(finding))}")
    broken = sum(finding.broken for _, finding in report.findings())
    if broken:
        console.print(f"[red]{escape(args.game)} breaks the contract: {broken} finding{'s' * (broken > 1)}[/red]")
        return 2
    console.print(f"[green]{escape(args.game)} keeps the contract[/green]")
    return 0
