"""`gurgeh evaluate`: play a run's network, measure it, record every episode."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gurgeh.commands._seed import as_seed

if TYPE_CHECKING:
    from envs.game import Game
    from gurgeh.episodes import AnyPlayer
    from gurgeh.evaluate import EvaluationConfig

EPILOG = """\
RUN is the directory of a run; or random, perfect, tactician1, tactician2, mcts:N, ngram:N (counts; text and digits),
openspiel-mcts:N (OpenSpiel's own search; connect_four, tictactoe), bitbully (exact; connect_four), to measure what
those reach.

  gurgeh evaluate runs/demo
  gurgeh evaluate runs/demo --game tictactoe --opponent perfect --simulations 0
  gurgeh evaluate runs/demo --game connect_four --opponent runs/older
  gurgeh evaluate runs/demo --game connect_four --rules --opponent mcts:200
  gurgeh evaluate runs/demo --game connect_four --opponent bitbully --opponent openspiel-mcts:1000
  gurgeh evaluate random --game CartPole-v1 --episodes 20 --save evaluations
  gurgeh evaluate ngram:3 --game text:zen
"""


def add_parser(subparsers: Any) -> None:
    """The options of `gurgeh evaluate`; what is not given is taken from the run's own configuration."""
    parser = subparsers.add_parser(
        "evaluate", help="play a run's network, measure it, record every episode",
        description="Play a run's network, measure it and record every episode (watch them with gurgeh replay).",
        epilog=EPILOG,
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN", help="directory of a run, or the name of a built-in player")
    parser.add_argument(
        "--game", action="append", metavar="GAME", help="a game of the run (again for more; default: all)"
    )
    parser.add_argument("--episodes", type=int, metavar="N", help="episodes per game and opponent")
    parser.add_argument("--simulations", type=int, metavar="S", help="simulations per move; 0: the raw policy")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--greedy", dest="greedy", action="store_true", default=None, help="play the best move found")
    style.add_argument("--sample", dest="greedy", action="store_false", help="sample moves as self-play does")
    parser.add_argument("--opponent", action="append", metavar="WHO",
                        help="random, perfect, tactician1 or 2, mcts:N, ngram:N, openspiel-mcts:N, bitbully or another "
                        "run (again for more)")  # fmt: skip
    parser.add_argument(
        "--rules", action=argparse.BooleanOptionalAction, default=None,
        help="RUN searches with a native game's own rules, or with its learned model (default: as in its training)",
    )  # fmt: skip
    parser.add_argument("--seed", type=as_seed, default=0, metavar="N", help="of the episodes and moves (default 0)")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="step of the checkpoint (default: the newest)")
    parser.add_argument(
        "--save", metavar="DIR",
        help="where the records go (default: RUN/evaluations, its folder rules or learned for another search than "
        "the training's)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Evaluate, save, print."""
    from gurgeh.evaluate import is_built_in

    report = _built_in(args) if is_built_in(args.run) else _run(args)
    if args.json:
        import json

        print(json.dumps(report, indent=1))
    else:
        print_report(report)
    return 0


def _built_in(args: argparse.Namespace) -> dict[str, Any]:
    """What one of the built-in players reaches on the games that were named."""
    from envs import registry
    from gurgeh.evaluate import EvaluationConfig, built_in

    if not args.game:
        raise ValueError(f"{args.run} plays any game: name one with --game")
    if args.checkpoint is not None:
        raise ValueError(f"{args.run} has no checkpoints; leave --checkpoint out")
    if args.rules is not None:
        raise ValueError(f"{args.run} has no learned model; leave --rules and --no-rules out")
    config = _overridden(args, EvaluationConfig())
    games = [registry.make(name) for name in args.game]
    players = [(game, built_in(args.run, game)) for game in games]
    return evaluate_players(args.run, players, config, args.seed, args.opponent, Path(args.save) if args.save else None)


def _run(args: argparse.Namespace) -> dict[str, Any]:
    """What the network of a run reaches on the games that were named, or on all of its own."""
    import torch

    from gurgeh.load import LoadedRun

    loaded = LoadedRun(args.run, args.checkpoint)
    torch.set_num_threads(loaded.config.threads)
    config = _overridden(args, loaded.config.evaluation)
    names = {name: name for name in loaded.games} | {game.name: name for name, game in loaded.games.items()}
    for name in args.game or []:
        if name not in names:
            raise ValueError(f"{args.run} does not play {name!r}; it plays {', '.join(loaded.games)}")
    chosen = [names[name] for name in args.game] if args.game else list(loaded.games)
    if args.rules and not args.game:  # over all games of a run, those that have rules
        chosen = [name for name in chosen if _has_rules(loaded.games[name])] or chosen
    players = [
        (loaded.games[name], loaded.player(name, config.simulations, config.greedy, args.rules)) for name in chosen
    ]
    opponents = args.opponent
    if opponents and not args.game:  # over all games of a run, each opponent plays where it can
        players = [
            (game, player) for game, player in players if game.spec.num_players == 1 or _allowed(game, opponents)
        ]
        if not players:
            raise ValueError(f"none of {', '.join(chosen)} can be played against {', '.join(opponents)}")
    # The report of a run reads RUN/evaluations: what its network does with the search that it was trained with.
    own, as_trained = loaded.path / "evaluations", loaded.search.model == "rules"
    rules = as_trained if args.rules is None else args.rules
    if rules != as_trained:
        own /= "rules" if rules else "learned"
    directory = Path(args.save) if args.save else own
    report = evaluate_players(
        args.run, players, config, args.seed, opponents, directory, loaded.step, loaded.manifest_hash(), not args.game
    )  # fmt: skip
    return {**report, "rules": rules}


def _has_rules(game: Game) -> bool:
    from agents.rules import no_exact_rules

    return no_exact_rules(game.spec, game.native) is None


def _allowed(game: Game, names: Sequence[str]) -> list[str]:
    from gurgeh.evaluate import is_built_in, refusal

    return [name for name in names if not is_built_in(name) or refusal(name, game) is None]


def evaluate_players(
    run: str,
    players: Sequence[tuple[Game, AnyPlayer]],
    config: EvaluationConfig,
    seed: int,
    opponents: Sequence[str] | None = None,
    directory: Path | None = None,
    step: int | None = None,
    checkpoint: str | None = None,
    skip: bool = False,
) -> dict[str, Any]:
    """Evaluate (game, player) pairs, save the records in `directory`, and report as JSON values.

    run: what is evaluated, a directory when `step` and `checkpoint` (the sha256 of its manifest) say where in it.
    opponents: names for the games of several players; None: those of the config. With `skip`, a game leaves out the
    opponents that it does not allow, which else are a ValueError.
    """
    from gurgeh.evaluate import evaluate_game, named_player, save_evaluation

    entries = []
    for game, player in players:
        chosen = None
        if opponents and game.spec.num_players > 1:
            names = _allowed(game, opponents) if skip else opponents
            chosen = [named_player(name, game, config) for name in names]
        for evaluation in evaluate_game(game, player, config, seed, chosen):
            entry = {"game": game.spec.name, "players": list(evaluation.players), "summary": evaluation.summary}
            if directory is not None:
                source = (run if step is not None else None, step, checkpoint)
                entry["records"] = str(save_evaluation(directory, evaluation, config, *source)[0])
            entries.append(entry)
    return {
        "schema": "evaluations/1", "run": run, "step": step, "checkpoint": checkpoint, "seed": seed,
        "settings": dataclasses.asdict(config), "games": entries,
    }  # fmt: skip


def _overridden(args: argparse.Namespace, config: EvaluationConfig) -> EvaluationConfig:
    """`config` with what the command line says."""
    given = {name: getattr(args, name) for name in ("episodes", "simulations", "greedy")}
    return dataclasses.replace(config, **{name: value for name, value in given.items() if value is not None})


def print_report(report: dict[str, Any]) -> None:
    """The tables of `evaluate_players` for a person, and where the records lie."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from envs.reference_scores import reference

    console, simulations = Console(), report["settings"]["simulations"]
    if not console.is_terminal:
        console.width = 160  # a file or a pipe: whole lines
    how = f"{simulations} simulations" if simulations else "raw policy, no search"
    if report.get("rules"):
        how += " with the game's rules"
    style = "greedy" if report["settings"]["greedy"] else "sampled"
    at = "" if report["step"] is None else f", checkpoint of step {report['step']}, {how}, {style}"
    console.print(f"{report['run']}{at}, seed {report['seed']}", style="bold", highlight=False)
    table = Table("game", "against", box=box.SIMPLE_HEAD)
    for heading in ("episodes", "score or return", "95 %", "won / drawn / lost", "moves"):
        table.add_column(heading, justify="right")
    solved = Table("game", box=box.SIMPLE_HEAD)
    for heading in (
        "positions",
        "optimal with search" if simulations and report["step"] is not None else "optimal",
        "raw policy",
    ):
        solved.add_column(heading, justify="right")
    human = Table("game", box=box.SIMPLE_HEAD)
    for heading in ("random", "human", "human-normalised", "95 %"):
        human.add_column(heading, justify="right")
    measured = Table("game", "held out", box=box.SIMPLE_HEAD)
    for heading in ("positions", "with search" if simulations and report["step"] is not None else "played",
                    "raw policy", "knowing nothing"):  # fmt: skip
        measured.add_column(heading, justify="right")
    for entry in report["games"]:
        summary, scored = entry["summary"], "score" in entry["summary"]
        counts = " / ".join(str(summary[name]["count"]) for name in ("win", "draw", "loss")) if scored else ""
        table.add_row(
            entry["game"], " ".join(entry["players"][1:2]), str(summary["episodes"]),
            *_interval(summary["score" if scored else "return"], percent=scored), counts, f"{summary['moves']:.1f}",
        )  # fmt: skip
        if "optimal" in summary:
            shares = (_share(summary[name], summary["positions"]) for name in ("optimal", "optimal_raw"))
            solved.add_row(entry["game"], str(summary["positions"]), *shares)
        known = reference(entry["game"]) if "human_normalized" in summary else None
        if known:
            share = _interval(summary["human_normalized"], percent=True)
            human.add_row(entry["game"], f"{known.random:,g}", f"{known.human:,g}", *share)
        for name, found in summary.get("measures", {}).items():
            shown = (_number(found[key]) for key in ("search", "raw", "reference"))
            measured.add_row(entry["game"], name, str(found["positions"]), *shown)
    console.print(table)
    for extra in (solved, human, measured):
        if extra.row_count:
            console.print(extra)
    for entry in report["games"]:
        if "records" in entry:
            console.print(f"gurgeh replay {entry['records']}", soft_wrap=True, highlight=False)


def _interval(values: dict[str, Any], percent: bool = False) -> tuple[str, str]:
    """Mean and interval; a share of points in percent, a draw counting half."""
    digits = 1 if percent or abs(values["mean"]) >= 10 else 2
    mean, low, high = (
        "?" if values[name] is None else f"{values[name] * (100 if percent else 1):.{digits}f}"
        for name in ("mean", "low", "high")
    )
    return mean + " %" * percent, f"{low} .. {high}"


def _number(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.4f}"


def _share(share: float | None, positions: int) -> str:
    """4519 (99.97 %): rounded down, so that 100 % means all."""
    if share is None:
        return "-"
    right = round(share * positions)
    return f"{right} ({int(right * 10_000 / positions) / 100:.2f} %)"
