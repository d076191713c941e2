"""Recorded games of native rules, readable by a person: `python tests/envs/playthroughs.py NAME` writes one anew."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from envs import playthrough, registry
from envs.playthrough import golden_path

__all__ = ["golden_path", "play"]


def play(name: str, seed: int, actions: list[int]) -> dict:
    """Every position of one game, as JSON values."""
    return playthrough.play(registry.make(name), seed, actions)


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        playthrough.write(registry.make(chosen), golden_path(chosen))
