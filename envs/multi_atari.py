"""Atari for two or four players: PettingZoo's games, played as `ale/...` is (84 x 84, grey, frames held and stacked).

PettingZoo shows every single frame in colour. Here a move lasts 4 frames, the screen is the maximum of the last two,
grey, 84 x 84, four of them stacked, and the plane of the mover's own seat is white. In every frame and for every player
alone, with probability 0.25, the emulator goes on with what that player did in the frame before (sticky actions, drawn
here from the episode's seed). Players move at once: their moves are commitments that the others do not see
(envs/aec.py). The ROMs are those that ale-py ships (`pip install 'gurgeh[pettingzoo,atari]'`), the emulator is
multi-agent-ale-py.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.aec import SCREEN, AecEnvironment, describe, from_parallel, shrunk
from envs.game import Game, GameSpec, installed

EMULATOR = ("multi_agent_ale_py", "multi-agent-ale-py", "pettingzoo")  # module, distribution, extra
ROMS = ("ale_py", "ale-py", "atari")
FRAMES, STACK, STICKY = 4, 4, 0.25
MAX_FRAMES = 108_000  # half an hour, as for one player


def make(name: str, identifier: str) -> Game:
    """The game of PettingZoo's module `identifier`, such as pong_v3."""
    installed(*EMULATOR)
    installed(*ROMS)
    maker = from_parallel(functools.partial(Screens, identifier))
    made = maker()
    view = describe(made, name, seats=True)
    spec = GameSpec(
        name=name,
        observation=view.observation,
        num_actions=view.num_actions,
        num_players=len(made.possible_agents),
        stochastic=True,
        perfect_information=False,
        max_length=MAX_FRAMES // FRAMES * len(made.possible_agents),
        family="atari",
    )
    made.close()
    return Game(name, spec, functools.partial(AecEnvironment, spec, maker, view))


class Screens:
    """A parallel environment around PettingZoo's emulator."""

    render_mode = None

    def __init__(self, identifier: str):
        package = importlib.util.find_spec("ale_py")
        assert package, "installed"
        assert package.origin, "a package with a file"
        module = importlib.import_module(f"pettingzoo.atari.{identifier}")
        roms = str(Path(package.origin).parent / "roms")
        made = module.raw_env(obs_type="grayscale_image", max_cycles=2 * MAX_FRAMES, auto_rom_install_path=roms)
        self._env = made.env
        self.possible_agents = list(self._env.possible_agents)
        self.metadata = {"name": identifier, "is_parallelizable": True}
        self._space = spaces.Box(0, 255, (SCREEN, SCREEN, STACK), np.uint8)
        self.agents: list[str] = []

    @property
    def unwrapped(self) -> Screens:
        """Itself."""
        return self

    def observation_space(self, agent: str) -> spaces.Space:
        """Four screens."""
        return self._space

    def action_space(self, agent: str) -> spaces.Space:
        """The emulator's."""
        return self._env.action_space(agent)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new game; the seed is that of the sticky actions."""
        seen, infos = self._env.reset()  # nothing is drawn in the emulator; with a seed it would load the ROM again
        self._random = np.random.default_rng(seed)
        self._held = dict.fromkeys(self.possible_agents, 0)
        self.agents = list(self._env.agents)
        screen = self._screen(next(iter(seen.values())))
        self._stack = np.repeat(screen, STACK, 2)
        return dict.fromkeys(self.agents, self._stack), infos

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        """Four frames, or fewer where the game ends."""
        players = list(self.agents)
        total = dict.fromkeys(players, 0.0)
        over, cut = dict.fromkeys(players, False), dict.fromkeys(players, False)
        frames: list[np.ndarray] = []
        for _ in range(FRAMES):
            for agent in self._env.agents:
                if self._random.random() >= STICKY:
                    self._held[agent] = int(actions[agent])
            seen, rewards, ended, truncated, _ = self._env.step(
                {agent: self._held[agent] for agent in self._env.agents}
            )
            for agent, reward in rewards.items():
                total[agent] += reward
            over |= ended
            cut |= truncated
            frames = [*frames[-1:], next(iter(seen.values()))]
            if not self._env.agents or any(ended.values()):
                break
        self._stack = np.concatenate([self._stack[:, :, 1:], self._screen(np.maximum.reduce(frames))], 2)
        self.agents = [agent for agent in self._env.agents if not over[agent] and not cut[agent]]
        return dict.fromkeys(players, self._stack), total, over, cut, {agent: {} for agent in players}

    def _screen(self, frame: np.ndarray) -> np.ndarray:
        """[H, W, 1] -> [84, 84, 1]"""
        return shrunk(frame.transpose(2, 0, 1), (SCREEN, SCREEN)).transpose(1, 2, 0)

    def close(self) -> None:
        """Nothing to release."""
