"""One session of training from the command line: config, run directory, signals, the final evaluation."""

from __future__ import annotations

import argparse
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents.alphazero import check_search, rules_of
from agents.replay import ring_length
from envs import registry
from envs.check import check
from envs.game import Game
from envs.prediction.score import NAMES, is_measured
from gurgeh.config import RunConfig
from gurgeh.configure import load_config, to_dict
from gurgeh.evaluate import BUILT_IN, built_in, is_built_in, refusal
from gurgeh.goals import Goal, parse_goal
from gurgeh.live import Progress
from gurgeh.rundir import RunDirectory
from gurgeh.train import Trainer
from monitor.adaptation import SCRATCH


def train_session(args: argparse.Namespace) -> int:
    """What `gurgeh train` does; the exit code."""
    files = [argument for argument in args.arguments if "=" not in argument]
    overrides = [argument for argument in args.arguments if "=" in argument]
    if len(files) > 1:
        raise ValueError(f"give at most one config file, found {', '.join(files)}; settings are written KEY=VALUE")
    if args.resume:
        if files or args.games or args.name:
            raise ValueError("--resume takes the run's own config, games and name; give only KEY=VALUE and --add-game")
        run, config, step = _resume(args, overrides)
    else:
        if args.add_game or args.checkpoint is not None:
            raise ValueError("--add-game and --checkpoint need --resume RUN")
        if args.games:
            overrides.insert(0, f"games=[{args.games}]")
        config = load_config(RunConfig, files[0] if files else None, overrides)
        if config.adaptation.arm != SCRATCH:
            raise ValueError(f"adaptation.arm={config.adaptation.arm} needs first weights: begin it with gurgeh adapt")
        check_games(config)
        run, step = _create(args, Path(files[0]).stem if files else "run", config), None
    with run:
        return _train(run, config, step, args)


def _create(args: argparse.Namespace, stem: str, config: RunConfig) -> RunDirectory:
    runs = Path(args.runs)
    if args.name:
        if not re.fullmatch(r"\w[\w.-]*", args.name):
            raise ValueError(f"--name {args.name!r} is no folder's name: use letters, digits, '.', '_' and '-'")
        return RunDirectory.create(runs / args.name, to_dict(config))
    number = 1
    while (runs / f"{stem}-{number}").exists():
        number += 1
    return RunDirectory.create(runs / f"{stem}-{number}", to_dict(config))


def _resume(args: argparse.Namespace, overrides: list[str]) -> tuple[RunDirectory, RunConfig, int | None]:
    """The locked run, its config with the changes asked for, and the checkpoint to go on from."""
    run = RunDirectory.open(args.resume)
    old = run.config
    step = args.checkpoint if args.checkpoint is not None else run.latest_step()
    if args.add_game and not any(override.startswith("schedule.updates=") for override in overrides):
        # A finished run has no updates left for a new game: it gets the share that each old game had.
        share = old["schedule"]["updates"] // len(old["games"])
        updates = max(old["schedule"]["updates"], (step or 0) + share * len(args.add_game))
        old = {**old, "schedule": {**old["schedule"], "updates": updates}}
    for name in args.add_game:
        if name in old["games"]:
            raise ValueError(f"{name} is already in {args.resume}")
        old = {**old, "games": [*old["games"], name]}
    config = load_config(RunConfig, old, overrides)
    if config.seed != run.config["seed"]:
        raise ValueError(f"seed belongs to the run ({run.config['seed']}); for another one start a new run")
    check_games(config)
    run.lock()
    return run, config, step


