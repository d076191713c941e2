"""Gymnasium: any environment, by its id (a plain `CartPole-v1`, or `gymnasium/CartPole-v1`).

Actions are Discrete, or a bounded Box: `Pendulum-v1` has continuous actions. `Pendulum-v1:bins=5` plays a grid instead:
5 values from lowest to highest in every dimension, an action a point of the grid, at most 4,096 of them. Observations:
a Box of one dimension is a vector; uint8 images become pixels [C, H, W]; other spaces that Gymnasium can flatten
(Discrete, MultiDiscrete, Dict, Tuple ...) become a vector, one-hot where they are discrete. Rewards are the
environment's own. A mask in `info["action_mask"]` is taken as the legal actions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from envs.game import Box, Game, GameSpec, ObservationKind, ObservationSpec, installed
from envs.wrapped import CopiesEnvironment, WrappedEnvironment

REWARD_RANGE = {"CartPole-v0": (0.0, 1.0), "CartPole-v1": (0.0, 1.0)}  # Gymnasium no longer says what it is
BOX_REWARD_RANGE = {"Pendulum-v1": (-(math.pi**2 + 6.4 + 0.004), 0.0)}  # with continuous actions; its documentation
PACKAGES = (  # extra and folder, module, distribution
    ("box2d", "Box2D", "Box2D"), ("mujoco", "mujoco", "mujoco"), ("mujoco", "imageio", "imageio"),
)  # fmt: skip
UNLISTED = ("phys2d/", "tabular/", "GymV")  # copies of others, written in jax, and shims for old packages
CONTINUOUS = {
    "BipedalWalker": 3,
    "CarRacing": 3,
    "Continuous": 5,
    "Pendulum": 5,
    "mujoco": 3,
}  # bins, as they are listed beside the game itself
TOO_MANY = ("Ant-", "Humanoid")  # 8 and 17 dimensions: no grid of three values
MAX_GRID = 4096
HIDDEN = ("Blackjack-v1",)  # the dealer's second card
CHANCE = ("Blackjack-v1", "LunarLander-v3")  # draws cards; the engines' thrust varies


def names() -> list[str]:
    """The ids that Gymnasium brings itself and that can be played; only the newest version of each."""
    newest: dict[str, EnvSpec] = {}
    for found in gymnasium.registry.values():
        if not str(found.entry_point).startswith("gymnasium.") or found.id.startswith(UNLISTED):
            continue
        root = found.id.rpartition("-v")[0]
        if root not in newest or (found.version or 0) > (newest[root].version or 0):
            newest[root] = found
    return sorted(name for found in newest.values() for name in (found.id, *_listed_bins(found)))


def _listed_bins(found: EnvSpec) -> list[str]:
    if found.id.startswith(TOO_MANY):
        return []
    bins = [bins for word, bins in CONTINUOUS.items() if word in f"{found.id} {found.entry_point}"]
    return [f"{found.id}:bins={bins[0]}"] if bins else []


def make(rest: str) -> Game:
    """The game of this id."""
    game = find(rest)
    if game is None:
        from envs.registry import unknown

        raise ValueError(unknown(rest, names()))
    return game


def find(name: str) -> Game | None:
    """The game of this id (`MODULE:ID` imports MODULE first), or None where Gymnasium knows no such id."""
    plain, _, bins = name.partition(":bins=")
    known = gymnasium.registry.get(plain.rpartition(":")[2])
    if known is None and ":" not in plain:
        return None
    if bins and (not bins.isdecimal() or int(bins) < 2):
        raise ValueError(f"{name}: bins is {bins!r}; write a whole number of values a dimension, at least 2")
    for package, module, distribution in PACKAGES:
        if known is not None and str(known.entry_point).startswith(f"gymnasium.envs.{package}"):
            installed(module, distribution, package)  # Gymnasium's own words for it lead to a build from source
    maker = functools.partial(_make_one, plain)
    made = maker()
    if bins:
        maker = functools.partial(_make_grid, maker, int(bins))
        made = _on_grid(made, int(bins), name)
    return _game(maker, made, name)


def wrap(maker: Callable[[], Any], made: Any, name: str) -> Game | None:
    """The game of an author's own environment, if it is one of Gymnasium's."""
    return _game(maker, made, name) if isinstance(made, gymnasium.Env) else None


def _make_one(name: str) -> gymnasium.Env:
    try:
        return gymnasium.make(name, disable_env_checker=True)
    except (gymnasium.error.Error, ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"Gymnasium cannot make {name!r}: {' '.join(str(error).split())}") from error


def _game(maker: Callable[[], gymnasium.Env], made: gymnasium.Env, name: str) -> Game:
    box = _box(made.action_space, name)
    reader, observation = _reader(made.observation_space, name)
    known = made.spec
    spec = GameSpec(
        name=name,
        observation=observation,
        num_actions=1 if box is not None else int(made.action_space.n),  # pyright: ignore[reportAttributeAccessIssue]
        box=box,
        stochastic=_is_chancy(made),
        perfect_information=known is None or known.id not in HIDDEN,
        reward_range=(REWARD_RANGE if box is None else BOX_REWARD_RANGE).get(
            known.id if known else "", (-float("inf"), float("inf"))
        ),
        max_length=known.max_episode_steps if known else None,
        family=_family(made),
    )
    made.close()
    if known is not None and known.id in ("CartPole-v0", "CartPole-v1") and not known.kwargs:
        return Game(name, spec, functools.partial(CartPoleEnvironment, spec, maker))
    return Game(name, spec, functools.partial(GymnasiumEnvironment, spec, maker, reader))


def _box(space: spaces.Space, name: str) -> Box | None:
    """The box of continuous actions; None for Discrete ones. ValueError for other spaces."""
    if isinstance(space, spaces.Discrete):
        return None
    box = Box.of(space)
    if box is None:
        raise ValueError(
            f"{name}: its actions are {space}; Discrete actions and a bounded Box of real numbers can be played: wrap "
            "it with gymnasium.wrappers.TransformAction in a file of your own that offers one of these"
        )
    return box


def _is_chancy(made: gymnasium.Env) -> bool:
    """Whether Gymnasium's own tables or `CHANCE` say that a move's outcome is drawn; False where nobody knows."""
    table = getattr(made.unwrapped, "P", None)
    if isinstance(table, dict):
        return any(len(outcomes) > 1 for moves in table.values() for outcomes in moves.values())
    return made.spec is not None and made.spec.id in CHANCE


class Grid(gymnasium.ActionWrapper):
    """An environment with a bounded Box of actions, played by the points of a grid: the last dimension counts
    fastest.
    """

    def __init__(self, env: gymnasium.Env, bins: int):
        super().__init__(env)
        space: Any = env.action_space
        low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
        axes = np.meshgrid(*(np.linspace(a, b, bins) for a, b in zip(low, high)), indexing="ij")
        points = np.stack([axis.ravel() for axis in axes], 1).astype(space.dtype)
        self.points = np.clip(points.reshape(-1, *space.shape), space.low, space.high)  # [bins ** D, *shape]
        self.action_space = spaces.Discrete(len(self.points))

    def action(self, action: Any) -> np.ndarray:
        """The point of this number."""
        return self.points[int(action)]


def _on_grid(made: gymnasium.Env, bins: int, name: str) -> gymnasium.Env:
    space = made.action_space
    if not isinstance(space, spaces.Box) or not space.is_bounded():
        raise ValueError(f"{name}: its actions are {space}; bins is for a bounded Box: leave it out")
    dimensions = int(np.prod(space.shape))
    if bins**dimensions > MAX_GRID:
        raise ValueError(
            f"{name}: {bins} values in {dimensions} dimensions are {bins**dimensions:,} actions, {MAX_GRID:,} is the "
            f"limit: take fewer values, or play {name.partition(':bins=')[0]} itself, with continuous actions"
        )
    return Grid(made, bins)


def _make_grid(maker: Callable[[], gymnasium.Env], bins: int) -> gymnasium.Env:
    return Grid(maker(), bins)


def _family(made: gymnasium.Env) -> str:
    """gymnasium.envs.toy_text.taxi is of the family toy_text; elsewhere the package is the family."""
    module = type(made.unwrapped).__module__.split(".")
    if module[:2] == ["gymnasium", "envs"]:
        return module[2]
    return "other" if module[0].startswith("gurgeh_file_") else module[0]


def _reader(space: spaces.Space, name: str) -> tuple[Callable[[Any], Any], ObservationSpec]:
    """How an observation is read, and what it then is."""
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3):
        if len(space.shape) == 2:
            shape = (1, *space.shape)
            return lambda screen: screen[None], ObservationSpec(ObservationKind.PIXELS, shape, torch.uint8)
        height, width, channels = space.shape
        if channels <= 4:
            shape = (channels, height, width)
            return lambda screen: screen.transpose(2, 0, 1), ObservationSpec(ObservationKind.PIXELS, shape, torch.uint8)
        return np.asarray, ObservationSpec(ObservationKind.PIXELS, space.shape, torch.uint8)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return np.asarray, ObservationSpec(ObservationKind.VECTOR, space.shape)
    if not space.is_np_flattenable:
        raise ValueError(f"{name}: cannot read observations of {space}; give it a Box or a space that can be flattened")
    shape = spaces.flatten_space(space).shape
    assert shape is not None, f"{space} flattened has no shape"
    return functools.partial(spaces.flatten, space), ObservationSpec(ObservationKind.VECTOR, shape)


class GymnasiumEnvironment(CopiesEnvironment):
    """Copies of one environment; every reset gives the episode's seed."""

    def __init__(
        self,
        spec: GameSpec,
        maker: Callable[[], gymnasium.Env],
        reader: Callable[[Any], Any],
        num_copies: int,
        seed: int,
    ):
        super().__init__(spec, num_copies, seed)
        self._envs = [maker() for _ in range(num_copies)]
        self._reader = reader
        space: Any = self._envs[0].action_space  # looked at when the game was made
        self._first_action = 0 if spec.box is not None else int(space.start)
        self._action_shape, self._action_type = space.shape, space.dtype  # of a box

    def begin_copy(self, copy: int, seed: int) -> None:
        """`reset(seed=...)` must forget everything: the checker holds environments to it."""
        observation, info = self._envs[copy].reset(seed=seed)
        self._show_copy(copy, observation, info)

    def play_copy(self, copy: int, action: Any) -> tuple[Any, bool, bool]:
        """One step."""
        if self.spec.box is None:
            action += self._first_action
        else:
            action = action.reshape(self._action_shape).astype(self._action_type)
        observation, reward, terminated, truncated, info = self._envs[copy].step(action)
        self._show_copy(copy, observation, info)
        return reward, terminated, truncated

    def _show_copy(self, copy: int, observation: Any, info: dict[str, Any]) -> None:
        self.observation[copy] = self._reader(observation)
        if "action_mask" in info:
            mask = np.asarray(info["action_mask"], np.bool_)
            self.legal[copy] = mask if mask.any() else True  # after the end some environments allow nothing

    def close(self) -> None:
        """Close every copy."""
        for env in self._envs:
            env.close()


