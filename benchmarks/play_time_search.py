"""Search at play time: the Elo of one checkpoint at 0 (raw policy), 1, 2, 4 ... simulations a move.

    python benchmarks/play_time_search.py RUN [--games tictactoe connect_four] [--rules] [--games-per-pair 100]

Each game has one arena (gurgeh/arena.py) whose players are the simulation counts, with the learned model and, with
--rules, with the game's exact rules as well; the raw policy is 0 Elo. Everybody meets everybody, or with --neighbours N
only the N next in order of simulations. Killed and started again, it goes on where it was. Games and ratings go to
--work; the tables and a figure (PNG and SVG) to benchmarks/results/DATE-play-time-search*.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import math
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from matplotlib.figure import Figure  # noqa: E402

from agents.rules import no_exact_rules  # noqa: E402
from gurgeh.arena import ArenaConfig, play_arena  # noqa: E402
from gurgeh.commands.arena import interval  # noqa: E402
from gurgeh.entrants import Entrant, load_contestants  # noqa: E402
from gurgeh.figures import INK, PALETTE, Picture  # noqa: E402
from gurgeh.load import LoadedRun  # noqa: E402

SIMULATIONS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
LINES = {False: ("learned model", PALETTE[0], "o"), True: ("exact rules", PALETTE[1], "s")}
OPEN_END = 60.0  # Elo: length of the arrow that stands for an open end of an interval


def measure(run: LoadedRun, name: str, args: argparse.Namespace) -> dict[str, Any]:
    """The report of one game's arena (schema arena/1)."""
    game, path = run.games[name], str(run.path)
    # In order of simulations, so that neighbours are alike. The raw policy looks at no rules: it is there once.
    ways = (False, True) if args.rules and no_exact_rules(game.spec, game.native) is None else (False,)
    entrants = [
        Entrant(path, path, run.step, simulations, rules)
        for simulations in sorted(set(args.simulations) | {0})
        for rules in (ways if simulations else (False,))
    ]
    contestants = load_contestants(entrants, game)
    config = ArenaConfig(
        args.games_per_pair, args.opening_plies, seed=args.seed, copies=args.copies, threads=args.threads
    )  # fmt: skip
    return play_arena(
        game, contestants, config, args.work / name.replace("/", "-"), anchor=(contestants[0].name, 0.0),
        resamples=args.resamples, neighbours=args.neighbours,
        progress=lambda text: print(f"{name}, {text}", flush=True),
    ).report  # fmt: skip


def curve(report: dict[str, Any], rules: bool) -> list[dict[str, Any]]:
    """The players of one line of the figure, by simulations; the raw policy begins both lines."""
    chosen = [player for player in report["players"] if player["rules"] == rules or player["simulations"] == 0]
    return sorted(chosen, key=lambda player: player["simulations"])


def draw(reports: dict[str, dict[str, Any]], title: str) -> Picture:
    """One panel a game: Elo over simulations, on a logarithmic axis to base 2 with the raw policy left of 1."""
    figure = Figure(figsize=(4.4 * len(reports) + 0.4, 3.9), layout="constrained")
    panels = figure.subplots(1, len(reports), squeeze=False)[0]
    for axes, (name, report) in zip(panels, reports.items()):
        counts = sorted({player["simulations"] for player in report["players"]})
        place = {count: place_of(count) for count in counts}
        several = any(player["rules"] for player in report["players"])
        for rules, (label, color, marker) in LINES.items():
            players = curve(report, rules)
            if len(players) < 2:
                continue
            shift = 0.06 * (2 * rules - 1) * several  # beside one another where both lines have a point
            x = [place[player["simulations"]] + shift for player in players]
            y = [player["elo"] for player in players]
            axes.plot(x, y, marker=marker, markersize=4.5, linewidth=1.4, color=color, label=label)
            for at, player in zip(x, players):
                _whisker(axes, at, player, color)
        axes.axhline(0, color=INK, linewidth=0.6, linestyle=":")
        axes.set_xticks([place[count] for count in counts], ["raw" if not count else str(count) for count in counts])
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -50), max(high, 50))  # players that are all alike look alike
        axes.set_xlabel("simulations a move (log scale; raw: policy alone)")
        axes.set_ylabel("Elo above the raw policy, 95 % interval")
        axes.set_title(name, fontsize=10, color=INK)
        axes.grid(axis="y", linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="best")
    return Picture("play-time-search", title, title, figure)


def place_of(simulations: int) -> float:
    """Where a number of simulations stands on the axis: its logarithm to base 2; the raw policy one step before 1."""
    return -1.5 if simulations == 0 else math.log2(simulations)


