"""What a game is: its description, what a step returns, and the two ways to write one.

Shape legend (the whole code base uses it): B batch (copies of a game), A actions, P players, C H W planes
and board, S symmetries, D numbers of a continuous action.

Conventions, stated once:
  * A mask is True where an action is legal.
  * `observation` is seen by the player to move ("mine", "theirs"), never by a fixed seat.
  * `reward[b, p]` is what seat p received for the move that was just played, before any discount.
  * `terminated` ends the game by its rules; `truncated` ends it by a limit, and its value goes on.
  * An action is a number, int64; where actions are continuous (`GameSpec.box`) it is a row of D numbers, float32.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np
import torch
from torch import Tensor


class ObservationKind(enum.StrEnum):
    """How a network reads an observation: one shared encoder a kind."""

    GRID = "grid"  # [C, H, W] planes; plane 0 is mine and plane 1 theirs when `GameSpec.board_planes`
    PIXELS = "pixels"  # [C, H, W] of uint8
    VECTOR = "vector"  # [N]
    TOKENS = "tokens"  # [N] of the vocabulary of envs.tokens, int16; with `GameSpec.action_tokens` commands follow


PICTURES = (ObservationKind.GRID, ObservationKind.PIXELS)  # shown as planes or as a screen


@dataclasses.dataclass(frozen=True)
class ObservationSpec:
    """Kind, shape and storage type of one observation (without the batch dimension)."""

    kind: ObservationKind
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32  # uint8 for planes of zeros and ones and for pixels: a quarter of the memory


@dataclasses.dataclass(frozen=True)
class Box:
    """Continuous actions: D numbers, each between two bounds, in the game's own units."""

    low: tuple[float, ...]  # [D]
    high: tuple[float, ...]  # [D], above `low`

    def __post_init__(self) -> None:
        pairs = tuple(zip(self.low, self.high, strict=False))
        if not pairs or len(self.low) != len(self.high) or any(not -1e30 < low < high < 1e30 for low, high in pairs):
            raise ValueError(
                f"a box of actions needs as many finite lower as upper bounds, each below its upper one; found "
                f"{self.low} and {self.high}"
            )

    @property
    def num_dimensions(self) -> int:
        """D."""
        return len(self.low)

    @staticmethod
    def of(space: Any) -> Box | None:
        """The box of a Gymnasium space of bounded real numbers of any shape, flattened; None for other spaces."""
        low, high = (np.ravel(getattr(space, bound, np.nan)).astype(np.float64) for bound in ("low", "high"))
        real = np.issubdtype(getattr(space, "dtype", None) or np.bool_, np.floating)
        if not real or not len(low) or not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
            return None
        return Box(tuple(low.tolist()), tuple(high.tolist()))

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds, [D] float32 each."""
        return torch.tensor(self.low, dtype=torch.float32), torch.tensor(self.high, dtype=torch.float32)

    def at(self, share: Tensor) -> Tensor:
        """[..., D] float32 actions: share [..., D], 0 at the lower bounds and 1 at the upper ones."""
        low, high = self.bounds()
        return torch.minimum(torch.maximum(low + share.float() * (high - low), low), high)

    def contains(self, action: Tensor) -> Tensor:
        """[...] bool: which of the actions [..., D] lie in the box, bounds included."""
        low, high = self.bounds()
        return ((action >= low) & (action <= high)).all(-1)


@dataclasses.dataclass(frozen=True)
class GameSpec:
    """Everything that the rest of the program may know about a game without playing it."""

    name: str
    observation: ObservationSpec
    num_actions: int
    version: int = 1  # raised whenever behaviour changes, so that old records are not read as new ones
    num_players: int = 1
    zero_sum: bool = False  # two players only: the value of one is minus the other's
    stochastic: bool = False  # what a move leads to is drawn; a first position that is drawn alone is no chance
    num_outcomes: int = 0  # C: outcomes of a move, in games that say what chance can do (`ChanceGame`); 0: they do not
    perfect_information: bool = True
    reward_range: tuple[float, float] = (-float("inf"), float("inf"))  # of one step
    max_length: int | None = None  # moves until the game ends or is truncated; None: unknown
    family: str = "other"  # held-out splits are made by family
    board_planes: bool = False  # grid only: planes 0 and 1 are "mine" and "theirs", shared by all board games
    action_keys: tuple[str, ...] | None = None
    """What each action means, `A` strings. Games that use the same key share that action's embedding:
    `cell ROW COLUMN` for a placement, `column COLUMN` for a drop. None: every action is the game's own."""
    action_tokens: int = 0
    """T: the actions are commands that vary from position to position. The observation (tokens) then ends with A * T
    tokens: what each action says here, T for each, padding alone for one that there is not (`commands`). No action
    means the same everywhere. 0: action a is always the same action."""
    box: Box | None = None
    """The actions are the points of a box. num_actions is then 1, and masks are [B, 1], always True."""
    symmetries: Symmetries | None = None
    solvable: bool = False  # small enough that `envs.solver` enumerates every position
    native: bool = False  # rules are pure functions on tensors
    twin_of: str | None = None  # the game that this one is under other names (`twin:SEED:GAME`)
    scrambles: str | None = (
        None  # the game whose positions this one shows without any of its rules: no board means what
    )
    # it shows (`scrambled:SEED:GAME`)

    def __post_init__(self) -> None:
        if self.action_keys is not None and len(self.action_keys) != self.num_actions:
            raise ValueError(
                f"{self.name}: action_keys has {len(self.action_keys)} entries for {self.num_actions} actions; "
                "give one key an action, or leave action_keys out"
            )
        if self.zero_sum and self.num_players != 2:
            raise ValueError(f"{self.name}: zero_sum needs num_players=2, found {self.num_players}")
        if self.num_outcomes and not self.stochastic:
            raise ValueError(f"{self.name}: num_outcomes={self.num_outcomes} needs stochastic=True")
        if self.num_actions < 1 or self.num_players < 1:
            raise ValueError(
                f"{self.name}: num_actions and num_players must be at least 1, found {self.num_actions} and "
                f"{self.num_players}"
            )
        if self.action_tokens:
            self._check_commands()
        if self.box is not None:
            self._check_box()

    def _check_box(self) -> None:
        if self.num_actions != 1:
            raise ValueError(f"{self.name}: with a box of actions num_actions is 1, found {self.num_actions}")
        given = {"action_keys": self.action_keys, "action_tokens": self.action_tokens, "symmetries": self.symmetries,
                 "solvable": self.solvable, "num_outcomes": self.num_outcomes}  # fmt: skip
        wrong = [name for name, value in given.items() if value]
        if wrong:
            raise ValueError(f"{self.name}: leave {', '.join(wrong)} out where actions are continuous (box)")

    def _check_commands(self) -> None:
        shape, tail = self.observation.shape, self.num_actions * self.action_tokens
        if self.observation.kind is not ObservationKind.TOKENS or len(shape) != 1 or shape[0] <= tail:
            raise ValueError(
                f"{self.name}: action_tokens={self.action_tokens} needs an observation of tokens, longer than the "
                f"{self.num_actions} * {self.action_tokens} of its commands; found {self.observation.kind} of {shape}"
            )
        if self.action_keys is not None or self.symmetries is not None or self.solvable:
            raise ValueError(
                f"{self.name}: its actions are what they say (action_tokens); leave action_keys, symmetries and "
                "solvable out"
            )

    def keys(self) -> tuple[str, ...]:
        """The `A` action keys, the game's own ones filled in."""
        return self.action_keys or tuple(f"{self.name} {action}" for action in range(self.num_actions))

    def commands(self, observation: Tensor) -> Tensor:
        """[..., A, T]: what each action says in observations [..., N], in games whose commands vary."""
        assert self.action_tokens, f"the actions of {self.name} say nothing"
        first = self.observation.shape[0] - self.num_actions * self.action_tokens
        return observation[..., first:].unflatten(-1, (self.num_actions, self.action_tokens))

    def text(self, observation: Tensor) -> Tensor:
        """[..., N - A * T]: observations [..., N] without the commands behind them."""
        return observation[..., : self.observation.shape[0] - self.num_actions * self.action_tokens]


