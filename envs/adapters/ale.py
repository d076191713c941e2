"""Atari 2600 through ale-py's own vector environment: every ROM by name (GPL-2.0, `pip install 'gurgeh[atari]'`).

    ale/Pong             the protocol of Machado et al. 2018, "Revisiting the Arcade Learning Environment"
    ale/Pong:100k        the training protocol of the Atari-100k papers (Kaiser et al. 2020 and after)
    ale/Pong:100k-eval   how those papers score: whole games, true rewards
    ale/Pong:v5          what `gymnasium.make("ALE/Pong-v5")` plays, preprocessed

Where this differs from papers: on a lost life `100k` starts a new game (as ale-py's `episodic_life` does), in place
of going on in the old one with an end of episode in between; an episode is then its seed and its actions, and can be
replayed. Screens are grey, 84 x 84, the maximum of the last two frames, four of them stacked.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import torch

from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, need
from envs.wrapped import WrappedEnvironment

STACK, SIZE = 4, 84


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What the papers disagree about."""

    sticky: float  # probability that the emulator repeats the last action, drawn for every frame
    frame_skip: int  # frames an action is held
    all_actions: bool  # 18 actions in place of those that the game uses
    max_frames: int  # emulated frames until an episode is truncated (60 a second)
    noop_max: int = 0  # up to so many moves of doing nothing begin an episode
    episodic_life: bool = False  # a lost life ends the episode
    clip_reward: bool = False  # to -1 .. 1


PRESETS = {
    "2018": Protocol(sticky=0.25, frame_skip=5, all_actions=True, max_frames=18_000),
    "v5": Protocol(sticky=0.25, frame_skip=4, all_actions=False, max_frames=108_000),
    "100k": Protocol(0.0, 4, False, 108_000, noop_max=30, episodic_life=True, clip_reward=True),
    "100k-eval": Protocol(0.0, 4, False, 108_000, noop_max=30),
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
    """All copies in ale-py's C++ threads; every reset is ours, with the episode's seed."""

    def __init__(self, spec: GameSpec, rom: str, protocol: Protocol, num_copies: int, seed: int):
        super().__init__(spec, num_copies, seed)
        self._env: Any = need("ale_py.vector_env", "ale-py", "atari").AtariVectorEnv(
            rom,
            num_copies,
            repeat_action_probability=protocol.sticky,
            frameskip=protocol.frame_skip,
            full_action_space=protocol.all_actions,
            noop_max=protocol.noop_max,
            episodic_life=protocol.episodic_life,
            reward_clipping=protocol.clip_reward,
            use_fire_reset=False,
            stack_num=STACK,
            img_height=SIZE,
            img_width=SIZE,
        )
        self._legal = np.ones((num_copies, spec.num_actions), np.bool_)
        self._to_play = np.zeros(num_copies, np.int64)
        self._observation = np.zeros(0, np.uint8)

    def begin(self, copies: np.ndarray, seeds: np.ndarray) -> None:
        """Reset copies with their own seeds, before ale-py would reset them by itself at the next step."""
        self._observation, _ = self._env.reset(seed=seeds[copies], options={"reset_mask": copies})

    def advance(self, action: np.ndarray, active: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One call for all copies; those that are not active play as well."""
        self._observation, reward, terminated, truncated, _ = self._env.step(action)
        return reward.astype(np.float32)[:, None], terminated, truncated

    def look(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """ale-py returns new arrays at every call."""
        return self._observation, self._legal, self._to_play

    def close(self) -> None:
        """Stop the threads."""
        self._env.close()
        self._env.ale = None


def _title(rom: str) -> str:
    return rom.title().replace("_", "")


@functools.cache
def _roms() -> tuple[str, ...]:
    roms = need("ale_py.roms", "ale-py", "atari")
    return tuple(sorted(set(roms.get_all_rom_ids()) - TWO_PLAYERS_ONLY))


@functools.cache
def _actions(rom: str, all_actions: bool) -> tuple[str, ...]:
    """The names of the game's actions in order."""
    ale_py = need("ale_py", "ale-py", "atari")
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    interface = ale_py.ALEInterface()
    interface.loadROM(need("ale_py.roms", "ale-py", "atari").get_rom_path(rom))
    actions = interface.getLegalActionSet() if all_actions else interface.getMinimalActionSet()
    return tuple(action.name for action in actions)