def _whisker(axes: Any, x: float, player: dict[str, Any], color: str) -> None:
    """The interval of a point; an arrow where it is open, nothing where it is unknown."""
    for name, side, sign in (("low", "open_below", -1), ("high", "open_above", 1)):
        if player[side]:
            end = (x, player["elo"] + sign * OPEN_END)
            axes.annotate("", end, (x, player["elo"]), arrowprops={"arrowstyle": "->", "color": color, "lw": 1})
        elif player[name] is not None:
            axes.plot([x, x], [player["elo"], player[name]], color=color, linewidth=1, alpha=0.8)
            axes.plot([x], [player[name]], marker="_", markersize=6, color=color, alpha=0.8)


def text_of(reports: dict[str, dict[str, Any]], run: LoadedRun, args: argparse.Namespace, stem: str) -> str:
    """The page of results."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("gurgeh", "torch", "numpy"))
    how = (
        f"{args.games_per_pair} games a pair ({args.games_per_pair // 2} openings of {args.opening_plies} random moves,"
    )
    met = "everybody against everybody" if args.neighbours is None else (
        f"everybody against the {args.neighbours} next in order of simulations"
    )  # fmt: skip
    lines = [
        "# Search at play time", "",
        f"`{shlex.join(['python', 'benchmarks/play_time_search.py', *sys.argv[1:]])}`", "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, {args.threads} used; {versions}.", "",
        f"One checkpoint, {run.path}@{run.step} (trained with seed {run.config.seed} and {run.search.simulations} "
        f"simulations a search), with 0 to {max(args.simulations)} simulations a move, greedy. {how} from both sides), "
        f"{met}; arena seed {args.seed}. Bradley-Terry ratings in Elo above the raw policy; 95 % intervals by "
        "bootstrap over openings.", "",
        f"![Elo over simulations]({stem}.png)", "",
    ]  # fmt: skip
    for name, report in reports.items():
        lines += [f"## {name}", "", f"{report['distinct_openings']} different openings.", ""]
        if report["ratings"]["prior_draws"]:
            lines += ["Somebody took no point from the rest: the ratings have a prior of "
                      f"{report['ratings']['prior_draws']:g} virtual draw against each opponent met.", ""]  # fmt: skip
        lines += ["| simulations | model | Elo | 95 % | games | score |", "|---|---|---|---|---|---|"]
        for player in sorted(report["players"], key=lambda player: (player["rules"], player["simulations"])):
            model = LINES[player["rules"]][0] if player["simulations"] else "raw policy"
            lines.append(
                f"| {player['simulations']} | {model} | {player['elo']:.0f} | {interval(player)} | {player['games']} | "
                f"{player['score']:.1%} |"
            )
        lines.append("")
    return "\n".join(lines)


def processor() -> str:
    """The name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="directory of a run")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="default: the newest")
    parser.add_argument("--games", nargs="+", metavar="GAME", help="games of the run (default: all of its for two)")
    parser.add_argument(
        "--rules", action="store_true", help="search with the exact rules as well, where a game has them"
    )
    parser.add_argument(
        "--simulations", nargs="+", type=int, default=SIMULATIONS, metavar="S", help="0 is always there"
    )
    parser.add_argument("--games-per-pair", type=int, default=100, metavar="N")
    parser.add_argument("--neighbours", type=int, metavar="N", help="meet only the N next (default: all)")
    parser.add_argument("--opening-plies", type=int, default=2, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N")
    parser.add_argument("--copies", type=int, default=128, metavar="N", help="games at once")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--work", type=Path, help="where the games go (default: arenas/play-time-search-RUN-STEP)")
    parser.add_argument(
        "--out", type=Path, help="stem of the results (default: benchmarks/results/DATE-play-time-search)"
    )
    args = parser.parse_args()
    try:
        run = LoadedRun(args.run, args.checkpoint)
        names = args.games or [name for name, game in run.games.items() if game.spec.num_players == 2]
        unknown = [name for name in names if name not in run.games]
        if unknown or not names:
            raise ValueError(
                f"{args.run} plays {', '.join(run.games)}; found {', '.join(unknown) or 'no game for two'}"
            )
        args.work = args.work or Path("arenas") / f"play-time-search-{run.path.name}-{run.step}"
        out = args.out or ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-play-time-search"
        reports = {name: measure(run, name, args) for name in names}
    except (ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    picture = draw(reports, f"{run.path.name}@{run.step}: strength bought by search")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_name(out.name + ".png").write_bytes(picture.png())
    out.with_name(out.name + ".svg").write_text('<?xml version="1.0" encoding="utf-8"?>\n' + picture.svg)
    text = text_of(reports, run, args, out.name)
    out.with_name(out.name + ".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
