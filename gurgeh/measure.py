"""How the monitor reaches a network: frozen losses, latents and activations, without leaving a trace.

Shape legend: N positions, K moves that follow, A actions, P players. The averaged (EMA) weights are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from agents.network import Heads, MultiGameNetwork
from envs.game import GameSpec
from gurgeh.frozen_losses import Targets, frozen_losses, targets_of
from gurgeh.sharing import sharing_measure
from gurgeh.validation import FrozenSet
from monitor import Measure
from monitor.measures import collect_activations, undisturbed

CHUNK = 512  # positions in one call at most
KEPT = 256  # positions of a game whose targets are kept: those that are measured again and again


class Chunk(NamedTuple):
    """Some positions of a frozen set, with their targets."""

    rows: FrozenSet
    targets: Targets


def measure(network: MultiGameNetwork, sets: dict[str, FrozenSet], moves: int | None = None) -> Measure:
    """The functions that the monitor is given; sets: game -> its frozen validation set.

    moves: how many moves positions are followed along; None: all that the sets hold. 0 for a network whose model is
    not trained: neither its losses nor what its trunk puts out is then looked at.
    """

    cut: dict[str, tuple[FrozenSet, dict[tuple[int, int], Chunk]]] = {}  # game -> its set, (start, stop) -> chunk

    def chunk(game: str, start: int, stop: int) -> Chunk:
        whole = sets[game]
        if game not in cut or cut[game][0] is not whole:
            cut[game] = whole, {}
        chunks = cut[game][1]
        if (start, stop) in chunks:
            return chunks[start, stop]
        rows = whole.some(slice(start, stop))
        made = Chunk(rows, targets_of(network, spec(game), rows, moves))
        if stop <= KEPT:
            chunks[start, stop] = made
        return made

    def in_chunks(game: str, size: int, function: Callable[[Chunk], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        size, parts = min(size, len(sets[game])), []
        with undisturbed(network):
            for start in range(0, size, CHUNK):
                parts.append(function(chunk(game, start, min(start + CHUNK, size))))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def spec(game: str) -> GameSpec:
        return network.specs[network.games[game]]

    def latents(game: str, size: int) -> np.ndarray:
        return in_chunks(
            game, size, lambda part: {"latent": network.represent(game, part.rows.observation).flatten(1).numpy()}
        )["latent"]

    return Measure(
        losses=lambda game, size: in_chunks(
            game, size, lambda part: frozen_losses(network, spec(game), part.rows, moves, part.targets)
        ),
        phase=lambda game, size: sets[game].phase[:size].numpy(),
        latents=latents,
        activations=lambda game, size: in_chunks(
            game, size, lambda part: activations(network, game, part.rows, moves != 0)
        ),
        sharing=sharing_measure(network, sets, moves),
    )


def activations(network: MultiGameNetwork, game: str, rows: FrozenSet, move: bool = True) -> dict[str, np.ndarray]:
    """layer -> [N, units] mean |activation| of the hidden layers that all games share, after one move of the learned
    model; without `move` at the position itself."""
    index = torch.full((len(rows.phase),), network.games[game])
    latent = network.represent(game, rows.observation)

    def look() -> Heads:
        return network.heads(network.transition(latent, index, rows.action[:, 0]) if move else latent, index)

    return collect_activations(network, look, (torch.nn.ReLU,))
