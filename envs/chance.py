"""Chance in native rules: where random numbers come from, and the moves of games that say what chance can do.

A position carries one number, its key, from which all its chance comes: the first one is the episode's seed, and every
draw moves it on (SplitMix64). Players never see it; a search that asks for the outcomes and their probabilities does
not use it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from envs.game import ChanceGame, Playable


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


_STEP, _FIRST, _SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shifted(word: Tensor, by: int) -> Tensor:
    """Shift to the right without spreading the sign."""
    return (word >> by) & ((1 << (64 - by)) - 1)


def next_key(key: Tensor) -> Tensor:
    """[B] int64 -> [B] int64: the key of the position after a draw."""
    return key + _STEP


def word(key: Tensor) -> Tensor:
    """[B] int64 -> [B] int64: 64 random bits that belong to a key (SplitMix64)."""
    mixed = (key ^ _shifted(key, 30)) * _FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * _SECOND
    return mixed ^ _shifted(mixed, 31)


def uniform(key: Tensor) -> Tensor:
    """[B] int64 -> [B] float64 in [0, 1)."""
    return _shifted(word(key), 11).double() * 2.0**-53


def draw(chances: Tensor, key: Tensor) -> Tensor:
    """[B] int64: one outcome a row, with the probabilities chances [B, C] (need not sum to 1 to the last bit)."""
    bounds = chances.double().cumsum(1)
    point = uniform(key)[:, None] * bounds[:, -1:]
    return (bounds <= point).sum(1).clamp(max=chances.shape[1] - 1)


class Chance:
    """What rules with explicit chance (`envs.game.ChanceGame`) derive from: a move is what they say, and one draw.

    Their afterstates have a field `key` [B] int64.
    """

    def play(self: ChanceGame, state: Any, action: Tensor) -> Playable:
        """Play `action` [B]; the outcome is drawn from the key."""
        after = self.decide(state, action)
        return self.resolve(after, draw(self.chances(after), after.key))
