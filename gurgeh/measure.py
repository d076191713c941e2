"""How the monitor reaches a network: frozen losses, latents and activations, without leaving a trace.

Shape legend: N positions, K moves that follow, A actions, P players. The averaged (EMA) weights are measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from agents.network import Heads, MultiGameNetwork
from envs.game import GameSpec
from gurgeh.frozen_losses import frozen_losses
from gurgeh.sharing import sharing_measure
from gurgeh.validation import FrozenSet
from monitor import Measure
from monitor.measures import collect_activations, undisturbed

CHUNK = 64  # positions in one call: fixed, so that a position's loss does not depend on how many are asked for


def measure(network: MultiGameNetwork, sets: dict[str, FrozenSet], moves: int | None = None) -> Measure:
    """The functions that the monitor is given; sets: game -> its frozen validation set.

    moves: how many moves positions are followed along; None: all that the sets hold. 0 for a network whose model is
    not trained: neither its losses nor what its trunk puts out is then looked at.
    """

    def in_chunks(
        game: str, size: int, function: Callable[[FrozenSet], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        frozen, parts = sets[game], []
        with undisturbed(network):
            for start in range(0, min(size, len(frozen)), CHUNK):
                parts.append(function(_rows(frozen, slice(start, min(start + CHUNK, size)))))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def spec(game: str) -> GameSpec:
        return network.specs[network.games[game]]

    def latents(game: str, size: int) -> np.ndarray:
        return in_chunks(
            game, size, lambda rows: {"latent": network.represent(game, rows.observation).flatten(1).numpy()}
        )["latent"]

    return Measure(
        losses=lambda game, size: in_chunks(game, size, lambda rows: frozen_losses(network, spec(game), rows, moves)),
        phase=lambda game, size: sets[game].phase[:size].numpy(),
        latents=latents,
        activations=lambda game, size: in_chunks(game, size, lambda rows: activations(network, game, rows, moves != 0)),
        sharing=sharing_measure(network, sets, moves),
    )


def _rows(frozen: FrozenSet, rows: slice) -> FrozenSet:
    """Some positions, without hashing them anew."""
    import dataclasses

    tensors = {
        field.name: value[rows]
        for field in dataclasses.fields(frozen)
        if isinstance(value := getattr(frozen, field.name), Tensor)
    }
    return dataclasses.replace(frozen, **tensors)


def activations(network: MultiGameNetwork, game: str, rows: FrozenSet, move: bool = True) -> dict[str, np.ndarray]:
    """layer -> [N, units] mean |activation| of the hidden layers that all games share, after one move of the learned
    model; without `move` at the position itself."""
    index = torch.full((len(rows.phase),), network.games[game])
    latent = network.represent(game, rows.observation)

    def look() -> Heads:
        return network.heads(network.transition(latent, index, rows.action[:, 0]) if move else latent, index)

    return collect_activations(network, look, (torch.nn.ReLU,))
