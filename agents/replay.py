"""The replay buffer of one game: a ring of time steps of all its copies, bounded in bytes.

Shape legend: R ring length (time steps), C copies, N samples, W window (unroll + n-step + 1), P players, A actions.
Time-major storage: entry [t, c] is what copy c saw and did at its t-th step, so that a window is a slice and episodes
follow one another without gaps.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor

from envs.game import GameSpec


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """How much is kept and how it is sampled."""

    max_bytes: int = 256_000_000
    """Memory of one game's buffer; older steps are overwritten."""
    max_steps: int = 200_000
    """Most environment steps one game's buffer keeps."""
    priority_exponent: float = 0.5
    """0 samples uniformly; 1 in proportion to the error of the value (Schaul et al. 2016, alpha)."""
    correction_exponent: float = 0.5
    """How far importance weights undo the priorities (Schaul et al. 2016, beta)."""


class Window(NamedTuple):
    """N stretches of W consecutive steps of one game, [N, W, ...]; they may run across the end of an episode."""

    observation: Tensor  # [N, *shape] of the first step only
    next_observation: Tensor  # [N, W, *shape]
    legal: Tensor  # [N, A] bool, first step only
    to_play: Tensor  # [N, W] int64
    action: Tensor  # [N, W] int64
    reward: Tensor  # [N, W, P] float32: for `action`
    terminated: Tensor  # [N, W] bool: after `action`
    truncated: Tensor  # [N, W] bool: after `action`
    policy: Tensor  # [N, W, A] float32: the search's improved policy
    root_value: Tensor  # [N, W, P] float32: the search's value, absolute seats
    final_value: Tensor  # [N, W, P] float32: value of the last observation where `truncated`
    trainable: Tensor  # [N, W] bool: false for moves of a random opening
    index: Tensor  # [N] int64: flat position of the first step in the ring, for priorities and reanalysis
    weight: Tensor  # [N] float32: importance weights, at most 1


