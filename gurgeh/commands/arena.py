"""`gurgeh arena`: players against each other, ratings with intervals, every game recorded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gurgeh.commands._seed import as_seed

EPILOG = """\
PLAYER is random, perfect, tactician1, tactician2, mcts:N or another built-in player of gurgeh evaluate; or a run:
RUN[@STEP][:OPTION[,OPTION ...]] with the options simulations=N (0: the raw policy), rules (the search steps with a
native game's own rules, not with the learned model), sample (moves as in self-play, not the best one found). Without
@STEP it is the newest checkpoint. The same command with the same --out goes on where it was stopped; players and games
may be added.

  gurgeh arena random tactician2 mcts:50 perfect --game tictactoe --anchor random=0
  gurgeh arena runs/demo@2000 runs/demo@7700 mcts:200 --game connect_four --games-per-pair 200 --out arenas/demo
  gurgeh arena runs/demo:simulations={0,1,4,16} runs/demo:simulations=16,rules --game tictactoe
"""


def add_parser(subparsers: Any) -> None:
    """The options of `gurgeh arena`."""
    parser = subparsers.add_parser(
        "arena", help="let players meet and rate them, with intervals",
        description="Let all players of a game for two meet, from the same random openings with sides swapped; record "
        "every game (watch them with gurgeh replay) and fit Bradley-Terry ratings with 95 % intervals.",
        epilog=EPILOG,
    )  # fmt: skip
    parser.add_argument("players", nargs="+", metavar="PLAYER", help="who plays; at least two")
    parser.add_argument("--game", required=True, metavar="NAME", help="a game for two players")
    parser.add_argument("--games-per-pair", type=int, default=100, metavar="N",
                        help="games of every two players, an even number (default 100)")  # fmt: skip
    parser.add_argument("--opening-plies", type=int, default=2, metavar="N",
                        help="random moves that every game begins with (default 2)")  # fmt: skip
    parser.add_argument("--simulations", type=int, metavar="S",
                        help="of runs that do not name theirs (default: evaluation.simulations of each)")  # fmt: skip
    parser.add_argument("--anchor", metavar="PLAYER=ELO", help="whose rating is fixed (default: their mean is 0)")
    parser.add_argument("--prior", type=float, metavar="N",
                        help="virtual draws against each opponent met (default: 0, or 1 where somebody took no point "
                        "from the rest)")  # fmt: skip
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (default 1000)")
    parser.add_argument(
        "--seed", type=as_seed, default=0, metavar="N", help="of openings, moves, resampling (default 0)"
    )
    parser.add_argument("--copies", type=int, default=128, metavar="N",
                        help="games that are played and saved at once, an even number (default 128)")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch and the search (default 1)")
    parser.add_argument("--out", metavar="DIR", help="where games and ratings go (default: arenas/GAME-sSEED)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> int:
    """Play what is missing, rate, print."""
    from rich.console import Console

    from envs import registry
    from gurgeh.arena import ArenaConfig, play_arena
    from gurgeh.entrants import load_contestants, parse_entrant

    config = ArenaConfig(
        args.games_per_pair, args.opening_plies, args.simulations, args.seed, args.copies, threads=args.threads
    )  # fmt: skip
    if args.resamples < 1:
        raise ValueError(f"--resamples must be at least 1, found {args.resamples}")
    game = registry.make(args.game)
    if game.spec.num_players != 2:
        raise ValueError(f"an arena is for games for two; {game.name} is for {game.spec.num_players}")
    contestants = load_contestants([parse_entrant(text) for text in args.players], game, config.simulations)
    anchor = _anchor(args.anchor, args.players, [contestant.name for contestant in contestants])
    directory = Path(args.out or f"arenas/{_plain(game.spec.name)}-s{args.seed}")
    console = Console(stderr=True, highlight=False)
    with console.status("drawing openings") as status:
        report = play_arena(
            game, contestants, config, directory, anchor=anchor, prior=args.prior, resamples=args.resamples,
            progress=status.update,
        ).report  # fmt: skip
    if args.json:
        import json

        print(json.dumps(report, indent=1))
    else:
        print_report(report, directory)
    return 0


def _plain(name: str) -> str:
    import re

    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")


def _anchor(text: str | None, written: list[str], names: list[str]) -> tuple[str, float] | None:
    """`PLAYER=ELO`, the player as it was written or as the arena calls it."""
    if text is None:
        return None
    who, _, elo = text.rpartition("=")
    try:
        value = float(elo)
    except ValueError:
        value = float("nan")
    if not who or value != value or abs(value) == float("inf"):
        raise ValueError(f"--anchor {text}: write PLAYER=ELO, for example random=0")
    known = dict(zip(written, names)) | {name: name for name in names}
    if who not in known:
        raise ValueError(f"--anchor: {who!r} does not play; the players are {', '.join(written)}")
    return known[who], value


def print_report(report: dict[str, Any], directory: Path) -> None:
    """The tables of an arena for a person, how the ratings came about, and how to watch a game."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    players, settings = report["players"], report["settings"]
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(160, 60 + 16 * len(players))  # a file or a pipe: whole lines
    console.print(
        f"{report['game']}, {settings['games_per_pair']} games a pair, {settings['opening_plies']} random moves first, "
        f"seed {settings['seed']}", style="bold",
    )  # fmt: skip
    table = Table("", "player", box=box.SIMPLE_HEAD)
    for heading in ("Elo", "95 %", "games", "score", "won / drawn / lost"):
        table.add_column(heading, justify="right")
    for rank, player in enumerate(players, 1):
        table.add_row(
            str(rank), escape(player["name"]), f"{player['elo']:.0f}", interval(player), str(player["games"]),
            f"{100 * player['score']:.1f} %", f"{player['win']} / {player['draw']} / {player['loss']}",
        )  # fmt: skip
    console.print(table)
    cross = Table("", "won / drawn / lost against", box=box.SIMPLE_HEAD)
    for rank in range(1, len(players) + 1):
        cross.add_column(str(rank), justify="right")
    met = {}
    for entry in report["pairings"]:
        a, b = entry["players"]
        met[a, b] = f"{entry['win']}/{entry['draw']}/{entry['loss']}"
        met[b, a] = f"{entry['loss']}/{entry['draw']}/{entry['win']}"
    for rank, player in enumerate(players, 1):
        cells = ("" if other is player else met.get((player["name"], other["name"]), "-") for other in players)
        cross.add_row(str(rank), escape(player["name"]), *cells)
    console.print(cross)
    for line in notes(report):
        console.print(line, soft_wrap=True)
    console.print(f"saved {escape(str(directory / 'arena.json'))}", soft_wrap=True)
    record = directory / report["pairings"][0]["records"][0]
    console.print(f"gurgeh replay {escape(str(record))}", soft_wrap=True)


def interval(player: dict[str, Any]) -> str:
    """The 95 % interval of a player's entry; `open` where the games set no bound, `?` where there is no telling."""
    low, high = (
        "open" if player[f"open_{side}"] else "?" if player[name] is None else f"{player[name]:.0f}"
        for side, name in (("below", "low"), ("above", "high"))
    )
    return f"{low} .. {high}"


def notes(report: dict[str, Any]) -> list[str]:
    """How the ratings came about, and what weakens them."""
    how, settings = report["ratings"], report["settings"]
    anchor = "their mean is 0"
    if how["anchor"]:
        anchor = f"{how['anchor']['player']} is {how['anchor']['elo']:g}"
    lines = [f"Elo: {how['model']}; {anchor}. 95 %: bootstrap over {report['distinct_openings']} openings."]
    if how["prior_draws"]:
        lines.append(
            f"Prior: {how['prior_draws']:g} virtual draw(s) of each player against each opponent it met. open: no "
            "number of points bounds the rating on that side."
        )
    elif how["resamples_with_prior"]:
        lines.append(
            f"{how['resamples_with_prior']} of {how['resamples']} resamples needed a virtual draw of each player "
            "against each opponent; play more games for a surer interval."
        )
    anchored = how["anchor"]["player"] if how["anchor"] else None
    if any(p["low"] is not None and p["low"] == p["high"] and p["name"] != anchored for p in report["players"]):
        lines.append("An empty interval is no certainty: all openings gave the same points, and more might not.")
    if report["distinct_openings"] < settings["games_per_pair"] // 2:
        lines.append(
            f"Only {report['distinct_openings']} different openings for {settings['games_per_pair'] // 2}: players "
            "without chance repeat their games. More --opening-plies give more."
        )
    cut = sum(entry["cut"] for entry in report["pairings"])
    if cut:
        lines.append(f"{cut} games were cut after {settings['max_moves']} moves and count as they stood.")
    return lines
