"""Environments in which several agents act, as games whose seats move in turn: PettingZoo's AEC API and its parallel
one.

`describe` reads the spaces of an environment, `AecEnvironment` plays copies of it. Seats are numbered in the order of
`possible_agents`. `env.rewards` after a step are the rewards of that step; agents that are done before the others are
stepped over. A parallel environment goes through PettingZoo's own conversion: its agents commit to their moves one
after another, see nothing of each other's until all have, and then the round is played; its rewards belong to the last
commitment of a round.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from envs.game import Box, GameSpec, ObservationKind, ObservationSpec
from envs.wrapped import CopiesEnvironment

SCREEN = 84  # larger pictures are shrunk to this square by area averages


@dataclasses.dataclass(frozen=True)
class View:
    """How what an agent observes becomes a game's observation."""

    observation: ObservationSpec
    num_actions: int
    box: Box | None  # of every seat's actions
    legal: np.ndarray  # [P, A] bool: the actions that a seat has at all
    first_action: np.ndarray  # [P] int64: the environment's number of a seat's action 0
    seats: int  # planes or entries that tell the seat; 0: none
    read: Callable[[Any], np.ndarray]  # observation of the environment's -> array without the seat
    planes: tuple[int, ...] | None = None  # the order in which to show the planes of a grid
    anew: bool = False  # make the environment anew for every episode: its reset does not forget everything


def describe(
    made: Any, name: str, seats: bool = False, flat: bool = False, planes: tuple[int, ...] | None = None
) -> View:
    """The view of an AEC environment.

    seats: show the mover which seat it has (agents with spaces of their own are always shown it). flat: grids as
    vectors. Raises ValueError for action spaces that are neither Discrete nor all the same bounded box, and for
    observations that no encoder reads.
    """
    agents = list(made.possible_agents)
    actions = [made.action_space(agent) for agent in agents]
    box, first = Box.of(actions[0]), actions[0]
    for agent, space in zip(agents, actions):
        if box is not None and (Box.of(space) != box or space.shape != first.shape):
            raise ValueError(
                f"{name}: the actions of {agents[0]} are {first}, those of {agent} are {space}; boxes of actions must "
                "be the same for all agents"
            )
        if box is None and not hasattr(space, "n"):
            raise ValueError(
                f"{name}: the actions of {agent} are {space}; Discrete actions and a bounded Box of real numbers can "
                "be played: wrap it in a file of your own that offers one of these"
            )
    sizes = [1 if box is not None else int(space.n) for space in actions]
    num_actions = max(sizes)
    spaces = [_seen(made.observation_space(agent)) for agent in agents]
    shown = seats or any(space.shape != spaces[0].shape for space in spaces) or len(set(sizes)) > 1
    count = len(agents) if shown else 0
    read, observation = _reader(spaces, name, flat, count)
    return View(
        observation,
        num_actions,
        box,
        np.array([np.arange(num_actions) < size for size in sizes]),
        np.array([int(getattr(space, "start", 0)) for space in actions]),
        count,
        read,
        planes,
    )


def _seen(space: Any) -> Any:
    return space["observation"] if hasattr(space, "spaces") and "observation" in space.spaces else space


def _reader(spaces: Sequence[Any], name: str, flat: bool, seats: int) -> tuple[Callable[[Any], Any], ObservationSpec]:
    """How an observation is read, and what it is then, with `seats` planes or entries more."""
    space = spaces[0]
    if hasattr(space, "n"):
        number = int(max(s.n for s in spaces))
        return lambda seen: np.eye(number, dtype=np.float32)[int(seen)], ObservationSpec(
            ObservationKind.VECTOR, (number + seats,)
        )
    if any(not hasattr(s, "low") or len(s.shape) not in (1, 2, 3) for s in spaces):
        raise ValueError(f"{name}: cannot read observations of {space}; give it a Box of one, two or three dimensions")
    if flat or len(space.shape) == 1:
        size = max(int(np.prod(s.shape)) for s in spaces)
        return lambda seen: _padded(np.ravel(seen), size), ObservationSpec(ObservationKind.VECTOR, (size + seats,))
    if any(s.shape != space.shape for s in spaces):
        raise ValueError(f"{name}: its agents observe grids of different shapes: {[s.shape for s in spaces]}")
    height, width, channels = (*space.shape, 1)[:3]
    if space.dtype == np.uint8 and float(np.max(space.high)) > 1:
        side = (SCREEN, SCREEN) if max(height, width) > SCREEN else (height, width)
        return lambda seen: shrunk(_planes(seen), side), ObservationSpec(
            ObservationKind.PIXELS, (channels + seats, *side), torch.uint8
        )
    binary = space.dtype in (np.dtype(bool), np.dtype(np.int8), np.dtype(np.uint8))
    binary = binary and float(np.min(space.low)) >= 0 and float(np.max(space.high)) <= 1
    dtype = torch.uint8 if binary else torch.float32
    return _planes, ObservationSpec(ObservationKind.GRID, (channels + seats, height, width), dtype)


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return values if len(values) == size else np.concatenate([values, np.zeros(size - len(values), values.dtype)])


