"""TextWorld: adventures in words that are made from a seed (MIT, `pip install 'gurgeh[textworld]'`).

    textworld/coin_collector:LEVEL       find the coin in a maze; LEVEL from 1 (one room away) to 300
    textworld/treasure_hunter:LEVEL      take the right thing of two; LEVEL from 1 to 30, from 11 on behind doors
    textworld/simple                     a house, and a task of several steps that earn points
    textworld/coin_collector:3:games=64  drawn from 64 worlds (16 unless given)

A game here is a set of worlds, made with the seeds 1, 2, ... when they are first entered; an episode's seed says in
which of them it takes place. They are played by TextWorld's own logic, which says what can be done, what it leads to
and what it earns. The prose of compiled games is left out (a compiler that takes seconds a world, and 50 to 100 moves a
second): what is seen is the task in TextWorld's words and a plain account of the room, its exits, what lies there and
what is carried, from the same facts. As all of that is always shown, `look`, `inventory` and `examine` are no moves.

The actions are the admissible commands in alphabetical order (`GameSpec.action_tokens`), the first `MOST` where there
are more. At most `MAX_LENGTH` moves.
"""

from __future__ import annotations

import functools
import importlib
import re
import warnings
from typing import Any, NamedTuple

from envs import tokens
from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, installed
from envs.wrapped import CopiesEnvironment

PACKAGE = ("textworld", "textworld", "textworld")  # module, distribution, extra
TASK, SCENE = 288, 288  # tokens: the end of what is too long is what is shown
MOST, COMMAND = 24, 40  # commands at once, tokens of one
MAX_LENGTH = 100
WORLDS, MOST_WORLDS = 16, 1024
VERSION = 1
SYNTAX = "textworld/coin_collector:LEVEL, textworld/treasure_hunter:LEVEL or textworld/simple, with or without :games=N"
LEVELS = {"coin_collector": 300, "treasure_hunter": 30}
NO_MOVES = ("look", "inventory", "examine ")
NAMES = (
    "coin_collector:1", "coin_collector:5", "treasure_hunter:1", "treasure_hunter:5", "treasure_hunter:15", "simple",
)  # fmt: skip
OPENINGS = ("open", "closed", "locked")


class World(NamedTuple):
    """One world: TextWorld's game, and what writes its commands."""

    game: Any
    writer: Any


def names() -> list[str]:
    """Some of the games; nothing when TextWorld is missing."""
    try:
        installed(*PACKAGE)
    except ValueError:
        return []
    return [f"textworld/{name}" for name in NAMES]


def make(rest: str) -> Game:
    """See the top of this file. ValueError for challenges, levels and numbers of worlds that are not offered."""
    installed(*PACKAGE)
    challenge, *settings = rest.split(":")
    worlds, level = WORLDS, None
    for setting in settings:
        numbers = re.fullmatch(r"(games=)?([0-9]{1,4})", setting)
        if not numbers:
            raise ValueError(f"textworld/{rest}: {setting!r} is not understood; write {SYNTAX}")
        if numbers[1]:
            worlds = int(numbers[2])
        else:
            level = int(numbers[2])
    if challenge not in (*LEVELS, "simple"):
        from envs.registry import unknown

        raise ValueError(unknown(f"textworld/{rest}", names()))
    if (challenge in LEVELS) != (level is not None) or level not in (None, *range(1, LEVELS.get(challenge, 0) + 1)):
        what = f"has levels from 1 to {LEVELS[challenge]}" if challenge in LEVELS else "has no levels"
        raise ValueError(f"textworld/{rest}: {challenge} {what}; write {SYNTAX}")
    if not 1 <= worlds <= MOST_WORLDS:
        raise ValueError(f"textworld/{rest}: games={worlds} is not from 1 to {MOST_WORLDS}")
    name = f"textworld/{challenge}" + f":{level}" * (level is not None) + f":games={worlds}" * (worlds != WORLDS)
    spec = GameSpec(
        name=name,
        observation=ObservationSpec(ObservationKind.TOKENS, (TASK + SCENE + MOST * COMMAND,), tokens.DTYPE),
        num_actions=MOST,
        version=VERSION,
        perfect_information=False,
        reward_range=(0.0, 1.0 if challenge in LEVELS else float("inf")),
        max_length=MAX_LENGTH,
        family="words",
        action_tokens=COMMAND,
    )
    return Game(name, spec, functools.partial(TextWorldEnvironment, spec, challenge, level, worlds))