class CartPoleEnvironment(WrappedEnvironment):
    """Gymnasium's own vectorised CartPole, about ten times faster than copies of the single one.

    Its first states would come from one generator for all copies; here every episode begins where the single
    environment with the episode's seed begins, so that both play the same game to the bit (tested).
    """

    def __init__(self, spec: GameSpec, maker: Callable[[], gymnasium.Env], num_copies: int, seed: int):
        super().__init__(spec, num_copies, seed)
        from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

        self._single: Any = maker().unwrapped
        self._env = CartPoleVectorEnv(num_copies, max_episode_steps=spec.max_length or 500)
        self._env.reset(seed=0)  # only makes the arrays
        self._legal = np.ones((num_copies, 2), np.bool_)
        self._to_play = np.zeros(num_copies, np.int64)

    def begin(self, copies: np.ndarray, seeds: np.ndarray) -> None:
        """Put the single environment's first states in; the vector environment's own reset is called off."""
        env: Any = self._env
        for copy in np.flatnonzero(copies).tolist():
            self._single.reset(seed=int(seeds[copy]))
            env.state[:, copy] = self._single.state
        env.steps[copies] = 0
        env.prev_done[copies] = False
        self._observation = env.state.T.astype(np.float32)

    def advance(self, action: np.ndarray, active: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One call for all copies; those that are not active play as well."""
        self._observation, reward, terminated, truncated, _ = self._env.step(action)
        return reward[:, None], terminated, truncated

    def look(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """New arrays at every step."""
        return self._observation, self._legal, self._to_play
