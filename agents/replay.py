"""The replay buffer of one game: a ring of time steps of all its copies, bounded in bytes.

Shape legend: R ring length (time steps), C copies, N samples, W window (unroll + n-step + 1), P players, A actions.
Where actions are continuous: K samples of a search, D numbers of an action.
Time-major storage: entry [t, c] is what copy c saw and did at its t-th step, so that a window is a slice and episodes
follow one another without gaps.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.bounds import at_least, at_most
from envs.game import PICTURES, GameSpec

if TYPE_CHECKING:
    from agents.alphazero import ExactRules


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """How much is kept and how it is sampled."""

    max_bytes: int = 256_000_000
    """Memory of one game's buffer; older steps are overwritten."""
    max_steps: int = 50_000
    """Most environment steps one game's buffer keeps."""
    priority_exponent: float = 0.5
    """0 samples uniformly; 1 in proportion to the error of the value (Schaul et al. 2016, alpha)."""
    correction_exponent: float = 0.5
    """How far importance weights undo the priorities (Schaul et al. 2016, beta)."""

    def __post_init__(self) -> None:
        at_least("replay", self, max_bytes=1, max_steps=1, priority_exponent=0, correction_exponent=0)
        at_most("replay", self, priority_exponent=1, correction_exponent=1)


class Window(NamedTuple):
    """N stretches of W consecutive steps of one game, [N, W, ...]; they may run across the end of an episode."""

    observation: Tensor  # [N, *shape] of the first step only
    next_observation: Tensor  # [N, `following` of `sample`, *shape]
    index_of: Tensor  # [N, W] int64: flat position of each step in the ring
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
    explored: Tensor  # [N, W] bool: the move was drawn at random instead of from the search
    index: Tensor  # [N] int64: flat position of the first step in the ring, for priorities and reanalysis
    weight: Tensor  # [N] float32: importance weights, at most 1
    age: Tensor  # [N] int64: time steps that were added since the first step
    # Of games with continuous actions, as points of the unit box; `action` is 0 there, and `policy` is [N, W, K].
    point: Tensor | None = None  # [N, W, D] float32: what was played
    samples: Tensor | None = None  # [N, W, K, D] float32: what the policy is about


def row_fields(spec: GameSpec, num_samples: int = 0) -> dict[str, slice]:
    """Where each field of a step lies. Everything but the observation is side by side in one row of float32, so that
    a window is one gather. num_samples: K, where actions are continuous."""
    players, actions = spec.num_players, spec.num_actions
    widths = {
        "to_play": 1, "action": 1, "reward": players, "terminated": 1, "truncated": 1,
        "policy": actions if spec.box is None else num_samples, "root_value": players, "final_value": players,
        "trainable": 1, "explored": 1, "legal": actions,
    }  # fmt: skip
    if spec.box is not None:
        size = spec.box.num_dimensions
        widths |= {"point": size, "samples": num_samples * size}
    ends = torch.tensor(list(widths.values())).cumsum(0).tolist()
    return {name: slice(end - widths[name], end) for name, end in zip(widths, ends, strict=True)}


def copies_field(spec: GameSpec) -> str:
    """The field of `SelfPlayConfig` that says how many copies of this game are played at once."""
    if spec.native:
        return "copies"
    return "picture_copies" if spec.observation.kind in PICTURES else "wrapped_copies"


