"""What all adapters share: auto-reset, episode seeds, limits, and restoring by replaying actions.

An adapter for an environment that steps all copies at once derives from `WrappedEnvironment` and writes `begin`,
`advance` and `look`; one whose copies are Python objects derives from `CopiesEnvironment` and writes `begin_copy`
and `play_copy`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.batch import first_seeds, next_seeds
from envs.game import GameSpec, Timestep

NUMPY_TYPE = {
    torch.uint8: np.uint8,
    torch.int16: np.int16,
    torch.float32: np.float32,
    torch.int64: np.int64,
    torch.bool: np.bool_,
}


class WrappedEnvironment:
    """An `Environment` around games that cannot be copied: an episode is its seed and its actions."""

    def __init__(self, spec: GameSpec, num_copies: int, seed: int):
        self.spec, self.num_copies, self.base_seed = spec, num_copies, seed
        self._episode = np.zeros(num_copies, np.int64)
        self._seed = np.zeros(num_copies, np.int64)
        self._length = np.zeros(num_copies, np.int64)
        # Actions of the current episodes, grown when full.
        self._history = np.zeros((num_copies, 64), np.int32)
        if spec.box is not None:
            self._history = np.zeros((num_copies, 64, spec.box.num_dimensions), np.float32)
        self._rows = np.arange(num_copies)
        self._no_reward = np.zeros((num_copies, spec.num_players), np.float32)
        self._no = np.zeros(num_copies, np.bool_)
        self._started = False

    def begin(self, copies: np.ndarray, seeds: np.ndarray) -> None:
        """Start a new episode in the copies where `copies` [B] bool, whatever state they are in.

        seeds: [B] int64. After this nothing of a copy's past may show.
        """
        raise NotImplementedError

    def advance(self, action: np.ndarray, active: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Play action [B] int64 ([B, D] float32 of a box); returns reward [B, P] float32, terminated [B] bool,
        truncated [B] bool.

        active: [B] bool, None for all. The rest may be left alone or played: they will be begun anew before
        anyone looks at them.
        """
        raise NotImplementedError

    def look(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Observation [B, *], legal [B, A] bool, to_play [B] int64; arrays that later steps do not write to."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what the wrapped games hold."""

    def reset(self, seeds: np.ndarray | None = None) -> Timestep:
        """Begin episode 0 of every copy; `seeds` [B] int64 take the place of these episodes' own seeds."""
        self._episode[:] = 0
        self._length[:] = 0
        self._seed = first_seeds(self.base_seed, self.num_copies, seeds)
        self.begin(np.ones(self.num_copies, np.bool_), self._seed)
        self._started = True
        return self._show(self._no_reward, self._no, self._no, None)

    def step(self, action: Tensor) -> Timestep:
        """Play `action` [B] int64, or [B, D] float32 of a box (CPU); copies whose episode ends begin the next one at
        once."""
        assert self._started, "call reset() or load_state_dict() before step()"
        played = action.numpy()
        reward, terminated, truncated = self.advance(played, None)
        self._remember(played)
        if self.spec.max_length is not None:
            truncated = truncated | (self._length >= self.spec.max_length) & ~terminated
        ended = terminated | truncated
        if not ended.any():
            return self._show(reward, terminated, truncated, None)
        final = self.look()
        self._episode += ended
        self._seed = np.where(ended, next_seeds(self.base_seed, self._episode), self._seed)
        self._length[ended] = 0
        self.begin(ended, self._seed)
        return self._show(reward, terminated, truncated, (final[0], final[2]))

    def state_dict(self) -> dict[str, Any]:
        """Episode numbers, seeds and the actions of the current episodes: all tensors."""
        length = int(self._length.max(initial=0))
        played = np.arange(length) < self._length[:, None]  # behind it lie actions of earlier episodes
        return {
            "episode": torch.tensor(self._episode),
            "seed": torch.tensor(self._seed),
            "length": torch.tensor(self._length),
            "actions": torch.tensor(_where(played, self._history[:, :length])),  # [B, longest], or with D behind
        }

    def load_state_dict(self, state: dict[str, Any]) -> Timestep:
        """Continue from `state_dict()` by playing the actions of the current episodes again.

        Histories end together: copy b begins `length[b]` moves before the last one.
        """
        self._episode, self._seed = state["episode"].numpy().copy(), state["seed"].numpy().copy()
        length, actions = state["length"].numpy(), state["actions"].numpy()
        actions = actions.astype(np.int64) if self.spec.box is None else actions
        if length.shape != (self.num_copies,):
            raise ValueError(
                f"{self.spec.name}: the saved state has {len(length)} copies, this environment {self.num_copies}; "
                "make the environment with as many copies as were saved"
            )
        self._length = np.zeros(self.num_copies, np.int64)
        longest = int(length.max(initial=0))
        self.begin(np.ones(self.num_copies, np.bool_), self._seed)
        for move in range(longest):
            starting = (longest - length == move) & (move > 0)
            if starting.any():
                self.begin(starting, self._seed)
            active = longest - length <= move
            column = np.where(active, move - (longest - length), 0)
            action = _where(active, actions[self._rows, column])
            _, terminated, truncated = self.advance(action, active)
            over = active & (terminated | truncated)
            if over.any():
                raise ValueError(
                    f"{self.spec.name}: copy {int(np.argmax(over))} ended at replayed move {move} of an episode that "
                    "went on when it was saved; the game or its package has changed, or it is not deterministic under "
                    "its seed (run `gurgeh games check`)"
                )
            self._remember(action, active)
        if longest and (length == 0).any():
            self.begin(length == 0, self._seed)
        self._started = True
        return self._show(self._no_reward, self._no, self._no, None)

    def _remember(self, action: np.ndarray, active: np.ndarray | None = None) -> None:
        if self._length.max() >= self._history.shape[1]:
            self._history = np.concatenate([self._history, np.zeros_like(self._history)], 1)
        self._history[self._rows, self._length] = action
        self._length += 1 if active is None else active

    def _show(
        self,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        final: tuple[np.ndarray, np.ndarray] | None,
    ) -> Timestep:
        """The timestep of B copies; `final` is what the copies showed before some of them began anew."""
        observation, legal, to_play = (torch.from_numpy(array) for array in self.look())
        final_observation, final_to_play = observation, to_play
        if final is not None:
            final_observation, final_to_play = torch.from_numpy(final[0]), torch.from_numpy(final[1])
        return Timestep(
            observation, legal, to_play, torch.from_numpy(reward), torch.from_numpy(terminated),
            torch.from_numpy(truncated), final_observation, final_to_play,
        )  # fmt: skip


def _where(mask: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The actions where `mask`, else 0; actions have the mask's shape, or D behind it."""
    return np.where(mask.reshape(*mask.shape, *[1] * (actions.ndim - mask.ndim)), actions, actions.dtype.type(0))


class CopiesEnvironment(WrappedEnvironment):
    """B Python objects, played one after another.

    A subclass writes a copy's view into `self.observation[b]` and, where they change, `self.legal[b]` (all True at
    first) and `self.to_play[b]` (0 at first).
    """

    def __init__(self, spec: GameSpec, num_copies: int, seed: int):
        super().__init__(spec, num_copies, seed)
        self.observation = np.zeros((num_copies, *spec.observation.shape), NUMPY_TYPE[spec.observation.dtype])
        self.legal = np.ones((num_copies, spec.num_actions), np.bool_)
        self.to_play = np.zeros(num_copies, np.int64)

    def begin_copy(self, copy: int, seed: int) -> None:
        """Start an episode in one copy."""
        raise NotImplementedError

    def play_copy(self, copy: int, action: Any) -> tuple[Any, bool, bool]:
        """Play one move, an int ([D] float32 of a box); returns the reward (a number, or P of them), terminated,
        truncated."""
        raise NotImplementedError

    def begin(self, copies: np.ndarray, seeds: np.ndarray) -> None:
        """Start episodes where `copies` [B] bool."""
        for copy in np.flatnonzero(copies).tolist():
            self.begin_copy(copy, int(seeds[copy]))

    def advance(self, action: np.ndarray, active: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Play action [B] where active [B]."""
        reward = np.zeros((self.num_copies, self.spec.num_players), np.float32)
        terminated, truncated = np.zeros(self.num_copies, np.bool_), np.zeros(self.num_copies, np.bool_)
        moves = action.tolist() if self.spec.box is None else action
        for copy in range(self.num_copies) if active is None else np.flatnonzero(active).tolist():
            reward[copy], terminated[copy], truncated[copy] = self.play_copy(copy, moves[copy])
        return reward, terminated, truncated

    def look(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Copies of the arrays that the subclass fills."""
        return self.observation.copy(), self.legal.copy(), self.to_play.copy()
