"""Two bodies whose motion is known: Gymnasium's pendulum and cart-pole, batched, in float64.

Shape legend: B bodies, D coordinates of the state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Body(NamedTuple):
    """One kind of body."""

    coordinates: tuple[str, ...]  # D names
    step: Callable[[Tensor, Tensor], Tensor]  # state [B, D], control [B] -> the next state [B, D]
    look: Callable[[Tensor], Tensor]  # [B, D] -> [B, F] float32: what is seen of a state
    num_seen: int  # F
    control: float  # the largest, in both directions
    two: bool  # whether the control is the largest in one direction or the other, and nothing between
    start: tuple[float, ...]  # D: first states lie evenly between minus and plus this
    change: tuple[float, ...]  # D: within minus and plus this lie the changes of one step


def pendulum(state: Tensor, torque: Tensor) -> Tensor:
    """Gymnasium's Pendulum-v1: state (angle from upright, its speed), torque [B] within -2 and 2."""
    angle, speed = state.unbind(1)
    speed = (speed + (15 * angle.sin() + 3 * torque.clamp(-2, 2)) * 0.05).clamp(-8, 8)
    return torch.stack([angle + 0.05 * speed, speed], 1)


def cart_pole(state: Tensor, force: Tensor) -> Tensor:
    """Gymnasium's CartPole-v1: state (place, speed, angle, its speed), force [B], plus or minus 10."""
    _, speed, angle, turning = state.unbind(1)
    cosine, sine = angle.cos(), angle.sin()
    push = (force + 0.05 * turning**2 * sine) / 1.1
    turned = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    pushed = push - 0.05 * turned * cosine / 1.1
    return state + 0.02 * torch.stack([speed, pushed, turning, turned], 1)


def _look_pendulum(state: Tensor) -> Tensor:
    angle, speed = state.unbind(1)
    return torch.stack([angle.cos(), angle.sin(), speed], 1).float()


BODIES = {
    "pendulum": Body(
        ("angle", "speed"), pendulum, _look_pendulum, 3, 2.0, False, (math.pi, 6.0), (0.4, 1.05)
    ),
    "cartpole": Body(
        ("place", "speed", "angle", "turning"), cart_pole, lambda state: state.float(), 4, 10.0, True,
        (1.0, 1.0, 0.2, 1.0), (0.06, 0.25, 0.1, 0.4),
    ),
}  # fmt: skip