def check_games(config: RunConfig) -> None:
    """Refuse, before anything is written, what would fail later: games, buffers, goals and opponents."""
    found: dict[str, str] = {}
    handles = [registry.make(name) for name in config.games]
    for name, handle in zip(config.games, handles, strict=True):
        spec = handle.spec
        if registry.is_foreign(name):
            check(handle).require()  # a second now saves a run that breaks half-way
        rules = rules_of(handle, config.search) if config.learner.reanalyse else None
        state_bytes = rules.width if rules is not None else 0
        ring_length(
            spec, config.selfplay.copies_of(spec), config.replay, config.learner.window, state_bytes,
            config.search.samples,
        )  # fmt: skip
        if spec.box is not None and config.intrinsic.weight.get(spec.name):
            raise ValueError(f"intrinsic.weight.{spec.name}: curiosity does not know continuous actions; leave it out")
        if spec.name in found:
            raise ValueError(f"{found[spec.name]} and {name} are the same game, {spec.name}; name it once")
        found[spec.name] = name
    check_search(handles, config.search, config.learner.unroll)
    for key, by_game in (("intrinsic.weight", config.intrinsic.weight), ("search.q_unit", config.search.q_unit)):
        for name in by_game:
            if name not in found:
                raise ValueError(f"{key} names {name}, which the run does not play; it plays {', '.join(found)}")
    by_name = {handle.spec.name: handle for handle in handles}
    for goal in map(parse_goal, config.goals):
        if goal.game not in found:
            raise ValueError(f"a goal names {goal.game}, which the run does not play; it plays {', '.join(found)}")
        _check_goal(goal, by_name[goal.game])
    for opponent in config.evaluation.opponents:
        _check_opponent(opponent, "evaluation.opponents")


def _check_goal(goal: Goal, game: Game) -> None:
    """ValueError for a goal that no evaluation of `game` can measure."""
    what, spec = f"the goal `{goal.game} {goal.measure}`", game.spec
    if goal.measure == "optimal" and (goal.opponent is not None or not (spec.solvable and game.native)):
        raise ValueError(f"{what} is for solvable native games, and against nobody")
    if goal.measure in NAMES and (goal.opponent is not None or not is_measured(game.native)):
        raise ValueError(f"{what} is for games of prediction, and against nobody")
    if goal.opponent is None:
        if goal.measure == "return" and spec.num_players > 1:
            raise ValueError(f"{what} needs to know against whom: write {goal.game} return against OPPONENT")
        return
    if spec.num_players == 1:
        raise ValueError(f"{what} names an opponent, and {goal.game} is for one player")
    _check_opponent(goal.opponent, what)
    if is_built_in(goal.opponent):  # refused here, not at the first evaluation
        reason = refusal(goal.opponent, game)
        if reason:
            raise ValueError(reason)
        if goal.opponent != "perfect":  # which would solve the game
            built_in(goal.opponent, game)  # an extra may be missing


def _check_opponent(name: str, where: str) -> None:
    if not is_built_in(name) and not Path(name).is_dir():
        raise ValueError(f"{where}: {name!r} is neither {', '.join(BUILT_IN)} nor a run's folder")


def _train(run: RunDirectory, config: RunConfig, step: int | None, args: argparse.Namespace) -> int:
    finished, trainer = run_training(run, config, step)
    if not finished:
        print(f"stopped at update {trainer.state.updates} and saved; go on with: gurgeh train --resume {run.path}")
        return 130
    counts = f"{trainer.state.updates} updates, {trainer.state.env_steps:,} environment steps"
    print(f"finished {counts} in {trainer.elapsed():.0f} s: {run.path}")
    if args.no_evaluation:
        return 0
    from gurgeh.final import final_evaluation

    return final_evaluation(run, config)


def run_training(run: RunDirectory, config: RunConfig, step: int | None) -> tuple[bool, Trainer]:
    """Train a locked run to its end, from the checkpoint of `step` or (None) from nothing: (whether it got there, the
    closed trainer). Ctrl-C and SIGTERM save a checkpoint and end it early."""
    saved = None
    if step is not None:
        step, saved = run.load_checkpoint(step)
    with Progress(title=run.path.name) as progress:
        trainer = Trainer(run, config, progress, step)
        try:
            if saved is not None and step is not None:
                trainer.load(step, saved)
                trainer.note_resume(run.config)
                if to_dict(config) != run.config:
                    run.write_config(to_dict(config))
                progress.say(f"going on from update {step} of {run.path}")
            trainer.note_session(step)
            with _interrupts() as interrupted:
                finished = trainer.train(lambda: bool(interrupted))
        finally:
            trainer.close()
    return finished, trainer


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that fills when Ctrl-C or SIGTERM arrives; a second Ctrl-C interrupts at once."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
