"""Human and random scores of Atari games, and the human-normalised score (envs/data/atari_scores.json names the
source).

0 is what random moves reach and 1 what a human tester reached; it goes below and beyond.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parent / "data" / "atari_scores.json"
_SHORTENED = ("100k",)  # presets whose returns are no scores: a lost life ends the game, and rewards are clipped


class Reference(NamedTuple):
    """What two players reach in a game, as mean returns."""

    random: float
    human: float

    def normalized(self, score: float) -> float:
        """`score` where 0 is random play and 1 the human's."""
        return (score - self.random) / (self.human - self.random)


def reference(name: str) -> Reference | None:
    """The scores of the game called `name` (ale/Pong, ale/Pong:v5), or None where no source has them or its returns are
    not scores (the preset 100k)."""
    root, _, preset = name.partition(":")
    return None if preset in _SHORTENED else _scores().get(root)


@functools.cache
def _scores() -> dict[str, Reference]:
    found = json.loads(FILE.read_text())
    return {game: Reference(**scores) for game, scores in found["games"].items()}
