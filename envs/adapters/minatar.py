"""MinAtar: five Atari games on 10 x 10 planes (Young and Tian 2019, GPL-3.0, `pip install 'gurgeh[minatar]'`).

Defaults, where the package leaves a choice or papers differ:
  * Sticky actions with probability 0.1, as in the paper: the game repeats the last action it carried out.
  * No difficulty ramping, so that a game's score means the same early and late (`:paper` turns it on).
  * The minimal action set: only actions that do something in this game (`:full` and `:paper` give all six). Actions
    share their keys over the five games and with ALE's, so "left" has one embedding.
  * At most 5,000 moves an episode, then truncated: a Breakout that never misses would have no end.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, Symmetries, installed
from envs.wrapped import CopiesEnvironment

PACKAGE = ("minatar", "MinAtar", "minatar")  # module, distribution, extra
GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
SIDE = 10
STICKY = 0.1
MAX_LENGTH = 5000
KEYS = ("noop", "left", "up", "right", "down", "fire")  # the package's 'n', 'l', 'u', 'r', 'd', 'f'
MIRRORED = ("breakout",)  # seen in a mirror it is the same game, but for the paddle's first cell, 4 of 0 to 9
PRESETS = {"": (False, False), "full": (True, False), "paper": (True, True)}  # all six actions? ramping?


def names() -> list[str]:
    """The five games."""
    return [f"minatar/{game}" for game in GAMES]


def make(rest: str) -> Game:
    """GAME or GAME:PRESET."""
    game, _, preset = rest.partition(":")
    if game not in GAMES:
        raise ValueError(f"unknown MinAtar game {game!r}: one of {', '.join(GAMES)}")
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r} of minatar/{game}: full, paper, or none at all")
    all_actions, ramping = PRESETS[preset]
    make_one = functools.partial(_module(game).Env, ramping=ramping)
    sample = make_one()
    actions = list(range(len(KEYS))) if all_actions else sample.minimal_action_set()
    spec = GameSpec(
        name=f"minatar/{rest}",
        observation=ObservationSpec(ObservationKind.GRID, (len(sample.channels), SIDE, SIDE), torch.uint8),
        num_actions=len(actions),
        stochastic=True,
        reward_range=(-1.0, 10.0) if game == "seaquest" else (0.0, 1.0),
        max_length=MAX_LENGTH,
        family="minatar",
        action_keys=tuple(f"joystick {KEYS[action]}" for action in actions),
        symmetries=_mirror(actions) if game in MIRRORED else None,
    )
    return Game(spec.name, spec, functools.partial(MinAtarEnvironment, spec, make_one, actions))


def _mirror(actions: list[int]) -> Symmetries:
    """The identity and the left-right reflection. actions: the game's own, as numbers of `KEYS`."""
    rows = range(0, SIDE * SIDE, SIDE)
    swapped = {KEYS.index("left"): KEYS.index("right"), KEYS.index("right"): KEYS.index("left")}
    return Symmetries(
        cells=(tuple(range(SIDE * SIDE)), tuple(row + column for row in rows for column in reversed(range(SIDE)))),
        actions=(tuple(range(len(actions))), tuple(actions.index(swapped.get(action, action)) for action in actions)),
    )


class MinAtarEnvironment(CopiesEnvironment):
    """Copies of one game; each has a random generator of its own, made anew from every episode's seed."""

    def __init__(self, spec: GameSpec, make_one: Any, actions: list[int], num_copies: int, seed: int):
        super().__init__(spec, num_copies, seed)
        self._games = [make_one() for _ in range(num_copies)]
        self._actions = actions
        self._last = [0] * num_copies

    def begin_copy(self, copy: int, seed: int) -> None:
        """Everything random in the episode comes from one generator, as in the package's own `Environment`."""
        game = self._games[copy]
        game.random.seed(seed)  # the same numbers as a new RandomState(seed), 30 times faster
        game.reset()
        self._last[copy] = 0
        self._show_copy(copy)

    def play_copy(self, copy: int, action: int) -> tuple[Any, bool, bool]:
        """One move, or the last one again."""
        game = self._games[copy]
        if game.random.rand() >= STICKY:
            self._last[copy] = self._actions[action]
        reward, terminated = game.act(self._last[copy])
        self._show_copy(copy)
        return reward, terminated, False

    def _show_copy(self, copy: int) -> None:
        self.observation[copy] = self._games[copy].state().transpose(2, 0, 1)


@functools.cache
def _module(game: str) -> ModuleType:
    """The game's own file: importing the package would load matplotlib and seaborn as well."""
    installed(*PACKAGE)
    package = importlib.util.find_spec("minatar")
    assert package, "installed"
    assert package.origin, "a package with a file"
    path = Path(package.origin).parent / "environments" / f"{game}.py"
    found = importlib.util.spec_from_file_location(f"minatar_{game}", path)
    assert found, f"{path} has no import specification"
    assert found.loader, f"{path} has no loader"
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
