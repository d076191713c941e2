"""Atari 2600 through ale-py's own vector environment: every ROM by name (GPL-2.0, `pip install 'gurgeh[atari]'`).

    ale/Pong             the protocol of Machado et al. 2018, "Revisiting the Arcade Learning Environment"
    ale/Pong:100k        the training protocol of the Atari-100k papers (Kaiser et al. 2020 and after)
    ale/Pong:100k-eval   how those papers score: whole games, true rewards
    ale/Pong:v5          what `gymnasium.make("ALE/Pong-v5")` plays, preprocessed

Where this differs from the papers: no-op starts take 0 to 28 frames, in whole moves; and on a lost life `100k` starts
a new game (as ale-py's `episodic_life` does), in place of going on in the old one with an end of episode in between:
an episode is then its seed and its actions, and can be replayed. Screens are grey, 84 x 84, the maximum of the last two
frames, four of them stacked.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from typing import Any

import numpy as np
import torch

from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, installed
from envs.wrapped import WrappedEnvironment

PACKAGE = ("ale_py", "ale-py", "atari")  # module, distribution, extra
STACK, SIZE = 4, 84
NOOP = np.zeros(1, np.int64)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What the papers disagree about."""

    sticky: float  # probability that the emulator repeats the last action, drawn for every frame
    frame_skip: int  # frames an action is held
    all_actions: bool  # 18 actions in place of those that the game uses
    max_frames: int  # emulated frames until an episode is truncated (60 a second)
    noop_frames: int = 0  # up to so many frames of doing nothing begin an episode, in whole moves
    episodic_life: bool = False  # a lost life ends the episode
    clip_reward: bool = False  # to -1 .. 1


PRESETS = {
    "2018": Protocol(sticky=0.25, frame_skip=5, all_actions=True, max_frames=18_000),
    "v5": Protocol(sticky=0.25, frame_skip=4, all_actions=False, max_frames=108_000),
    "100k": Protocol(0.0, 4, False, 108_000, noop_frames=30, episodic_life=True, clip_reward=True),
    "100k-eval": Protocol(0.0, 4, False, 108_000, noop_frames=30),
}
DEFAULT = "2018"
TWO_PLAYERS_ONLY = {"combat", "joust", "maze_craze", "warlords"}


def names() -> list[str]:
    """Every ROM with a single-player mode; nothing when ale-py is missing."""
    try:
        return [f"ale/{_title(rom)}" for rom in _roms()]
    except ValueError:
        return []


def make(rest: str) -> Game:
    """ROM or ROM:PRESET, in any spelling: Pong, MsPacman, ms_pacman."""
    title, _, preset = rest.partition(":")
    if preset and preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r} of ale/{title}: one of {', '.join(PRESETS)}")
    roms = {rom.replace("_", ""): rom for rom in _roms()}
    rom = roms.get(title.lower().replace("_", ""))
    if rom is None:
        from envs.registry import unknown

        raise ValueError(unknown(f"ale/{title}", names()))
    protocol = PRESETS[preset or DEFAULT]
    name = f"ale/{_title(rom)}" + (f":{preset}" if preset else "")
    actions = _actions(rom, protocol.all_actions)
    spec = GameSpec(
        name=name,
        observation=ObservationSpec(ObservationKind.PIXELS, (STACK, SIZE, SIZE), torch.uint8),
        num_actions=len(actions),
        stochastic=protocol.sticky > 0,
        reward_range=(-1.0, 1.0) if protocol.clip_reward else (-float("inf"), float("inf")),
        max_length=protocol.max_frames // protocol.frame_skip,
        family="atari",
        action_keys=tuple(f"joystick {action.lower()}" for action in actions),
    )
    return Game(name, spec, functools.partial(AleEnvironment, spec, rom, protocol))