def ring_length(
    spec: GameSpec, copies: int, config: ReplayConfig, window: int, state_bytes: int = 0, num_samples: int = 0
) -> int:
    """Time steps of `copies` copies that the configuration keeps; ValueError where that is less than a window.

    state_bytes: of the packed state that is kept of every step. num_samples: as in `row_fields`.
    """
    width = next(reversed(row_fields(spec, num_samples).values())).stop
    shown = torch.Size(spec.observation.shape).numel() * spec.observation.dtype.itemsize
    step_bytes = shown + 4 * width + 4 + state_bytes
    length = min(config.max_steps, config.max_bytes // step_bytes) // copies
    if length <= window:
        raise ValueError(
            f"{spec.name}: replay.max_bytes={config.max_bytes} and replay.max_steps={config.max_steps} keep {length} "
            f"steps of each of {copies} copies, a window needs {window + 1}; raise them or lower "
            f"selfplay.{copies_field(spec)}"
        )
    return length


class ReplayBuffer:
    """See the module's text. All tensors live on the CPU."""

    def __init__(
        self, spec: GameSpec, copies: int, config: ReplayConfig, window: int, rules: ExactRules | None = None,
        num_samples: int = 0,
    ):  # fmt: skip
        """window: steps of a sample. rules: the states are kept too, packed by them (reanalysis with the rules).
        num_samples: K of the searches, looked at where actions are continuous."""
        self.spec, self.copies, self.config, self.window = spec, copies, config, window
        self.rules = rules
        state_bytes = rules.width if rules is not None else 0
        self.fields, self.num_samples = row_fields(spec, num_samples), num_samples
        self.length = ring_length(spec, copies, config, window, state_bytes, num_samples)
        shape, width = spec.observation.shape, next(reversed(self.fields.values())).stop
        self.observation = torch.zeros(self.length, copies, *shape, dtype=spec.observation.dtype)
        self.rows = torch.zeros(self.length, copies, width)  # [R, C, F]; actions up to 2**24 are exact in float32
        self.state = torch.zeros(self.length, copies, state_bytes, dtype=torch.uint8)  # [R, C, 0] without rules
        self.mass = torch.zeros(self.length, copies)  # [R, C] priority ** priority_exponent; 0: never sampled
        self.num_added = 0  # time steps ever added
        self.largest_mass = 1.0

    def __len__(self) -> int:
        """Steps of single copies now stored."""
        return min(self.num_added, self.length) * self.copies

    def add(self, observation: Tensor, trainable: Tensor, state: Tensor | None = None, **step: Tensor) -> None:
        """Append one step of all copies: every field, [C] or [C, width ...]; state [C, W] uint8, the packed states
        before the step, looked at where `rules` were given."""
        slot = self.num_added % self.length
        self.observation[slot] = observation
        if self.rules is not None:
            assert state is not None, f"{self.spec.name}: this buffer keeps states and was given none"
            self.state[slot] = state
        parts = {**step, "trainable": trainable}
        columns = [parts[name].reshape(self.copies, -1) for name in self.fields]
        torch.cat([column.to(torch.float32) for column in columns], 1, out=self.rows[slot])
        # New steps are as likely as the most surprising old one, until they have been seen.
        self.mass[slot] = trainable * self.largest_mass
        self.num_added += 1

    @property
    def num_ready(self) -> int:
        """Time steps whose whole window is stored."""
        return max(0, min(self.num_added, self.length) - self.window)

    def _draw(self, count: int, generator: torch.Generator, mass: Tensor) -> tuple[Tensor, Tensor]:
        """[count] flat ring positions in proportion to `mass` [R, C], among those with a full window behind them, and
        their probabilities.

        First a time step, then a copy: two short searches in place of one over the whole buffer. One draw in each of
        `count` equal slices of the mass: less variance, the same expectation.
        """
        oldest = max(0, self.num_added - self.length) % self.length
        by_time = torch.roll(mass.sum(1), -oldest)[: self.num_ready].double().cumsum(0)
        total = by_time[-1] if len(by_time) else torch.zeros(())
        if not bool(total > 0):
            raise ValueError(f"{self.spec.name}: the replay buffer holds no step to learn from yet")
        uniform = torch.rand(2, count, generator=generator, dtype=torch.float64)
        wanted = (torch.arange(count) + uniform[0]) * (total / count)
        time = torch.searchsorted(by_time, wanted, right=True).clamp(max=len(by_time) - 1)
        time = (time + oldest) % self.length
        by_copy = mass[time].double().cumsum(1)  # [count, C]
        copy = torch.searchsorted(by_copy, uniform[1, :, None] * by_copy[:, -1:], right=True)[:, 0]
        copy = copy.clamp(max=self.copies - 1)
        return time * self.copies + copy, (mass[time, copy] / total).float()

    def sample(self, count: int, generator: torch.Generator, following: int = 0) -> Window:
        """`count` windows by priority, with importance weights; following: observations behind the first, at most the
        window's."""
        flat, probability = self._draw(count, generator, self.mass)
        weight = (probability * max(1, self.num_ready * self.copies)).clamp(
            min=1e-8
        ) ** -self.config.correction_exponent
        return self._window(flat, weight / weight.max(), following)

    def draw_positions(self, count: int, generator: torch.Generator) -> Tensor:
        """[count] flat positions, uniformly among those that can be sampled; for reanalysis."""
        return self._draw(count, generator, (self.mass > 0).float())[0]

    def _window(self, flat: Tensor, weight: Tensor, following: int = 0) -> Window:
        time, copy = flat // self.copies, flat % self.copies
        index = (time[:, None] + torch.arange(self.window + 1)) % self.length * self.copies + copy[:, None]
        rows = self.rows.view(-1, self.rows.shape[2])[index[:, :-1]]  # [N, W, F]
        seen = self.observation.flatten(0, 1)
        part = {name: rows[..., place] for name, place in self.fields.items()}
        return Window(
            observation=seen[flat],
            next_observation=seen[index[:, 1 : 1 + following]],
            index_of=index[:, :-1],
            legal=part["legal"][:, 0] > 0,
            to_play=part["to_play"][..., 0].long(),
            action=part["action"][..., 0].long(),
            reward=part["reward"],
            terminated=part["terminated"][..., 0] > 0,
            truncated=part["truncated"][..., 0] > 0,
            policy=part["policy"],
            root_value=part["root_value"],
            final_value=part["final_value"],
            trainable=part["trainable"][..., 0] > 0,
            explored=part["explored"][..., 0] > 0,
            index=flat,
            weight=weight,
            age=(self.num_added - 1 - time) % self.length,
            point=part.get("point"),
            samples=part["samples"].unflatten(-1, (self.num_samples, -1)) if "samples" in part else None,
        )

    def read(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Observation [N, *shape], legal [N, A] bool and to_play [N] int64 at flat positions [N]."""
        rows = self.rows.view(-1, self.rows.shape[2])[index]
        legal = rows[:, self.fields["legal"]] > 0
        return self.observation.flatten(0, 1)[index], legal, rows[:, self.fields["to_play"]][:, 0].long()

    def states(self, index: Tensor) -> Tensor:
        """Packed states [N, W] uint8 at flat positions [N]; W is 0 where the buffer keeps none."""
        return self.state.flatten(0, 1)[index]

    def observations(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Observations [..., *shape] and seats to move [...] int64 at flat positions [...]."""
        seats = self.rows.view(-1, self.rows.shape[2])[index][..., self.fields["to_play"]][..., 0]
        return self.observation.flatten(0, 1)[index], seats.long()

    def write_(self, index: Tensor, policy: Tensor, root_value: Tensor, samples: Tensor | None = None) -> None:
        """New targets at flat positions [N]: policy [N, A], root_value [N, P]; where actions are continuous policy
        [N, K] over samples [N, K, D]."""
        # numpy, because it writes one row after the other: of two equal positions the later one always wins.
        rows = self.rows.view(-1, self.rows.shape[2]).numpy()
        rows[index.numpy(), self.fields["policy"]] = policy.numpy()
        rows[index.numpy(), self.fields["root_value"]] = root_value.numpy()
        if samples is not None:
            rows[index.numpy(), self.fields["samples"]] = samples.flatten(1).numpy()

    def set_priority_(self, index: Tensor, priority: Tensor) -> None:
        """priority [N] >= 0 for flat positions [N]."""
        # numpy: a quarter of the time for so few numbers, and of two equal positions the later one always wins.
        mass = np.maximum(priority.numpy(), np.float32(1e-3)) ** np.float32(self.config.priority_exponent)
        self.mass.view(-1).numpy()[index.numpy()] = mass
        self.largest_mass = max(self.largest_mass * 0.999, float(mass.max()))

    @property
    def _columns(self) -> tuple[str, ...]:
        return ("observation", "rows", "mass", *(("state",) if self.rules is not None else ()))

    def state_dict(self) -> dict[str, Any]:
        """The filled part of every column, and the counters."""
        filled = min(self.num_added, self.length)
        tensors = {name: getattr(self, name)[:filled] for name in self._columns}
        return {**tensors, "num_added": self.num_added, "largest_mass": self.largest_mass}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError where the saved buffer was made with other sizes."""
        if self.rules is not None and "state" not in state:
            raise ValueError(
                f"{self.spec.name}: the checkpoint's replay keeps no states, which reanalysis with the rules needs; "
                "resume with learner.reanalyse=0 or with the run's own search.model"
            )
        for name in self._columns:
            stored, mine = state[name], getattr(self, name)
            if stored.shape[1:] != mine.shape[1:] or len(stored) > self.length:
                raise ValueError(
                    f"{self.spec.name}: the checkpoint's replay {name} has shape {tuple(stored.shape)}, this "
                    f"configuration stores {tuple(mine.shape)}; resume with the run's own configuration"
                )
            # A ring of another length begins anew with its oldest step first.
            moved = state["num_added"] > len(stored) != self.length
            mine[: len(stored)] = torch.roll(stored, -(state["num_added"] % len(stored)), 0) if moved else stored
        self.num_added = min(state["num_added"], len(stored)) if len(stored) != self.length else state["num_added"]
        self.largest_mass = state["largest_mass"]
