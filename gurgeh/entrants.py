"""Who takes part in an arena: from what is written on the command line to players with names of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents.player import StatePlayer
from envs.game import Game
from gurgeh.episodes import AnyPlayer, untouched_randomness
from gurgeh.evaluate import EvaluationConfig, is_built_in, named_player
from gurgeh.load import LoadedRun

OPTIONS = "simulations=N, rules, sample"


class Entrant(NamedTuple):
    """A player as it was written on the command line: `NAME` or `RUN[@STEP][:OPTION[,OPTION ...]]`."""

    written: str
    run: str | None = None  # directory; None for built-in players
    step: int | None = None
    simulations: int | None = None
    rules: bool = False
    greedy: bool = True


class Contestant(NamedTuple):
    """An entrant that is ready to play."""

    name: str  # unique within the arena
    player: AnyPlayer
    about: dict[str, Any]  # JSON values: where it comes from and how it plays


def parse_entrant(text: str) -> Entrant:
    """`runs/demo@7700:simulations=64,rules` and the like; names of built-in players stay as they are.

    ValueError for an unknown option. Whether the run exists is seen when it is loaded.
    """
    if is_built_in(text):
        return Entrant(text)
    # A folder may have `:` and `@` in its name; so what exists is a folder.
    run, _, options = (text, "", "") if Path(text).exists() else text.partition(":")
    chosen: dict[str, Any] = {}
    for option in options.split(",") if options else []:
        name, equals, value = option.partition("=")
        if name in chosen or (name == "sample" and "greedy" in chosen):
            raise ValueError(f"{text!r} names {name} twice")
        if name == "simulations" and re.fullmatch(r"[0-9]+", value):
            chosen[name] = int(value)
        elif name == "rules" and not equals:
            chosen["rules"] = True
        elif name == "sample" and not equals:
            chosen["greedy"] = False
        else:
            raise ValueError(f"{text!r}: {option!r} is no option of a player; the options of a run are {OPTIONS}")
    if not Path(run).exists():
        folder, _, step = run.rpartition("@")
        if folder and re.fullmatch(r"[0-9]+", step):
            return Entrant(text, folder, int(step), **chosen)
    return Entrant(text, run, None, **chosen)


def load_contestants(entrants: Sequence[Entrant], game: Game, simulations: int | None = None) -> list[Contestant]:
    """The players of `game`; a run's checkpoint is loaded once, however many players it gives.

    Names: built-in players have their own; a checkpoint is FOLDER@STEP:simulations=N and its other options, with as
    many parent folders as tell apart runs of one name. ValueError for players that do not exist, do not play the game,
    or are named twice.
    """
    loaded: dict[tuple[str, int | None], LoadedRun] = {}
    for entrant in entrants:
        if entrant.run is None:
            continue
        if not Path(entrant.run).exists():
            named_player(entrant.run, game, EvaluationConfig())  # says what it could have been
            raise ValueError(f"{entrant.run!r} plays without options; leave {entrant.written!r} at that name")
        key = entrant.run, entrant.step
        if key not in loaded:
            with untouched_randomness():  # making the network draws initial weights
                loaded[key] = LoadedRun(*key)
    folders = _short_names({run.path.resolve() for run in loaded.values()})
    found: dict[str, Contestant] = {}
    for entrant in entrants:
        if entrant.run is None:
            made = Contestant(entrant.written, named_player(entrant.written, game, EvaluationConfig()), {})
        else:
            run = loaded[entrant.run, entrant.step]
            made = _of_run(entrant, run, folders[run.path.resolve()], game, simulations)
        if made.name in found:
            raise ValueError(f"{entrant.written!r} is {made.name}, which plays already; name every player once")
        if isinstance(made.player, StatePlayer) and game.native is None:
            raise ValueError(f"{made.name} needs native rules, which {game.name} has not")
        found[made.name] = made
    return list(found.values())


def _of_run(entrant: Entrant, run: LoadedRun, folder: str, game: Game, simulations: int | None) -> Contestant:
    """The player that an entrant asks of a loaded run."""
    if entrant.simulations is not None:
        simulations = entrant.simulations
    elif simulations is None:
        simulations = run.config.evaluation.simulations
    if game.spec.name not in run.games:
        raise ValueError(f"{entrant.run} does not play {game.name}; it plays {', '.join(run.games)}")
    make = run.rules_player if entrant.rules else run.player
    player = make(game.spec.name, simulations, entrant.greedy)
    rules = isinstance(player, StatePlayer)  # also where a run was trained with them
    name = f"{folder}@{run.step}:simulations={simulations}" + ",rules" * rules
    about = {"run": str(run.path), "step": run.step, "checkpoint": run.manifest_hash(), "simulations": simulations,
             "rules": rules, "greedy": entrant.greedy}  # fmt: skip
    return Contestant(name + ",sample" * (not entrant.greedy), player, about)


def _short_names(paths: set[Path]) -> dict[Path, str]:
    """The last folder of each path, or as many more as tell them apart."""
    names = {}
    for path in paths:
        depth = 1
        while sum(other.parts[-depth:] == path.parts[-depth:] for other in paths) > 1:
            depth += 1
        names[path] = "/".join(path.parts[-depth:])
    return names