class TextWorldEnvironment(CopiesEnvironment):
    """Copies of one game, each in one of its worlds."""

    def __init__(self, spec: GameSpec, challenge: str, level: int | None, worlds: int, num_copies: int, seed: int):
        super().__init__(spec, num_copies, seed)
        self._world = functools.partial(_world, challenge, level)
        self._num_worlds = worlds
        self._progression = importlib.import_module("textworld.generator.game").GameProgression
        self._in: list[World] = [self._world(1)] * num_copies
        self._at: list[Any] = [None] * num_copies  # progressions
        self._can: list[list[tuple[str, Any]]] = [[] for _ in range(num_copies)]  # commands and what they do

    def begin_copy(self, copy: int, seed: int) -> None:
        """At the beginning of the world that the episode's seed names."""
        self._in[copy] = self._world(1 + seed % self._num_worlds)
        self._at[copy] = self._progression(self._in[copy].game, track_quests=True)
        self._show_copy(copy)

    def play_copy(self, copy: int, action: int) -> tuple[Any, bool, bool]:
        """Do what the command says; the reward is what the score grew by."""
        at = self._at[copy]
        before = at.score
        at.update(self._can[copy][action][1])
        self._show_copy(copy)
        return float(at.score - before), bool(at.done), False

    def _show_copy(self, copy: int) -> None:
        """What is seen and what can be done. After the end nothing can; then anything is legal."""
        world, at = self._in[copy], self._at[copy]
        over = bool(at.done)
        can = {} if over else dict(zip(world.writer.gen_commands_from_actions(at.valid_actions), at.valid_actions))
        self._can[copy] = [(text, can[text]) for text in sorted(can) if not text.startswith(NO_MOVES)][:MOST]
        commands = [text[-COMMAND:] for text, _ in self._can[copy]]
        shown = tokens.encode_position(b"", commands, self.spec)
        shown[:TASK] = tokens.encode(world.game.objective, TASK)
        shown[TASK : TASK + SCENE] = tokens.encode("\n" + scene(world.game, at.state.facts), SCENE)
        self.observation[copy] = shown.numpy()
        self.legal[copy] = over
        self.legal[copy, : len(commands)] = True


def scene(game: Any, facts: Any) -> str:
    """A plain account of where the player is: the room and its exits, what is there, what is carried."""
    named = sorted((fact.name, [variable.name for variable in fact.arguments]) for fact in facts)
    room = next(where for what, (who, *rest) in named if what == "at" and who == "P" for where in rest)
    state = {about[0]: what for what, about in named if what in OPENINGS}

    def name(number: str) -> str:
        found = game.infos[number].name if number in game.infos else None
        return f"{state[number]} {found}" if number in state else found or number

    def inside(relation: str, holder: str) -> list[str]:
        return [name(about[0]) for what, about in named if what == relation and about[1] == holder]

    doors = {about[2]: name(about[1]) for what, about in named if what == "link" and about[0] == room}
    exits = [
        what.removesuffix("_of") + (f" by the {doors[about[0]]}" if about[0] in doors else "")
        for what, about in named if what.endswith("_of") and about[1] == room
    ]  # fmt: skip
    things = []
    for what, about in named:
        if what == "at" and about[1] == room and about[0] != "P":
            held = [*inside("on", about[0]), *(inside("in", about[0]) if state.get(about[0]) == "open" else [])]
            things.append(name(about[0]) + (f" with {' and '.join(held)}" if held else ""))
    carried = inside("in", "I")
    return " ".join([
        f"You are in the {game.infos[room].name}.", f"Exits: {', '.join(exits) or 'none'}.",
        f"Here: {', '.join(things) or 'nothing'}.", f"You carry {', '.join(carried) or 'nothing'}.",
    ])  # fmt: skip


@functools.lru_cache(maxsize=MOST_WORLDS)
def _world(challenge: str, level: int | None, number: int) -> World:
    """World `number` of a challenge; the same in every process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of regular expressions in TextWorld's grammar
        options = importlib.import_module("textworld.generator.game").GameOptions()
        made = importlib.import_module("textworld.challenges").CHALLENGES[f"tw-{challenge}"]
        options.seeds = number
        settings = {"level": level} if level else {"rewards": "dense", "goal": "brief", "test": False}
        game = made[1](settings, options)
        return World(game, importlib.import_module("textworld.generator.inform7").Inform7Game(game))