def _planes(seen: np.ndarray) -> np.ndarray:
    """PettingZoo's boards are [H, W, C] or [H, W]."""
    return np.moveaxis(seen, 2, 0) if seen.ndim == 3 else seen[None]


def shrunk(screen: np.ndarray, side: tuple[int, int]) -> np.ndarray:
    """[C, H, W] uint8 -> [C, *side] uint8 by area averages, rounded."""
    if screen.shape[1:] == side:
        return screen
    picture = torch.from_numpy(np.ascontiguousarray(screen))[None].float()
    return F.interpolate(picture, side, mode="area")[0].round().to(torch.uint8).numpy()


def from_parallel(maker: Callable[[], Any]) -> Callable[[], Any]:
    """A maker of AEC environments from one of parallel environments."""
    return lambda: _conversions().parallel_to_aec_wrapper(maker())


def _conversions() -> Any:
    return importlib.import_module("pettingzoo.utils.conversions")


class AecEnvironment(CopiesEnvironment):
    """Copies of one AEC environment."""

    def __init__(self, spec: GameSpec, maker: Callable[[], Any], view: View, num_copies: int, seed: int):
        super().__init__(spec, num_copies, seed)
        self._envs = [maker() for _ in range(num_copies)]
        self._seat = {agent: seat for seat, agent in enumerate(self._envs[0].possible_agents)}
        self._view, self._maker = view, maker
        self._order = None if view.planes is None else list(view.planes)
        self._ones = 255 if spec.observation.kind is ObservationKind.PIXELS else 1

    def begin_copy(self, copy: int, seed: int) -> None:
        """Reset with the episode's seed."""
        if self._view.anew:
            self._envs[copy].close()
            self._envs[copy] = self._maker()
        self._envs[copy].reset(seed=seed)
        self._show_copy(copy)

    def play_copy(self, copy: int, action: Any) -> tuple[Any, bool, bool]:
        """One move of the agent whose turn it is."""
        env = self._envs[copy]
        if self._view.box is None:
            env.step(action + int(self._view.first_action[self.to_play[copy]]))
        else:
            space = env.action_space(env.agent_selection)
            env.step(action.reshape(space.shape).astype(space.dtype))
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
        env, view = self._envs[copy], self._view
        agent = env.agent_selection
        if agent not in env.agents:  # some environments remove everybody at the end: the last view stays
            return
        seat = self.to_play[copy] = self._seat[agent]
        seen = env.observe(agent)
        mask = None
        if isinstance(seen, dict):
            seen, mask = seen["observation"], seen.get("action_mask")
        if mask is None:
            mask = env.infos.get(agent, {}).get("action_mask")
        legal = self.legal[copy]
        legal[:] = view.legal[seat]
        if mask is not None and np.any(mask):  # after the end some environments allow nothing
            legal[: len(mask)] &= np.asarray(mask, np.bool_)
        planes = view.read(np.asarray(seen))
        own = planes if self._order is None else planes[self._order]
        self.observation[copy, : len(own)] = own
        if view.seats:
            self.observation[copy, len(own) :] = 0
            self.observation[copy, len(own) + seat] = self._ones

    def close(self) -> None:
        """Close every copy."""
        for env in self._envs:
            env.close()


def _done(env: Any, agent: str) -> bool:
    return env.terminations.get(agent, True) or env.truncations.get(agent, True)


def _over(env: Any) -> bool:
    return all(_done(env, agent) for agent in env.agents)
