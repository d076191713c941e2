"""A game whose reward is no number once 8 copies have played 60 moves: what a broken game does to a run.

Only steps of 8 copies (the self-play of the test) count, so that nobody else who plays it comes nearer to the end.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import torch

from envs.game import Playable

found = importlib.util.spec_from_file_location("gurgeh_test_identity", Path(__file__).with_name("identity.py"))
assert found
assert found.loader
identity = importlib.util.module_from_spec(found)
found.loader.exec_module(identity)


class Poisoned(identity.Identity):
    """The identity game; counts its steps."""

    spec = dataclasses.replace(identity.Identity.spec, name="poisoned")

    def __init__(self) -> None:
        self.calls = 0

    def play(self, state, action) -> Playable:
        self.calls += len(action) == 8
        played = super().play(state, action)
        return played._replace(reward=torch.full_like(played.reward, torch.nan)) if self.calls > 60 else played


GAME = Poisoned