@dataclasses.dataclass(frozen=True)
class Symmetries:
    """Relabellings under which the rules do not change; entry 0 is the identity.

    `observation[:, :, cells[s]]` on the flattened board is the board under symmetry s, and the move that was
    `a` is then called `actions[s, a]`.
    """

    cells: tuple[tuple[int, ...], ...]  # [S, H * W]
    actions: tuple[tuple[int, ...], ...]  # [S, A]


def cell_keys(height: int, width: int) -> tuple[str, ...]:
    """Action keys of a game whose move is a cell of the board, row by row: `H * W` strings."""
    return tuple(f"cell {row} {column}" for row in range(height) for column in range(width))


def any_action(spec: GameSpec, legal: Tensor) -> Tensor:
    """One legal action a row, always the same: [B] int64 of legal [B, A], or the middle of the box, [B, D] float32."""
    if spec.box is None:
        return legal.long().argmax(1)
    return spec.box.at(torch.full((len(legal), spec.box.num_dimensions), 0.5))


class Timestep(NamedTuple):
    """What B copies show after a reset or a step. Copies that ended have already begun their next episode."""

    observation: Tensor  # [B, *shape] of the spec's dtype, seen by the player to move
    legal: Tensor  # [B, A] bool; [B, 1] where actions are continuous
    to_play: Tensor  # [B] int64, the seat to move
    reward: Tensor  # [B, P] float32, for the move just played (zeros after a reset)
    terminated: Tensor  # [B] bool: the episode ended by the rules
    truncated: Tensor  # [B] bool: the episode was cut off by a limit
    final_observation: Tensor  # [B, *shape]: the last observation of the episode that ended, else `observation`
    final_to_play: Tensor  # [B] int64: the seat whose view `final_observation` takes


