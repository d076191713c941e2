"""Hit what is shown: `aim:D`, one move, an action of D real numbers.

A target is drawn evenly from a box and shown; the action is a point of the same box, and the reward is minus the mean
squared distance of the two, in half widths of the box. Coordinate d goes from -1 to 1 + 2 d: each has units of its own.
Who aims gets 0; a third is lost on the average by who always plays the middle, or the nearest corner, two thirds by
random play.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from envs.chance import next_key, uniform
from envs.game import Box, GameSpec, ObservationKind, ObservationSpec, Playable

FAMILY = "aim"
SYNTAX = "aim:D with D real numbers an action, from 1 to 8"
EXAMPLES = ("aim:1", "aim:3")


class State(NamedTuple):
    target: Tensor  # [B, D] float32 in -1 to 1: half widths from the middle of the box


class Aim:
    """Native rules."""

    def __init__(self, dimensions: int):
        self.box = Box((-1.0,) * dimensions, tuple(1.0 + 2 * d for d in range(dimensions)))
        self.spec = GameSpec(
            name=f"{FAMILY}:{dimensions}",
            observation=ObservationSpec(ObservationKind.VECTOR, (dimensions,)),
            num_actions=1,
            box=self.box,
            reward_range=(-4.0, 0.0),
            max_length=1,
            family="aim",
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """Targets, drawn from seed [B] int64."""
        key, columns = seed, []
        for _ in self.box.low:
            columns.append(2 * uniform(key) - 1)
            key = next_key(key)
        return State(torch.stack(columns, 1).float())

    def legal(self, state: State) -> Tensor:
        """[B, 1] bool: everything, always."""
        return torch.ones(len(state.target), 1, dtype=torch.bool, device=state.target.device)

    def to_play(self, state: State) -> Tensor:
        """[B] int64: one player, seat 0."""
        return torch.zeros(len(state.target), dtype=torch.int64, device=state.target.device)

    def observe(self, state: State) -> Tensor:
        """[B, D] float32: the target."""
        return state.target.clone()

    def play(self, state: State, action: Tensor) -> Playable:
        """action [B, D] float32."""
        low, high = (bound.to(action.device) for bound in self.box.bounds())
        place = (2 * action - low - high) / (high - low)
        reward = -((place - state.target) ** 2).mean(1, keepdim=True)
        return Playable(state, reward, torch.ones(len(action), dtype=torch.bool, device=action.device))


def make(settings: str) -> Aim:
    """`aim:D`. ValueError for anything but a number that is offered."""
    if not settings.isascii() or not settings.isdigit():
        raise ValueError(f"the dimensions {settings!r} are no whole number" if settings else "dimensions are missing")
    if not 1 <= int(settings) <= 8:
        raise ValueError(f"{int(settings)} dimensions are not offered")
    return Aim(int(settings))
