"""MiniGrid and BabyAI: grid worlds seen through a window of 7 x 7 cells (Apache-2.0, `pip install 'gurgeh[minigrid]'`).

    minigrid/DoorKey-5x5-v0        Gymnasium's MiniGrid-DoorKey-5x5-v0
    minigrid/BabyAI-GoToObj-v0     BabyAI's levels keep their name

Planes of zeros and ones, the agent at the bottom in the middle, looking up: 11 of what lies on a cell (not seen, empty,
wall, floor, door, key, ball, box, goal, lava, agent), 6 of its colour, 3 of a door's state (open, closed, locked), 4 of
the direction in the world. What the agent carries is shown on its own cell. Where the mission varies from episode to
episode it is shown too: word n of the mission on cell n, row by row, in the plane of that word (`WORDS`, one list for
all games); words after the last cell are cut off. Where it is always the same sentence it is left out.

A game hides what is outside the window, and has no memory of what was seen.
"""

from __future__ import annotations

import functools
import importlib
import re
import warnings
from typing import Any

import gymnasium
import numpy as np
import torch

from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, installed
from envs.wrapped import CopiesEnvironment

PACKAGE = ("minigrid", "minigrid", "minigrid")  # module, distribution, extra
OBJECTS, COLOURS, DOORS, DIRECTIONS = 11, 6, 3, 4
EMPTY, DOOR = 1, 4  # MiniGrid's numbers: 0 and 1 are unseen and empty and have no colour
WORDS = (  # of all missions; the first stands for any other word. A change raises VERSION
    "?", "red", "green", "blue", "purple", "yellow", "grey", "box", "ball", "key", "door", "object", "a", "the",
    "go", "to", "pick", "up", "put", "open", "get", "fetch", "you", "must", "next", "near", "then", "after", "and",
    "in", "front", "of", "behind", "on", "your", "left", "right", "from", "room", "unlock", "goal",
)  # fmt: skip
VERSION = 1
WAVE = "-WFC-"  # levels made by wave function collapse from pictures
ACTIONS = ("left", "right", "forward", "pick up", "drop", "toggle", "done")


def names() -> list[str]:
    """Every level that the package registers; nothing when it is missing."""
    try:
        return sorted(f"minigrid/{level.removeprefix('MiniGrid-')}" for level in _levels() if WAVE not in level)
    except ValueError:
        return []


def make(rest: str) -> Game:
    """LEVEL, with or without `MiniGrid-` before it."""
    level = rest if rest in _levels() else f"MiniGrid-{rest}"
    if level not in _levels():
        from envs.registry import unknown

        raise ValueError(unknown(f"minigrid/{rest}", names()))
    if WAVE in level:
        raise ValueError(f"minigrid/{rest} cannot be played: MiniGrid 3.2 is packed without the pictures that it reads")
    made = _make_one(level)
    space = made.observation_space
    width, height, _ = space["image"].shape
    varies = not level.startswith("MiniGrid") or space["mission"].ordered_placeholders is not None
    name = f"minigrid/{level.removeprefix('MiniGrid-')}"
    planes = OBJECTS + COLOURS + DOORS + DIRECTIONS + (len(WORDS) if varies else 0)
    spec = GameSpec(
        name=name,
        observation=ObservationSpec(ObservationKind.GRID, (planes, height, width), torch.uint8),
        num_actions=int(made.action_space.n),
        version=VERSION,
        stochastic="Dynamic-Obstacles" in level,
        perfect_information=False,
        reward_range=(-1.0, 1.0),
        max_length=None if level.startswith("BabyAI") else made.unwrapped.max_steps,  # there it is the mission's own
        family="minigrid",
        action_keys=tuple(f"walk {action}" for action in ACTIONS[: int(made.action_space.n)]),
    )
    made.close()
    return Game(name, spec, functools.partial(MiniGridEnvironment, spec, level, varies))


class MiniGridEnvironment(CopiesEnvironment):
    """Copies of one level."""

    def __init__(self, spec: GameSpec, level: str, varies: bool, num_copies: int, seed: int):
        super().__init__(spec, num_copies, seed)
        self._envs: list[Any] = [_make_one(level) for _ in range(num_copies)]
        self._varies = varies
        _, height, width = spec.observation.shape
        self._down, self._across = np.indices((height, width))

    def begin_copy(self, copy: int, seed: int) -> None:
        """Reset with the episode's seed; only now is the mission known."""
        seen, _ = self._envs[copy].reset(seed=seed)
        planes = self.observation[copy]
        planes[:] = 0
        if self._varies:
            first, width = OBJECTS + COLOURS + DOORS + DIRECTIONS, planes.shape[2]
            for place, word in enumerate(mission_words(seen["mission"])[: self._down.size]):
                planes[first + word, place // width, place % width] = 1
        self._show_copy(copy, seen)

    def play_copy(self, copy: int, action: int) -> tuple[Any, bool, bool]:
        """One step."""
        seen, reward, terminated, truncated, _ = self._envs[copy].step(action)
        self._show_copy(copy, seen)
        return reward, terminated, truncated and not terminated

    def _show_copy(self, copy: int, seen: dict[str, Any]) -> None:
        thing, colour, door = seen["image"].transpose(2, 1, 0)  # MiniGrid's images are [column, row, 3]
        planes = self.observation[copy]
        planes[: OBJECTS + COLOURS + DOORS + DIRECTIONS] = 0
        planes[thing, self._down, self._across] = 1
        planes[OBJECTS + colour, self._down, self._across] = thing > EMPTY
        planes[OBJECTS + COLOURS + np.minimum(door, DOORS - 1), self._down, self._across] = thing == DOOR
        planes[OBJECTS + COLOURS + DOORS + int(seen["direction"])] = 1

    def close(self) -> None:
        """Close every copy."""
        for env in self._envs:
            env.close()


def mission_words(mission: str) -> list[int]:
    """The numbers of a mission's words in `WORDS`; 0 for words that are not in it."""
    known = _numbers()
    return [known.get(word, 0) for word in re.findall(r"[a-z]+", mission.lower())]


@functools.cache
def _numbers() -> dict[str, int]:
    return {word: number for number, word in enumerate(WORDS)}


@functools.cache
def _levels() -> tuple[str, ...]:
    installed(*PACKAGE)
    importlib.import_module("minigrid")  # which registers them
    levels: Any = importlib.import_module("minigrid.envs.babyai.core.roomgrid_level")
    levels.print = lambda *_: None  # it tells of every level that it throws away
    return tuple(level for level in gymnasium.registry if level.startswith(("MiniGrid-", "BabyAI-")))


def _make_one(level: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Gymnasium about newer versions of a level
        return gymnasium.make(level, disable_env_checker=True)
