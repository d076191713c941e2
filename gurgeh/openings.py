"""Random openings of a game, different from one another as far as the game has them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from agents.player import choose_uniformly
from envs.game import Game, episode_seed
from gurgeh.episodes import Opening, untouched_randomness
from gurgeh.records import fingerprint

_OPENINGS = 1 << 42  # their place in the number line of episodes (`episode_seed`)
_WAVE = 256  # openings that are drawn at once


def draw_openings(game: Game, plies: int, count: int, seed: int) -> list[Opening]:
    """`count` openings of `plies` random legal moves, none of which ends the game.

    They lead to different positions (as the player to move sees them; in a game with chance or hidden information also
    its seed) until the game has no more: after that they repeat in the same order. The first n are the same whatever
    `count` is. ValueError when every opening ends the game, and where actions are continuous.
    """
    if game.spec.box is not None and plies:
        raise ValueError(f"{game.name} has continuous actions, of which no openings are drawn: take 0 plies")
    chance = game.spec.stochastic or not game.spec.perfect_information or game.native is None
    found: dict[tuple[str, int], Opening] = {}
    without_news, start = 0, 0
    # 72 positions of equal chances: the last one is missed with a probability of 1e-6.
    while len(found) < count and without_news < 1000 + 20 * len(found):
        news = False
        for key, opening in _opening_wave(game, plies, seed, start):
            full_key = (key, opening.seed if chance else 0)
            news |= full_key not in found
            found.setdefault(full_key, opening)
        without_news = 0 if news else without_news + _WAVE
        start += _WAVE
    if not found:
        raise ValueError(f"{game.name}: every opening of {plies} random moves ends the game; draw shorter ones")
    openings = list(found.values())
    return [openings[i % len(openings)] for i in range(count)]


def _opening_wave(game: Game, plies: int, seed: int, start: int) -> Iterator[tuple[str, Opening]]:
    """Openings number start to start + _WAVE, without those that end the game, and what they lead to."""
    number = np.arange(start, start + _WAVE)
    seeds = episode_seed(seed, number, _OPENINGS)
    with untouched_randomness():
        environment = game.environment(_WAVE, seed)
        try:
            step = environment.reset(seeds=seeds)
            going, actions = torch.ones(_WAVE, dtype=torch.bool), []
            for ply in range(plies):
                draw = torch.as_tensor(episode_seed(seed, number, _OPENINGS + 1 + ply))
                actions.append(choose_uniformly(step.legal, draw))
                step = environment.step(actions[-1])
                going &= ~(step.terminated | step.truncated)
        finally:
            environment.close()
    moves = torch.stack(actions, 1).tolist() if actions else [[] for _ in number]
    views = step.observation.numpy()
    for i in going.nonzero()[:, 0].tolist():
        yield f"{fingerprint(views[i])} {int(step.to_play[i])}", Opening(int(seeds[i]), tuple(moves[i]))
