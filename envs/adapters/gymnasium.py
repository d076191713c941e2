"""Gymnasium: any environment with discrete actions, by its id."""

from __future__ import annotations

from envs.game import Game


def names() -> list[str]:
    """Ids."""
    return ["CartPole-v1"]


def find(name: str) -> Game | None:
    """The game of this id, or None where Gymnasium knows no such id."""
    return None
