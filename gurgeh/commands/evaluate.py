"""`gurgeh evaluate`: play a run's network, measure it, record every episode."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.game import Game
    from gurgeh.evaluate import EvaluationConfig

EPILOG = """\
RUN is the directory of a run; or random, perfect, tactician1, tactician2, to measure what those reach.

  gurgeh evaluate runs/demo
  gurgeh evaluate runs/demo --game tictactoe --opponent perfect --simulations 0
  gurgeh evaluate runs/demo --game connect_four --opponent runs/older
  gurgeh evaluate random --game CartPole-v1 --episodes 20 --save evaluations
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
                        help="random, perfect, tactician1, tactician2 or another run (again for more)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the episodes and moves (default 0)")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="step of the checkpoint (default: the newest)")
    parser.add_argument("--save", metavar="DIR", help="where the records go (default: RUN/evaluations)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Evaluate, save, print."""
    from envs import registry
    from gurgeh.evaluate import BUILT_IN, evaluate_game, named_player, save_evaluation

    built_in = args.run in BUILT_IN
    source = {"run": None, "step": None, "checkpoint": None} if built_in else _checkpoint(args)
    config, games = (_overridden(args, {}), args.game) if built_in else _of_run(args)
    if not games:
        raise ValueError(f"{args.run} plays any game: name one with --game")
    directory = Path(args.save) if args.save else None if built_in else Path(args.run) / "evaluations"
    report = []
    for name in games:
        game = registry.make(name)
        opponents = _opponents(args, game, config)
        if opponents == []:
            continue
        player = named_player(args.run, game, config, source["step"])
        for evaluation in evaluate_game(game, player, config, args.seed, opponents):
            records = save_evaluation(directory, evaluation, config, **source)[0] if directory else None
            report.append(
                {"game": game.spec.name, "players": evaluation.players, "summary": evaluation.summary,
                 "records": str(records) if records else None}
            )  # fmt: skip
    if not report:
        raise ValueError(f"none of {', '.join(games)} can be played against {', '.join(args.opponent)}")
    settings = {"episodes": config.episodes, "simulations": config.simulations, "greedy": config.greedy}
    if args.json:
        import json

        print(
            json.dumps({"schema": "evaluation/1", **source, "seed": args.seed, **settings, "games": report}, indent=1)
        )
        return 0
    _print(args, source, config, report)
    return 0


def _checkpoint(args: argparse.Namespace) -> dict[str, Any]:
    """Which checkpoint of the run is evaluated: directory, step, and the hash of its manifest."""
    from gurgeh import checkpoint
    from gurgeh.rundir import RunDirectory

    directory = RunDirectory.open(args.run)
    found = {checkpoint.read_manifest(folder)["step"]: folder for folder in directory.checkpoints()}
    if not found:
        raise FileNotFoundError(f"{args.run} has no checkpoint yet, so there is nothing to evaluate")
    step = max(found) if args.checkpoint is None else args.checkpoint
    if step not in found:
        steps = ", ".join(map(str, sorted(found)))
        raise FileNotFoundError(f"{args.run} has no checkpoint of step {step}; it has {steps}")
    return {"run": str(args.run), "step": step, "checkpoint": checkpoint.read_manifest(found[step])["sha256"]}


def _of_run(args: argparse.Namespace) -> tuple[EvaluationConfig, list[str]]:
    """The run's own settings of evaluation with the command line's on top, and the games to evaluate."""
    from gurgeh.rundir import RunDirectory

    content = RunDirectory.open(args.run).config
    games = list(content.get("games", []))
    for name in args.game or []:
        if name not in games:
            raise ValueError(f"{args.run} does not play {name!r}; it plays {', '.join(games) or 'nothing'}")
    return _overridden(args, content.get("evaluation", {})), args.game or games


def _overridden(args: argparse.Namespace, settings: dict[str, Any]) -> EvaluationConfig:
    from gurgeh.configure import from_dict
    from gurgeh.evaluate import EvaluationConfig

    given = {name: getattr(args, name) for name in ("episodes", "simulations", "greedy")}
    return from_dict(EvaluationConfig, {**settings, **{k: v for k, v in given.items() if v is not None}})


def _opponents(args: argparse.Namespace, game: Game, config: EvaluationConfig) -> list[Any] | None:
    """The opponents named on the command line; None: the usual ones; empty: this game does not allow them."""
    from gurgeh.evaluate import BUILT_IN, named_player, refusal

    if args.opponent is None or game.spec.num_players == 1:
        return None
    named = args.opponent
    if not args.game:  # over all games of a run, each opponent plays where it can
        named = [name for name in named if name not in BUILT_IN or refusal(name, game) is None]
    return [named_player(name, game, config) for name in named]


def _print(args: argparse.Namespace, source: dict[str, Any], config: EvaluationConfig, report: list[dict]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    how = f"{config.simulations} simulations" if config.simulations else "raw policy, no search"
    style = "greedy" if config.greedy else "sampled"
    at = "" if source["run"] is None else f", checkpoint of step {source['step']}, {how}, {style}"
    console = Console()
    if not console.is_terminal:
        console.width = 160  # a file or a pipe: whole lines
    console.print(f"{args.run}{at}, seed {args.seed}", style="bold", highlight=False)
    table = Table("game", "against", box=box.SIMPLE_HEAD)
    for heading in ("episodes", "result", "95 %", "won / drawn / lost", "moves"):
        table.add_column(heading, justify="right")
    for entry in report:
        summary, scored = entry["summary"], "score" in entry["summary"]
        counts = " / ".join(str(summary[name]["count"]) for name in ("win", "draw", "loss")) if scored else ""
        table.add_row(
            entry["game"], " ".join(entry["players"][1:2]), str(summary["episodes"]),
            *_interval(summary["score" if scored else "return"], percent=scored), counts, f"{summary['moves']:.1f}",
        )  # fmt: skip
    console.print(table)
    solved = Table("game", box=box.SIMPLE_HEAD)
    for heading in ("positions", "optimal with search" if config.simulations else "optimal", "raw policy"):
        solved.add_column(heading, justify="right")
    for entry in report:
        if "optimal" in entry["summary"]:
            summary = entry["summary"]
            shares = (_share(summary[name], summary["positions"]) for name in ("optimal", "optimal_raw"))
            solved.add_row(entry["game"], str(summary["positions"]), *shares)
    if solved.row_count:
        console.print(solved)
    for entry in report:
        if entry["records"]:
            console.print(f"gurgeh replay {entry['records']}", soft_wrap=True, highlight=False)


def _interval(values: dict[str, Any], percent: bool = False) -> tuple[str, str]:
    """Mean and interval; a share of points in percent, a draw counting half."""
    digits = 1 if percent or abs(values["mean"]) >= 10 else 2
    mean, low, high = (
        "?" if values[name] is None else f"{values[name] * (100 if percent else 1):.{digits}f}"
        for name in ("mean", "low", "high")
    )
    return mean + " %" * percent, f"{low} .. {high}"


def _share(share: float | None, positions: int) -> str:
    """4519 (99.97 %): rounded down, so that 100 % means all."""
    if share is None:
        return "-"
    right = round(share * positions)
    return f"{right} ({int(right * 10_000 / positions) / 100:.2f} %)"