class AleEnvironment(WrappedEnvironment):
    """One vector environment of size one a copy, each with its own C++ thread: all get their moves, then all answer.

    One environment for all copies would be as fast to step, but not to begin an episode: its copies can only be
    stepped together, so that no-op starts had to be left to ale-py, whose seeded reset loads the ROM again (0.15 s
    against 0.02 s for an unseeded one). Without sticky actions the seed only chooses the number of no-ops, here.
    """

    def __init__(self, spec: GameSpec, rom: str, protocol: Protocol, num_copies: int, seed: int):
        super().__init__(spec, num_copies, seed)
        make_one: Any = _import("ale_py.vector_env").AtariVectorEnv
        self._envs = [
            make_one(
                rom,
                1,
                num_threads=1,
                repeat_action_probability=protocol.sticky,
                frameskip=protocol.frame_skip,
                full_action_space=protocol.all_actions,
                noop_max=0,
                episodic_life=protocol.episodic_life,
                reward_clipping=protocol.clip_reward,
                use_fire_reset=False,
                stack_num=STACK,
                img_height=SIZE,
                img_width=SIZE,
            )
            for _ in range(num_copies)
        ]
        self._protocol = protocol
        self._loaded = [False] * num_copies
        self._legal = np.ones((num_copies, spec.num_actions), np.bool_)
        self._to_play = np.zeros(num_copies, np.int64)
        self._observation = np.zeros((num_copies, STACK, SIZE, SIZE), np.uint8)

    def begin(self, copies: np.ndarray, seeds: np.ndarray) -> None:
        """Reset before ale-py would do it by itself at the next step; with no-ops where the protocol has them."""
        for copy in np.flatnonzero(copies).tolist():
            env, seed = self._envs[copy], int(seeds[copy])
            if self._protocol.sticky == 0:
                seed = -1 if self._loaded[copy] else 0  # nothing is drawn in the game: the next start is the same
            self._loaded[copy] = True
            shown, _ = env.reset(seed=np.array([seed]))
            for _ in range(self._noops(int(seeds[copy]))):
                shown, _, terminated, truncated, _ = env.step(NOOP)
                if terminated[0] or truncated[0]:
                    shown, _ = env.reset(seed=np.array([seed]))
                    break
            self._observation[copy] = shown[0]

    def _noops(self, seed: int) -> int:
        """How many moves of doing nothing begin the episode."""
        most = self._protocol.noop_frames // self._protocol.frame_skip
        return int(np.random.default_rng(seed).integers(most + 1)) if most else 0

    def advance(self, action: np.ndarray, active: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Send all moves, then collect all answers."""
        reward = np.zeros((self.num_copies, 1), np.float32)
        terminated, truncated = np.zeros(self.num_copies, np.bool_), np.zeros(self.num_copies, np.bool_)
        copies = range(self.num_copies) if active is None else np.flatnonzero(active).tolist()
        for copy in copies:
            self._envs[copy].send(action[copy : copy + 1])
        for copy in copies:
            shown, reward[copy], over, cut, _ = self._envs[copy].recv()
            self._observation[copy], terminated[copy], truncated[copy] = shown[0], over[0], cut[0]
        return reward, terminated, truncated

    def look(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A copy of the screens; the rest never changes."""
        return self._observation.copy(), self._legal, self._to_play

    def close(self) -> None:
        """Stop the threads."""
        self._envs.clear()


def _import(module: str) -> Any:
    """A module of ale-py, or the line that says how to install it."""
    installed(*PACKAGE)
    return importlib.import_module(module)


def _title(rom: str) -> str:
    return rom.title().replace("_", "")


@functools.cache
def _roms() -> tuple[str, ...]:
    roms = _import("ale_py.roms")
    return tuple(sorted(set(roms.get_all_rom_ids()) - TWO_PLAYERS_ONLY))


@functools.cache
def _actions(rom: str, all_actions: bool) -> tuple[str, ...]:
    """The names of the game's actions in order."""
    ale_py = _import("ale_py")
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    interface = ale_py.ALEInterface()
    interface.loadROM(_import("ale_py.roms").get_rom_path(rom))
    actions = interface.getLegalActionSet() if all_actions else interface.getMinimalActionSet()
    return tuple(action.name for action in actions)
