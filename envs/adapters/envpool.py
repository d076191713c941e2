"""EnvPool: batched environments in C++ (Apache-2.0, `pip install 'gurgeh[envpool]'`): `envpool/ConnectFour-v1`.

EnvPool fixes seeds when a pool is made, and an episode here is its own seed and its actions. So:
  * Every copy is a pool of one.
  * Board games without chance are reset. Only who begins is drawn there; seat 0 is whoever does.
  * Everything else is made anew for every episode (3 to 40 ms): good for long episodes, slow for short ones.
By itself EnvPool begins the next episode with the step after the last one and throws that step's action away; here the
copy is reset at once, and the last observation and reward are kept as they came.

Importing EnvPool takes many seconds, because it registers 1,651 tasks; `names` is therefore a list of those that were
played here (docs/adapters.md). Not offered: MiniGrid and Atari, which have adapters of their own (making an Atari pool
takes seconds), and whatever has several agents or actions that are neither one Discrete choice nor a bounded Box of
real numbers.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from envs.game import Box, Game, GameSpec, ObservationKind, ObservationSpec, cell_keys, installed
from envs.wrapped import WrappedEnvironment

PACKAGE = ("envpool", "envpool", "envpool")  # module, distribution, extra
BOARDS = {  # without chance; family, and what an action means, where other games mean the same
    "TicTacToe-v1": ("m,n,k", cell_keys(3, 3)),
    "ConnectFour-v1": ("m,n,k", tuple(f"column {column}" for column in range(7))),
    "Othello-v1": ("flipping", (*cell_keys(8, 8), "pass")),
    "Hex-v1": ("connection", (*cell_keys(11, 11), "swap")),
    "Go9x9-v1": ("go", (*cell_keys(9, 9), "pass")),
    "Go13x13-v1": ("go", (*cell_keys(13, 13), "pass")),
    "ChineseGo9x9-v1": ("go", (*cell_keys(9, 9), "pass")),
    "AnimalShogi-v1": ("chess", None),
    "GardnerChess-v1": ("chess", None),
    "Chess-v1": ("chess", None),
    "Shogi-v1": ("chess", None),
}
CARDS = ("KuhnPoker-v1", "LeducHoldem-v1", "Backgammon-v1", "SparrowMahjong-v1")  # chance, and two players or three
ALONE = (
    "Play2048-v1", "CVRP-v1", "Game2048-v1", "GraphColoring-v1", "Knapsack-v1", "Maze-v0", "PacMan-v1",
    "SlidingTilePuzzle-v0", "Snake-v1", "Sokoban-v0", "TSP-v1", "Highway-v0", "HighwayFast-v0", "Exit-v0",
    "Intersection-v0", "Merge-v0", "Roundabout-v0", "TwoWay-v0", "UTurn-v0", "Catch-v0", "FrozenLake-v1", "Taxi-v3",
    "NChain-v0", "CliffWalking-v1", "Blackjack-v1", "CartPole-v1", "MountainCar-v0", "Acrobot-v1",
)  # fmt: skip
REAL = (  # continuous actions
    "Pendulum-v1", "MountainCarContinuous-v0", "LunarLanderContinuous-v3", "BipedalWalker-v3", "HalfCheetah-v5",
    "Hopper-v5", "Ant-v5", "CheetahRun-v1", "WalkerWalk-v1",
)  # fmt: skip
PERFECT = ("Backgammon-v1", "Play2048-v1", "Game2048-v1", "Maze-v0", "SlidingTilePuzzle-v0", "Snake-v1", "Sokoban-v0")
ELSEWHERE = {"envpool.minigrid": "minigrid/NAME", "envpool.atari": "ale/NAME"}
ONE_HOT = 64  # numbers of a larger Discrete stay numbers
NO_LIMIT = 2**31 - 1  # EnvPool's "never truncated"


def names() -> list[str]:
    """What was played here; nothing when EnvPool is missing."""
    if importlib.util.find_spec("envpool") is None:
        return []
    return [f"envpool/{task}" for task in (*BOARDS, *CARDS, *ALONE, *REAL)]


def make(rest: str) -> Game:
    """Any task of EnvPool with a Discrete action or a bounded Box of them, and an observation that an encoder reads."""
    registered = _package().registration.registry.specs
    if rest not in registered:
        from envs.registry import unknown

        raise ValueError(unknown(f"envpool/{rest}", [f"envpool/{task}" for task in registered]))
    module = registered[rest][0]
    if module in ELSEWHERE:
        raise ValueError(f"envpool/{rest} is not offered: {ELSEWHERE[module]} plays the same")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Gymnasium about bounds of float64
        try:
            made = _package().make_spec(rest)
        except ImportError as error:
            raise ValueError(f"envpool/{rest}: {' '.join(str(error).split())}") from error
        action, space = made.gymnasium_action_space, made.gymnasium_observation_space
    box = Box.of(action)
    if box is None and not isinstance(action, spaces.Discrete):
        raise ValueError(
            f"envpool/{rest}: its actions are {action}; one Discrete choice or a bounded Box of real numbers can "
            "be played"
        )
    config = made.config._asdict()
    players = int(config.get("max_num_players", 1))
    if players > 1 and not module.endswith("pgx"):
        raise ValueError(
            f"envpool/{rest}: its {players} agents act at once; of EnvPool only its board games have several"
        )
    read, observation = _reader(space)
    board = BOARDS.get(rest)
    limit = int(config.get("max_episode_steps", NO_LIMIT))
    spec = GameSpec(
        name=f"envpool/{rest}",
        observation=observation,
        num_actions=1 if box is not None else int(action.n),
        box=box,
        num_players=players,
        zero_sum=players == 2,
        stochastic=board is None,
        perfect_information=board is not None or rest in PERFECT,
        reward_range=(-1.0, 1.0) if board else (-float("inf"), float("inf")),
        max_length=limit if 0 < limit < NO_LIMIT else None,
        family=board[0] if board else "cards" if rest in CARDS else module.rpartition(".")[2],
        board_planes=board is not None and board[1] is not None,
        action_keys=board[1] if board else None,
    )
    action_type = np.dtype(np.int32) if box is None else action.dtype
    build = functools.partial(PoolEnvironment, spec, rest, read, board is not None, action_type)
    return Game(spec.name, spec, build)


def _reader(space: Any) -> tuple[Callable[[Any], np.ndarray], ObservationSpec]:
    """How one observation is read, and what it is then."""
    shape = getattr(space, "shape", None)
    if shape is not None and len(shape) == 3:
        if space.dtype == np.uint8:
            last = shape[2] < shape[0]  # football's are [H, W, C]
            planes = (shape[2], *shape[:2]) if last else shape
            observation = ObservationSpec(ObservationKind.PIXELS, planes, torch.uint8)
            return (lambda seen: seen.transpose(2, 0, 1)) if last else np.asarray, observation
        dtype = torch.uint8 if isinstance(space, spaces.MultiBinary) else torch.float32
        observation = ObservationSpec(ObservationKind.GRID, (shape[2], *shape[:2]), dtype)
        return lambda seen: seen.transpose(2, 0, 1), observation
    sample = np.concatenate(_flat(space, _zeros(space)))
    return lambda seen: np.concatenate(_flat(space, seen)), ObservationSpec(ObservationKind.VECTOR, sample.shape)


def _zeros(space: Any) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _zeros(inner) for key, inner in space.items()}
    return space.start if isinstance(space, spaces.Discrete) else np.zeros(space.shape)


def _flat(space: Any, seen: Any) -> list[np.ndarray]:
    """The parts of an observation as vectors; a mask of actions is no part of it."""
    if isinstance(space, spaces.Dict):
        return [part for key, inner in space.items() if key != "action_mask" for part in _flat(inner, seen[key])]
    if isinstance(space, spaces.Discrete) and space.n <= ONE_HOT:
        part = np.zeros(int(space.n), np.float32)
        part[int(np.asarray(seen).item()) - int(space.start)] = 1
        return [part]
    return [np.asarray(seen, np.float32).ravel()]


class PoolEnvironment(WrappedEnvironment):
    """A pool of one a copy, all of which get their moves before any has to answer.

    kept: the seed decides nothing but who begins, and the pool is reset; else it is made anew for every episode. (One
    pool for all copies would be faster, but resetting a part of a pool of games for two waits for ever in EnvPool
    1.2.5.)
    """

    def __init__(
        self,
        spec: GameSpec,
        task: str,
        read: Callable[[Any], np.ndarray],
        kept: bool,
        action_type: np.dtype,
        num_copies: int,
        seed: int,
    ):
        super().__init__(spec, num_copies, seed)
        self._task, self._read, self._kept, self._action_type = task, read, kept, action_type
        self._pools: list[Any] = [None] * num_copies
        kind = {torch.uint8: np.uint8, torch.float32: np.float32}[spec.observation.dtype]
        self._observation = np.zeros((num_copies, *spec.observation.shape), kind)
        self._legal = np.ones((num_copies, spec.num_actions), np.bool_)
        self._to_play = np.zeros(num_copies, np.int64)
        self._first = np.zeros(num_copies, np.int64)  # the player of EnvPool's that has seat 0

    def begin(self, copies: np.ndarray, seeds: np.ndarray) -> None:
        """Reset pools, or make them anew."""
        for copy in np.flatnonzero(copies).tolist():
            if self._pools[copy] is None or not self._kept:
                self._pools[copy] = self._make(0 if self._kept else int(seeds[copy]))
            seen, info = self._pools[copy].reset()
            if self._kept:
                self._first[copy] = info["current_player"][0]
            self._look(copy, seen, info)

    def _make(self, seed: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _package().make_gymnasium(self._task, num_envs=1, num_threads=1, seed=[seed])

    def advance(self, action: np.ndarray, active: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Send all moves, then collect all answers."""
        reward = np.zeros((self.num_copies, self.spec.num_players), np.float32)
        terminated, truncated = np.zeros(self.num_copies, np.bool_), np.zeros(self.num_copies, np.bool_)
        copies = range(self.num_copies) if active is None else np.flatnonzero(active).tolist()
        for copy in copies:
            self._pools[copy].send(action[copy : copy + 1].astype(self._action_type))
        for copy in copies:
            seen, paid, over, cut, info = self._pools[copy].recv()
            terminated[copy], truncated[copy] = over[0], cut[0] and not over[0]
            players = info["players"].get("id", np.zeros(1, np.int64))
            reward[copy, (players - self._first[copy]) % self.spec.num_players] = paid
            self._look(copy, seen, info)
        return reward, terminated, truncated

    def _look(self, copy: int, seen: Any, info: dict[str, Any]) -> None:
        """Keep what the mover sees; EnvPool shows what every player sees, one after another."""
        mover = int(info["current_player"][0]) if "current_player" in info else 0
        self._to_play[copy] = (mover - self._first[copy]) % self.spec.num_players
        mask = info.get("legal_action_mask")
        if mask is None and isinstance(seen, dict):
            mask = seen.get("action_mask")
        if mask is not None:
            self._legal[copy] = mask[0] if mask[0].any() else True  # after the end nothing may be legal
        self._observation[copy] = self._read(_row(seen, mover))

    def look(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Copies."""
        return self._observation.copy(), self._legal.copy(), self._to_play.copy()

    def close(self) -> None:
        """Stop the threads."""
        self._pools = [None] * self.num_copies
        self._started = False


def _row(seen: Any, number: int) -> Any:
    return {key: _row(inner, number) for key, inner in seen.items()} if isinstance(seen, dict) else seen[number]


@functools.cache
def _package() -> Any:
    installed(*PACKAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = importlib.import_module("envpool")
        importlib.import_module("envpool.registration")
    return package
