"""PettingZoo: classic board games by id, `pettingzoo/connect_four_v3` (`pip install 'gurgeh[pettingzoo]'`).

Any AEC environment of an author's own goes through here too (see docs/adding-a-game.md). Observations are what the
agent to move observes, planes first; `env.rewards` after a step are the rewards of that step; agents that are done
before the others are stepped over. Games with hidden information or simultaneous moves are refused.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, cell_keys, installed
from envs.wrapped import CopiesEnvironment

PACKAGE = ("pettingzoo", "pettingzoo", "pettingzoo")  # module, distribution, extra
HIDDEN = {"hanabi", "leduc_holdem", "rps", "texas_holdem", "texas_holdem_no_limit"}


@dataclasses.dataclass(frozen=True)
class Known:
    """What PettingZoo does not say about its own games."""

    family: str
    max_length: int | None = None
    zero_sum: bool = False  # then rewards are -1, 0 and 1
    action_keys: tuple[str, ...] | None = None
    board_planes: bool = False
    planes: tuple[int, ...] | None = None  # the order in which to show its planes


# Go's history pairs are stored from the view of whoever moved then: every second pair is (theirs, mine).
GO_PLANES = tuple(plane ^ 1 if plane < 16 and plane // 2 % 2 == 0 else plane for plane in range(17))
KNOWN = {
    "tictactoe": Known("m,n,k", 9, True, cell_keys(3, 3), True),
    "connect_four": Known("m,n,k", 42, True, tuple(f"column {column}" for column in range(7)), True),
    "go": Known(
        "go", 2 * 19 * 19, True, (*cell_keys(19, 19), "pass"), True, GO_PLANES
    ),  # random Go has no end by itself
    "chess": Known("chess", zero_sum=True),
}


def names() -> list[str]:
    """The classic games with perfect information; nothing when PettingZoo is missing."""
    return [f"pettingzoo/{name}" for name in _classic() if _root(name) not in HIDDEN]


def make(rest: str) -> Game:
    """The classic game of this id, such as tictactoe_v3."""
    installed(*PACKAGE)
    if _root(rest) in HIDDEN:
        raise ValueError(
            f"pettingzoo/{rest} hides information or has simultaneous moves; only games with perfect information, "
            f"in which one player moves at a time, can be played so far: {', '.join(names())}"
        )
    if rest not in _classic():
        from envs.registry import unknown

        raise ValueError(unknown(f"pettingzoo/{rest}", names()))
    try:
        with warnings.catch_warnings():  # its newer registry hands out wrapped environments only
            warnings.simplefilter("ignore", DeprecationWarning)
            module = importlib.import_module(f"pettingzoo.classic.{rest}")
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'gurgeh[pettingzoo]'") from error
    maker = module.raw_env  # without the wrappers that check legality: that is the caller's business here
    return _game(maker, maker(), f"pettingzoo/{rest}", KNOWN.get(_root(rest), Known("board", zero_sum=True)))


def wrap(maker: Callable[[], Any], made: Any, name: str) -> Game | None:
    """The game of an author's own AEC environment, if it is one."""
    if not all(hasattr(made, part) for part in ("possible_agents", "observe", "last")):
        return None
    return _game(maker, made, name, Known("other"))


def _game(maker: Callable[[], Any], made: Any, name: str, known: Known) -> Game:
    spaces = [made.action_space(agent) for agent in made.possible_agents]
    if any(space != spaces[0] or not hasattr(space, "n") for space in spaces):
        raise ValueError(f"{name}: every agent needs the same Discrete actions, found {spaces}")
    space = made.observation_space(made.possible_agents[0])
    space = space["observation"] if hasattr(space, "spaces") else space
    spec = GameSpec(
        name=name,
        observation=_observation(space, name),
        num_actions=int(spaces[0].n),
        num_players=len(made.possible_agents),
        zero_sum=known.zero_sum,
        reward_range=(-1.0, 1.0) if known.zero_sum else (-float("inf"), float("inf")),
        max_length=known.max_length,
        family=known.family,
        board_planes=known.board_planes,
        action_keys=known.action_keys,
    )
    made.close()
    return Game(name, spec, functools.partial(AecEnvironment, spec, maker, known.planes))


