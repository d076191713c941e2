"""Catch on W columns and H rows, `catch:WxH`: move a paddle along the bottom row under a falling ball.

The ball starts in the top row, in a column drawn from the seed, and falls one row a move; the paddle starts in the
middle (the right one of two middles) and goes one column to the left, stays, or goes one to the right. When the ball is
in the bottom row the game ends: 1 where the paddle is under it, else -1. `catch` means `catch:5x10`. These are
OpenSpiel's rules.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.boards.board import mirror_symmetries
from envs.chance import draw
from envs.game import GameSpec, ObservationKind, ObservationSpec, Playable, Symmetries

FAMILY = "catch"
SMALLEST, LARGEST = 2, 20
SYNTAX = f"catch:WIDTHxHEIGHT with sides from {SMALLEST} to {LARGEST}, as in catch:5x10"
EXAMPLES = ("catch:5x5", "catch:5x10")


class State(NamedTuple):
    ball: Tensor  # [B] int64: the ball's cell, row by row from the top
    paddle: Tensor  # [B] int64: the paddle's column


class Catch:
    """Native rules; actions: left, stay, right."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        mirror = mirror_symmetries(height, width).cells if width % 2 else mirror_symmetries(height, width).cells[:1]
        self.spec = GameSpec(
            name=f"{FAMILY}:{width}x{height}",
            observation=ObservationSpec(ObservationKind.GRID, (2, height, width), torch.uint8),
            num_actions=3,
            reward_range=(-1.0, 1.0),
            max_length=height - 1,
            family="catch",
            action_keys=("move left", "stay", "move right"),
            symmetries=Symmetries(mirror, ((0, 1, 2), (2, 1, 0))[: len(mirror)]),
            native=True,
        )

    def initial(self, seed: Tensor) -> State:
        """A ball in the top row, its column drawn from seed [B] int64."""
        column = draw(torch.ones(len(seed), self.width, device=seed.device), seed)
        return State(column, torch.full_like(seed, self.width // 2))

    def legal(self, state: State) -> Tensor:
        """[B, 3] bool: everything, always."""
        return torch.ones(len(state.ball), 3, dtype=torch.bool, device=state.ball.device)

    def to_play(self, state: State) -> Tensor:
        """[B] int64: one player, seat 0."""
        return torch.zeros_like(state.ball)

    def observe(self, state: State) -> Tensor:
        """[B, 2, H, W] uint8: the ball, the paddle."""
        paddle = (self.height - 1) * self.width + state.paddle
        planes = one_hot(torch.stack([state.ball, paddle], 1), self.width * self.height)
        return planes.to(torch.uint8).unflatten(2, (self.height, self.width))

    def play(self, state: State, action: Tensor) -> Playable:
        """Move the paddle by `action` [B] - 1 columns, not beyond the sides; the ball falls."""
        paddle = (state.paddle + action - 1).clamp(0, self.width - 1)
        ball = (state.ball + self.width).clamp(max=self.width * self.height - 1)
        over = ball >= (self.height - 1) * self.width
        reward = torch.where(ball % self.width == paddle, 1.0, -1.0) * over
        return Playable(State(ball, paddle), reward[:, None], over)


def make(settings: str) -> Catch:
    """`catch:WxH`. ValueError for anything but sides that are offered."""
    numbers = re.fullmatch(r"([0-9]+)x([0-9]+)", settings or "5x10")
    if not numbers:
        raise ValueError(f"the size {settings!r} is not two numbers joined by x")
    width, height = map(int, numbers.groups())
    if not SMALLEST <= width <= LARGEST or not SMALLEST <= height <= LARGEST:
        raise ValueError(f"a board of width {width} and height {height} is not offered")
    return Catch(width, height)