class Playable(NamedTuple):
    """The rules' answer to one move in each of B positions."""

    state: Any  # a NamedTuple of tensors, each [B, ...]
    reward: Tensor  # [B, P] float32
    terminated: Tensor  # [B] bool


class NativeGame(Protocol):
    """Batched rules as pure functions on tensors: the first way to write a game.

    A state is a NamedTuple of tensors whose first dimension is B; functions never change their arguments. They
    run on any device and serve as the exact model for search.
    """

    spec: GameSpec

    def initial(self, seed: Tensor) -> Any:
        """First positions. seed: [B] int64, one an episode; games without chance ignore its value."""
        ...

    def legal(self, state: Any) -> Tensor:
        """[B, A] bool; after the end of a game any non-empty mask."""
        ...

    def to_play(self, state: Any) -> Tensor:
        """[B] int64, the seat to move."""
        ...

    def observe(self, state: Any) -> Tensor:
        """[B, *spec.observation.shape] of the spec's dtype, seen by the player to move."""
        ...

    def play(self, state: Any, action: Tensor) -> Playable:
        """Play `action` [B] int64, or [B, D] float32 of a box, in each position. Legality is the caller's business."""
        ...


class ChanceGame(NativeGame, Protocol):
    """Native rules that say what chance can do: a move is a decision, which leads to an afterstate, and an outcome.

    `spec.num_outcomes` is C. `play` is `decide`, a draw with the probabilities of `chances` from the state's own
    randomness, and `resolve`; `envs.chance.Chance` provides it. A search asks the three functions and so sees every
    outcome with its probability, and never the one that would have been drawn.
    """

    def decide(self, state: Any, action: Tensor) -> Any:
        """The afterstates, a NamedTuple of tensors [B, ...]: all of the move `action` [B] that is no chance."""
        ...

    def chances(self, after: Any) -> Tensor:
        """[B, C] float32: the probability of each outcome, 0 where it cannot happen; rows sum to 1."""
        ...

    def resolve(self, after: Any, outcome: Tensor) -> Playable:
        """What outcome [B] int64 leads to; the reward is that of the move and its outcome together."""
        ...


def has_explicit_chance(game: NativeGame) -> TypeGuard[ChanceGame]:
    """Whether rules say what chance can do (`ChanceGame`)."""
    return game.spec.num_outcomes > 0


@runtime_checkable
class Environment(Protocol):
    """B copies of one game with auto-reset; what self-play and evaluation drive.

    `envs.batch.NativeEnvironment` and every adapter provide it. Episode number n of copy b has the seed
    `episode_seed(base_seed, b, n)`; given that seed and its actions an episode is the same, always.
    """

    spec: GameSpec
    num_copies: int

    def reset(self, seeds: np.ndarray | None = None) -> Timestep:
        """Begin episode 0 of every copy; `seeds` [B] int64 take the place of the seeds of these first episodes."""
        ...

    def step(self, action: Tensor) -> Timestep:
        """Play `action` [B] int64, or [B, D] float32 of a box (CPU); copies whose episode ends begin the next one at
        once."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Enough to continue to the bit: nested dicts of tensors and JSON values (never pickled objects)."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> Timestep:
        """Continue from `state_dict()`; returns the current timestep (wrapped games replay their actions)."""
        ...

    def close(self) -> None: ...


@dataclasses.dataclass(frozen=True)
class Game:
    """A game that can be played: what `envs.registry.make` returns and what adapters build."""

    name: str  # `envs.registry.make(name)` makes the same game again
    spec: GameSpec
    build: Callable[[int, int], Environment]  # (num_copies, base seed)
    native: NativeGame | None = None  # its rules as pure functions on tensors, where it has them

    def environment(self, num_copies: int, seed: int) -> Environment:
        """B = `num_copies` copies; episode n of copy b gets the seed `episode_seed(seed, b, n)`."""
        if num_copies < 1:
            raise ValueError(f"{self.name}: num_copies must be at least 1, found {num_copies}")
        return self.build(num_copies, seed)


class MissingExtraError(ValueError):
    """A game needs a package that is not installed."""


def installed(module: str, package: str, extra: str) -> None:
    """Say which extra of gurgeh brings `module`, of the distribution `package`, where it is not installed."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"{package} is not installed: pip install 'gurgeh[{extra}]'")


def episode_seed(base_seed: int, copy: int | np.ndarray, episode: int | np.ndarray) -> np.ndarray:
    """The seed of an episode: 31 bits mixed from run seed, copy and episode number (SplitMix64).

    copy, episode: integers or arrays that broadcast; returns int64 of the broadcast shape.
    """
    with np.errstate(over="ignore"):
        word = np.uint64(base_seed) * np.uint64(0x9E3779B97F4A7C15)
        for part in (copy, episode):
            word = (word ^ np.asarray(part).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            word = word ^ (word >> np.uint64(31))
    return (word >> np.uint64(33)).astype(np.int64)