class ReplayBuffer:
    """See the module's text. All tensors live on the CPU."""

    def __init__(self, spec: GameSpec, copies: int, config: ReplayConfig, window: int, keep_next: bool = False):
        """window: steps of a sample. keep_next: samples carry the following observations (consistency loss)."""
        self.spec, self.copies, self.config, self.window = spec, copies, config, window
        self.keep_next = keep_next
        observation, players, actions = spec.observation, spec.num_players, spec.num_actions
        columns: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "observation": (observation.shape, observation.dtype),
            "legal": ((actions,), torch.bool),
            "to_play": ((), torch.int8),
            "action": ((), torch.int32),
            "reward": ((players,), torch.float32),
            "terminated": ((), torch.bool),
            "truncated": ((), torch.bool),
            "policy": ((actions,), torch.float32),
            "root_value": ((players,), torch.float32),
            "final_value": ((players,), torch.float32),
            "trainable": ((), torch.bool),
            "priority": ((), torch.float32),
        }
        step_bytes = sum(torch.Size(shape).numel() * dtype.itemsize for shape, dtype in columns.values())
        steps = min(config.max_steps, config.max_bytes // step_bytes)
        self.length = steps // copies
        if self.length <= window:
            raise ValueError(
                f"{spec.name}: replay.max_bytes={config.max_bytes} and replay.max_steps={config.max_steps} keep "
                f"{self.length} steps of each of {copies} copies, a window needs {window + 1}; raise them or lower "
                "selfplay.copies"
            )
        self.columns = {
            name: torch.zeros(self.length, copies, *shape, dtype=dtype) for name, (shape, dtype) in columns.items()
        }
        self.num_added = 0  # time steps ever added
        self.largest_priority = 1.0

    def __len__(self) -> int:
        """Steps of single copies now stored."""
        return min(self.num_added, self.length) * self.copies

    def add(self, **step: Tensor) -> None:
        """Append one step of all copies: every column but `priority`, each [C, ...]."""
        slot = self.num_added % self.length
        for name, value in step.items():
            self.columns[name][slot] = value
        # New steps are likely to be sampled soon; before their future is known they cannot be.
        self.columns["priority"][slot] = torch.where(step["trainable"], self.largest_priority, 0.0)
        self.num_added += 1

    @property
    def num_ready(self) -> int:
        """Time steps whose whole window is stored."""
        return max(0, min(self.num_added, self.length) - self.window)

    def _oldest(self) -> int:
        return max(0, self.num_added - self.length)

    def _draw(self, count: int, generator: torch.Generator, exponent: float) -> tuple[Tensor, Tensor]:
        """[count] flat ring positions with a full window behind them, and their probabilities."""
        first = self._oldest() % self.length
        priority = self.columns["priority"]
        order = torch.roll(priority, -first, 0)[: self.num_ready] if first else priority[: self.num_ready]
        mass = (order.flatten() if exponent == 1.0 else order.flatten().pow(exponent)).double()
        mass = torch.where(order.flatten() > 0, mass, 0.0)
        total = mass.cumsum(0)
        if not bool(total[-1] > 0):
            raise ValueError(f"{self.spec.name}: the replay buffer holds no step to learn from yet")
        # One draw in each of `count` equal slices of the mass (stratified: less variance, same expectation).
        slices = torch.arange(count) + torch.rand(count, generator=generator, dtype=torch.float64)
        place = torch.searchsorted(total, slices * (total[-1] / count), right=True).clamp(max=len(total) - 1)
        flat = (place // self.copies + first) % self.length * self.copies + place % self.copies
        return flat, (mass[place] / total[-1]).float()

    @property
    def num_trainable(self) -> int:
        """Stored steps that may be sampled now."""
        first = self._oldest() % self.length
        return int((torch.roll(self.columns["priority"], -first, 0)[: self.num_ready] > 0).sum())

    def sample(self, count: int, generator: torch.Generator) -> Window:
        """`count` windows by priority, with importance weights."""
        flat, probability = self._draw(count, generator, self.config.priority_exponent)
        weight = (probability * max(1, self.num_ready * self.copies)).clamp(min=1e-8) ** -self.config.correction_exponent
        return self._window(flat, weight / weight.max())

    def draw_positions(self, count: int, generator: torch.Generator) -> Tensor:
        """[count] flat positions, uniformly among those that can be sampled; for reanalysis."""
        return self._draw(count, generator, 0.0)[0]

    def _window(self, flat: Tensor, weight: Tensor) -> Window:
        time, copy = flat // self.copies, flat % self.copies
        rows = (time[:, None] + torch.arange(self.window + 1)) % self.length * self.copies + copy[:, None]
        inner = rows[:, :-1]

        def column(name: str, index: Tensor) -> Tensor:
            # One gather over the flattened ring is several times faster than indexing with two tensors.
            stored = self.columns[name]
            return stored.view(self.length * self.copies, *stored.shape[2:])[index]

        return Window(
            observation=column("observation", flat),
            next_observation=column("observation", rows[:, 1:]) if self.keep_next else torch.empty(0),
            legal=column("legal", flat),
            to_play=column("to_play", inner).long(),
            action=column("action", inner).long(),
            reward=column("reward", inner),
            terminated=column("terminated", inner),
            truncated=column("truncated", inner),
            policy=column("policy", inner),
            root_value=column("root_value", inner),
            final_value=column("final_value", inner),
            trainable=column("trainable", inner),
            index=flat,
            weight=weight,
        )

    def read(self, name: str, index: Tensor) -> Tensor:
        """Rows [N, ...] of a column at flat positions [N]."""
        stored = self.columns[name]
        return stored.view(self.length * self.copies, *stored.shape[2:])[index]

    def write_(self, name: str, index: Tensor, value: Tensor) -> None:
        """Overwrite rows of a column at flat positions [N]."""
        stored = self.columns[name]
        stored.view(self.length * self.copies, *stored.shape[2:])[index] = value.to(stored.dtype)

    def set_priority_(self, index: Tensor, priority: Tensor) -> None:
        """priority [N] > 0 for flat positions [N]."""
        self.write_("priority", index, priority.clamp(min=1e-3))
        self.largest_priority = max(self.largest_priority * 0.999, float(priority.max()))

    def state_dict(self) -> dict[str, Any]:
        """The filled part of every column, and the counters."""
        filled = min(self.num_added, self.length)
        return {
            "columns": {name: column[:filled] for name, column in self.columns.items()},
            "num_added": self.num_added,
            "largest_priority": self.largest_priority,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, column in self.columns.items():
            stored = state["columns"][name]
            if stored.shape[1:] != column.shape[1:] or len(stored) > self.length:
                raise ValueError(
                    f"{self.spec.name}: the checkpoint's replay column {name} has shape {tuple(stored.shape)}, this "
                    f"configuration stores {tuple(column.shape)}; resume with the run's own configuration"
                )
            column[: len(stored)] = stored
        self.num_added, self.largest_priority = state["num_added"], state["largest_priority"]
