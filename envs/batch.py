"""B copies of a native game at once: auto-reset, truncation, seeds, resume."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.game import NativeGame, Timestep, episode_seed


def select(mask: Tensor, chosen: Any, other: Any) -> Any:
    """Row by row `chosen` where `mask` [B] else `other`, over every tensor of two equal states."""
    return type(chosen)(
        *(torch.where(mask.reshape(-1, *[1] * (a.dim() - 1)), a, b) for a, b in zip(chosen, other, strict=True))
    )


def next_seeds(base_seed: int, episode: np.ndarray) -> np.ndarray:
    """The seeds [B] int64 of episodes number `episode` [B]."""
    return episode_seed(base_seed, np.arange(len(episode)), episode)


def first_seeds(base_seed: int, num_copies: int, seeds: np.ndarray | None) -> np.ndarray:
    """The seeds [B] int64 of episode 0: the given ones, else the copies' own."""
    if seeds is None:
        return next_seeds(base_seed, np.zeros(num_copies, np.int64))
    seeds = np.asarray(seeds, np.int64)
    if seeds.shape != (num_copies,):
        raise ValueError(f"reset(seeds) needs one seed a copy: shape ({num_copies},), found {seeds.shape}")
    return seeds.copy()


class NativeEnvironment:
    """An `Environment` over batched rules: no copy is ever a Python object of its own."""

    def __init__(self, game: NativeGame, num_copies: int, seed: int, device: torch.device | str = "cpu"):
        self.game, self.spec, self.num_copies, self.base_seed = game, game.spec, num_copies, seed
        self.device = torch.device(device)
        self._episode = np.zeros(num_copies, np.int64)
        self._seed = np.zeros(num_copies, np.int64)
        self._length = torch.zeros(num_copies, dtype=torch.int64, device=self.device)
        self._no_reward = torch.zeros(num_copies, self.spec.num_players, device=self.device)
        self._state: Any = None

    @property
    def state(self) -> Any:
        """The B positions as they are now, states of the game's own type."""
        return self._state

    def _initial(self) -> Any:
        return self.game.initial(torch.as_tensor(self._seed, device=self.device).clone())

    def _show(self, reward: Tensor, terminated: Tensor, truncated: Tensor, final: tuple[Tensor, Tensor] | None):
        observation, to_play = self.game.observe(self._state), self.game.to_play(self._state)
        final_observation, final_to_play = final or (observation, to_play)
        return Timestep(
            observation, self.game.legal(self._state), to_play, reward, terminated, truncated, final_observation,
            final_to_play,
        )  # fmt: skip

    def reset(self, seeds: np.ndarray | None = None) -> Timestep:
        """Begin episode 0 of every copy; `seeds` [B] int64 take the place of these episodes' own seeds."""
        self._episode[:] = 0
        self._length.zero_()
        self._seed = first_seeds(self.base_seed, self.num_copies, seeds)
        self._state = self._initial()
        no = torch.zeros(self.num_copies, dtype=torch.bool, device=self.device)
        return self._show(self._no_reward, no, no, None)

    def step(self, action: Tensor) -> Timestep:
        """Play `action` [B] int64; ended copies begin their next episode."""
        played = self.game.play(self._state, action)
        self._length += 1
        limit = self.spec.max_length
        truncated = torch.zeros_like(played.terminated)
        if limit is not None:
            truncated = (self._length >= limit) & ~played.terminated
        ended = played.terminated | truncated
        self._state = played.state
        final = None
        if bool(ended.any()):
            final = self.game.observe(self._state), self.game.to_play(self._state)
            self._begin_next(ended)
        return self._show(played.reward, played.terminated, truncated, final)

    def _begin_next(self, ended: Tensor) -> None:
        """Put the first position of the next episode where `ended` [B]."""
        over = ended.cpu().numpy()
        self._episode += over
        self._seed = np.where(over, next_seeds(self.base_seed, self._episode), self._seed)
        self._length = torch.where(ended, 0, self._length)
        self._state = select(ended, self._initial(), self._state)

    def state_dict(self) -> dict[str, Any]:
        """Episode numbers, lengths and the rules' own state: all tensors."""
        return {
            "episode": torch.as_tensor(self._episode.copy()),
            "seed": torch.as_tensor(self._seed.copy()),
            "length": self._length.clone(),
            "state": dict(self._state._asdict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> Timestep:
        """Continue from `state_dict()` and return the current timestep."""
        if len(state["episode"]) != self.num_copies:
            raise ValueError(
                f"{self.spec.name}: the saved state has {len(state['episode'])} copies, this environment "
                f"{self.num_copies}; make the environment with as many copies as were saved"
            )
        self._episode = state["episode"].numpy().copy()
        self._seed = state["seed"].numpy().copy()
        self._length = state["length"].to(self.device).clone()
        template = type(self._initial())
        self._state = template(**{name: value.to(self.device) for name, value in state["state"].items()})
        no = torch.zeros(self.num_copies, dtype=torch.bool, device=self.device)
        return self._show(self._no_reward, no, no, None)

    def close(self) -> None:
        """Nothing to release."""
