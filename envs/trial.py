"""Playing a game under check: random legal moves in a few copies, and what came back."""

from __future__ import annotations

import dataclasses
import functools
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.game import Environment, Game, GameSpec, Timestep


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, where it was seen, and what to do."""

    problem: str  # with the value found
    advice: str
    copy: int | None = None
    step: int | None = None  # moves played in the environment before
    broken: bool = True  # False: it may be meant so

    def __str__(self) -> str:
        where = [f"{name} {at}" for name, at in (("copy", self.copy), ("step", self.step)) if at is not None]
        return f"{', '.join(where) + ': ' if where else ''}{self.problem}. {self.advice}"


class Skip(Exception):  # noqa: N818
    """A check that does not apply to this game; the text says why."""


class Unplayable(Exception):  # noqa: N818
    """The game cannot be played on; carries the finding."""

    def __init__(self, finding: Finding):
        super().__init__(str(finding))
        self.finding = finding


class Play(NamedTuple):
    """What an environment showed while it was played: T moves of B copies."""

    shown: list[Timestep]  # T + 1
    actions: list[Tensor]  # T of [B] int64, or of [B, D] float32


@dataclasses.dataclass(frozen=True)
class Trial:
    """A game under check."""

    game: Game
    num_copies: int
    num_moves: int
    seed: int

    @property
    def spec(self) -> GameSpec:
        """The game's."""
        return self.game.spec

    @functools.cached_property
    def play(self) -> Play:
        """Random legal play, the one that all checks talk about."""
        environment = self.environment(self.num_copies)
        play = self.run(environment)
        environment.close()
        return play

    def environment(self, num_copies: int, seed: int | None = None) -> Environment:
        """A new environment, under the trial's seed if none is given."""
        chosen = self.seed if seed is None else seed
        return guard(lambda: self.game.environment(num_copies, chosen), f"environment({num_copies}, {chosen})", None)

    def run(
        self, environment: Environment, actions: list[Tensor] | None = None, meddle: Callable[[], Any] | None = None
    ):
        """Play `actions`, or random legal ones, from a reset; `meddle` is called before every move."""
        random = np.random.default_rng(self.seed)
        shown = [guard(environment.reset, "reset()", 0)]
        well_formed(self.spec, shown[0], environment.num_copies, 0)
        played: list[Tensor] = []
        for move in range(self.num_moves if actions is None else len(actions)):
            action = random_move(self.spec, shown[-1].legal, random) if actions is None else actions[move]
            if meddle is not None:
                meddle()
            shown.append(guard(functools.partial(environment.step, action), f"step({action.tolist()})", move))
            well_formed(self.spec, shown[-1], environment.num_copies, move + 1)
            played.append(action)
        return Play(shown, played)

    def endings(self) -> Iterator[tuple[int, int]]:
        """(step, copy) of every episode that ended; `shown[step]` is what the ending move returned."""
        for step, now in enumerate(self.play.shown):
            for copy in torch.nonzero(now.terminated | now.truncated).flatten().tolist():
                yield step, copy

    def moves(self) -> Iterator[tuple[int, int, Timestep, Timestep]]:
        """(step, copy, before, after) of every move of every copy; `step` is the number of `after`."""
        for step in range(1, len(self.play.shown)):
            for copy in range(self.num_copies):
                yield step, copy, self.play.shown[step - 1], self.play.shown[step]


def random_move(spec: GameSpec, legal: Tensor, random: np.random.Generator) -> Tensor:
    """One legal action a row, each as likely as the others: legal [B, A] bool -> [B] int64, or [B, D] float32."""
    if spec.box is not None:
        return spec.box.at(torch.from_numpy(random.random((len(legal), spec.box.num_dimensions))))
    noise = torch.from_numpy(random.random(tuple(legal.shape)))
    return torch.where(legal, noise, -1.0).argmax(1)


def guard(call: Callable[[], Any], what: str, step: int | None) -> Any:
    """What `call` returns; Unplayable where it raises."""
    try:
        return call()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise Unplayable(
            Finding(
                f"{what} raised {type(error).__name__}: {error} (in {last.filename}, line {last.lineno})",
                "Every environment must reset, and play each move that `legal` allows: correct the rules or the mask",
                step=step,
            )
        ) from error


def well_formed(spec: GameSpec, now: Timestep, num_copies: int, step: int) -> None:
    """Shapes, types and the few values without which nothing else can be looked at."""
    expected = {
        "observation": ((num_copies, *spec.observation.shape), spec.observation.dtype),
        "legal": ((num_copies, spec.num_actions), torch.bool),
        "to_play": ((num_copies,), torch.int64),
        "reward": ((num_copies, spec.num_players), torch.float32),
        "terminated": ((num_copies,), torch.bool),
        "truncated": ((num_copies,), torch.bool),
        "final_observation": ((num_copies, *spec.observation.shape), spec.observation.dtype),
        "final_to_play": ((num_copies,), torch.int64),
    }
    for field, (shape, dtype) in expected.items():
        value = getattr(now, field)
        found = (tuple(value.shape), value.dtype) if isinstance(value, Tensor) else type(value).__name__
        if found != (shape, dtype):
            problem = f"{field} is {_text(found)}, the spec says {_text((shape, dtype))}"
            raise Unplayable(Finding(problem, "Correct the spec or what the game returns", step=step))
    for field, advice in (("observation", "an observation"), ("final_observation", "an observation"), ("reward", "it")):
        value = getattr(now, field)
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            copy = first_row(~torch.isfinite(value).reshape(num_copies, -1).all(1))
            problem = f"{field} has a value that is not finite: {value[copy].flatten()[:8].tolist()}"
            raise Unplayable(Finding(problem, f"Clip or scale {advice} where it is made", copy, step))
    stuck = ~now.legal.any(1)
    if bool(stuck.any()):
        advice = "Give a move for passing, end the game, or allow any move once it is over; no row may be all False"
        raise Unplayable(Finding("no legal action at all", advice, first_row(stuck), step))
    for field in ("to_play", "final_to_play"):
        wrong = (getattr(now, field) < 0) | (getattr(now, field) >= spec.num_players)
        if bool(wrong.any()):
            problem = (
                f"{field} is {int(getattr(now, field)[first_row(wrong)])} in a game of {spec.num_players} player(s)"
            )
            raise Unplayable(Finding(problem, "Seats are numbered from 0", first_row(wrong), step))


def _text(found: Any) -> str:
    return found if isinstance(found, str) else f"{list(found[0])} of {str(found[1]).removeprefix('torch.')}"


def first_row(mask: Tensor) -> int:
    """The first True of [B] bool."""
    return int(mask.int().argmax())


def rows_equal(one: Tensor, other: Tensor) -> Tensor:
    """[B] bool: rows that are equal to the bit."""
    return (one == other).reshape(len(one), -1).all(1)


def clone(value: Any) -> Any:
    """A nested state with tensors of its own."""
    if isinstance(value, dict):
        return {key: clone(inner) for key, inner in value.items()}
    return value.clone() if isinstance(value, Tensor) else list(value) if isinstance(value, list) else value


def equal(one: Any, other: Any) -> bool:
    """Whether two nested states are the same to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other