def _observation(space: Any, name: str) -> ObservationSpec:
    """PettingZoo's boards are [H, W, C]; zeros and ones become bytes."""
    if space.shape is None or len(space.shape) not in (1, 2, 3):
        raise ValueError(f"{name}: cannot read observations of {space}; give it a Box of one, two or three dimensions")
    binary = space.dtype in (np.dtype(bool), np.dtype(np.int8), np.dtype(np.uint8))
    binary = binary and float(np.min(space.low)) >= 0 and float(np.max(space.high)) <= 1
    dtype = torch.uint8 if binary else torch.float32
    if len(space.shape) == 1:
        return ObservationSpec(ObservationKind.VECTOR, space.shape, torch.float32)
    height, width, channels = (*space.shape, 1)[:3]
    return ObservationSpec(ObservationKind.GRID, (channels, height, width), dtype)


class AecEnvironment(CopiesEnvironment):
    """Copies of one AEC environment."""

    def __init__(
        self, spec: GameSpec, maker: Callable[[], Any], planes: tuple[int, ...] | None, num_copies: int, seed: int
    ):
        super().__init__(spec, num_copies, seed)
        self._envs = [maker() for _ in range(num_copies)]
        self._seat = {agent: seat for seat, agent in enumerate(self._envs[0].possible_agents)}
        self._planes = None if planes is None else list(planes)

    def begin_copy(self, copy: int, seed: int) -> None:
        """Reset with the episode's seed."""
        self._envs[copy].reset(seed=seed)
        self._show_copy(copy)

    def play_copy(self, copy: int, action: int) -> tuple[Any, bool, bool]:
        """One move of the agent whose turn it is."""
        env = self._envs[copy]
        env.step(action)
        reward = np.zeros(self.spec.num_players, np.float32)
        for agent, value in env.rewards.items():
            reward[self._seat[agent]] = value
        while not _over(env) and _done(env, env.agent_selection):
            env.step(None)
        over = _over(env)
        terminated = over and (not env.agents or any(env.terminations.values()))
        self._show_copy(copy)
        return reward, terminated, over and not terminated

    def _show_copy(self, copy: int) -> None:
        env = self._envs[copy]
        agent = env.agent_selection
        if agent not in env.agents:  # some environments remove everybody at the end: the last view stays
            return
        self.to_play[copy] = self._seat[agent]
        seen = env.observe(agent)
        if isinstance(seen, dict):
            mask = np.asarray(seen["action_mask"], np.bool_)
            self.legal[copy] = mask if mask.any() else True
            seen = seen["observation"]
        if self.spec.observation.kind is ObservationKind.GRID:
            seen = np.moveaxis(seen, 2, 0) if seen.ndim == 3 else seen[None]
            if self._planes is not None:
                seen = seen[self._planes]
        self.observation[copy] = seen

    def close(self) -> None:
        """Close every copy."""
        for env in self._envs:
            env.close()


def _done(env: Any, agent: str) -> bool:
    return env.terminations.get(agent, True) or env.truncations.get(agent, True)


def _over(env: Any) -> bool:
    return all(_done(env, agent) for agent in env.agents)


def _root(name: str) -> str:
    return name.rpartition("_v")[0] or name


@functools.cache
def _classic() -> tuple[str, ...]:
    """The ids, read from the package's folder: importing it would import pygame."""
    package = importlib.util.find_spec("pettingzoo")
    if package is None or package.origin is None:
        return ()
    files = (Path(package.origin).parent / "classic").glob("*_v*.py")
    return tuple(sorted(file.stem for file in files))
