"""Gymnasium's Pendulum-v1, batched: swing it up and keep it there.

`pendulum:TORQUES` offers TORQUES (3 to 21, odd) equal steps from -2 to 2, `pendulum:continuous` any torque between. The
reward is Gymnasium's: minus the squared angle from upright, a
tenth of the squared speed and a thousandth of the squared torque, all before the move. 200 moves, which cut the game
off. The first state is drawn from the seed as Gymnasium draws it, the angle from all around and the speed from -1 to 1,
though not with Gymnasium's own generator.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from envs.chance import next_key, uniform
from envs.game import Box, GameSpec, ObservationKind, ObservationSpec, Playable
from envs.physics.bodies import BODIES

FAMILY = "pendulum"
CONTINUOUS = "continuous"
SYNTAX = "pendulum:TORQUES with an odd number of torques from 3 to 21, as in pendulum:5, or pendulum:continuous"
EXAMPLES = ("pendulum:5", f"pendulum:{CONTINUOUS}")
LARGEST = 2.0  # torque


class State(NamedTuple):
    body: Tensor  # [B, 2] float64: angle from upright, not taken back to one turn, and its speed


class Pendulum:
    """Native rules; action a is the a-th torque from -2 to 2, or the torque itself."""

    def __init__(self, torques: int | None):
        """torques: how many; None: all of them."""
        self.torques = None if torques is None else torch.linspace(-LARGEST, LARGEST, torques, dtype=torch.float64)
        self.spec = GameSpec(
            name=f"{FAMILY}:{torques or CONTINUOUS}",
            observation=ObservationSpec(ObservationKind.VECTOR, (3,)),
            num_actions=torques or 1,
            box=None if torques else Box((-LARGEST,), (LARGEST,)),
            reward_range=(-(math.pi**2 + 6.4 + 0.004), 0.0),
            max_length=200,
            family="classic_control",
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """The first states, drawn from seed [B] int64."""
        angle, speed = (2 * uniform(key) - 1 for key in (seed, next_key(seed)))
        return State(torch.stack([math.pi * angle, speed], 1))

    def legal(self, state: State) -> Tensor:
        """[B, torques] bool: everything, always."""
        return torch.ones(len(state.body), self.spec.num_actions, dtype=torch.bool, device=state.body.device)

    def to_play(self, state: State) -> Tensor:
        """[B] int64: one player, seat 0."""
        return torch.zeros(len(state.body), dtype=torch.int64, device=state.body.device)

    def observe(self, state: State) -> Tensor:
        """[B, 3] float32: cosine and sine of the angle, its speed."""
        return BODIES["pendulum"].look(state.body)

    def play(self, state: State, action: Tensor) -> Playable:
        """One step of 0.05 seconds."""
        torque = action[:, 0].double() if self.torques is None else self.torques.to(action.device)[action]
        angle, speed = state.body.unbind(1)
        angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
        cost = angle**2 + 0.1 * speed**2 + 0.001 * torque**2
        over = torch.zeros(len(angle), dtype=torch.bool, device=angle.device)
        return Playable(State(BODIES["pendulum"].step(state.body, torque)), -cost[:, None].float(), over)


def make(settings: str) -> Pendulum:
    """`pendulum:TORQUES` or `pendulum:continuous`. ValueError for anything that is not offered."""
    if settings == CONTINUOUS:
        return Pendulum(None)
    if not settings.isascii() or not settings.isdigit():
        raise ValueError(f"the torques {settings!r} are no whole number" if settings else "the torques are missing")
    if not 3 <= int(settings) <= 21 or int(settings) % 2 == 0:
        raise ValueError(f"{int(settings)} torques are not offered")
    return Pendulum(int(settings))
