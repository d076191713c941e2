"""The isomorphic twin of a native game, `twin:SEED:GAME`: the same game under other names.

The planes of the observation (the entries of a vector) change places and the actions are relabelled, both by the seed
and neither by the identity where there are two or more. States, rewards, ends, seats and chance are the original's, so
that a position of one is exactly a position of the other: what a network can share between two games at most. Nothing
of the twin is tied to the original by its spec but the family, in which splits must keep them together: its planes are
its own (`board_planes` is off) and so are its actions' keys.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs import registry
from envs.game import NativeGame, Playable, Symmetries, episode_seed, has_explicit_chance

FAMILY = "twin"
SYNTAX = "twin:SEED:GAME with the name of a native game, as in twin:1:hex:3"
EXAMPLES = ("twin:1:tictactoe", "twin:2:hex:3", "twin:1:mnk:4x4x3:gravity", "twin:1:2048")
_VERSION = 1


class Twin:
    """Native rules; `planes[i]` is the original's plane that plane i shows, `relabel[a]` the name of its action a."""

    def __init__(self, original: NativeGame, seed: int):
        spec = original.spec
        self.original, self.seed = original, seed
        self.planes = shuffled(spec.observation.shape[0], seed, 0)  # [C] int64
        self.relabel = shuffled(spec.num_actions, seed, 1)  # [A] int64
        self.action_of = self.relabel.argsort()  # [A] int64: the original's action behind a name
        self.spec = dataclasses.replace(
            spec,
            name=f"{FAMILY}:{seed}:{spec.name}",
            version=spec.version + _VERSION - 1,
            board_planes=False,
            action_keys=None,
            symmetries=self._symmetries(spec.symmetries),
            twin_of=spec.name,
        )

    def initial(self, seed: Tensor) -> Any:
        """The original's."""
        return self.original.initial(seed)

    def legal(self, state: Any) -> Tensor:
        """[B, A] bool."""
        return self.original.legal(state)[:, self.action_of.to(state[0].device)]

    def to_play(self, state: Any) -> Tensor:
        """[B] int64, the original's."""
        return self.original.to_play(state)

    def observe(self, state: Any) -> Tensor:
        """[B, *shape] of the original's, its planes in another order."""
        return self.original.observe(state)[:, self.planes.to(state[0].device)]

    def play(self, state: Any, action: Tensor) -> Playable:
        """What the original's action behind the name `action` [B] leads to."""
        return self.original.play(state, self.action_of.to(action.device)[action])

    def decide(self, state: Any, action: Tensor) -> Any:
        """See `envs.game.ChanceGame`; the outcomes keep their numbers, which nobody sees."""
        assert has_explicit_chance(self.original), f"{self.spec.name} has no explicit chance"
        return self.original.decide(state, self.action_of.to(action.device)[action])

    def chances(self, after: Any) -> Tensor:
        """[B, C] float32."""
        assert has_explicit_chance(self.original), f"{self.spec.name} has no explicit chance"
        return self.original.chances(after)

    def resolve(self, after: Any, outcome: Tensor) -> Playable:
        """See `envs.game.ChanceGame`."""
        assert has_explicit_chance(self.original), f"{self.spec.name} has no explicit chance"
        return self.original.resolve(after, outcome)

    def _symmetries(self, original: Symmetries | None) -> Symmetries | None:
        """Cells keep their places; what was called a is now called relabel[a]."""
        if original is None:
            return None
        names, behind = self.relabel.tolist(), self.action_of.tolist()
        return Symmetries(original.cells, tuple(tuple(names[row[old]] for old in behind) for row in original.actions))


def shuffled(count: int, seed: int, stream: int) -> Tensor:
    """[count] int64: a permutation drawn with the seed, never the identity of two or more."""
    numbers = np.arange(count)
    for attempt in range(1000):
        order = np.argsort(episode_seed(seed, numbers, 2 * attempt + stream), kind="stable")
        if count < 2 or (order != numbers).any():
            return torch.as_tensor(order)
    raise AssertionError(f"1,000 draws were the identity of {count} numbers")


def parse(settings: str) -> tuple[int, NativeGame]:
    """`SEED:GAME` -> the seed and the game's rules. ValueError for other settings, and games without native rules."""
    seed, _, name = settings.partition(":")
    if not re.fullmatch(r"[0-9]+", seed) or int(seed) >= 2**31:
        raise ValueError(f"the seed {seed!r} is no whole number below 2**31" if seed else "the seed is missing")
    if not name:
        raise ValueError("the game is missing")
    original = registry.make(name)
    if original.native is None:
        raise ValueError(f"{name} is a wrapped environment; only games with native rules have twins")
    if original.spec.action_tokens:
        raise ValueError(f"{name} has commands that vary, which cannot be given other names; it has no twins")
    if original.spec.box is not None:
        raise ValueError(f"{name} has continuous actions, which cannot be given other names; it has no twins")
    return int(seed), original.native


def make(settings: str) -> Twin:
    """`twin:SEED:GAME`. ValueError where the game is not known or has no native rules."""
    seed, original = parse(settings)
    return Twin(original, seed)
