"""How the monitor reaches a network: frozen losses, latents and activations, without leaving a trace.

Shape legend: N positions, K moves that follow, A actions, P players. The averaged (EMA) weights are measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from agents.learner import MISSING_LOGIT, cross_entropy, unroll
from agents.network import Heads, MultiGameNetwork, num_values, to_relative
from agents.support import two_hot
from envs.game import GameSpec
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


def frozen_losses(
    network: MultiGameNetwork, spec: GameSpec, frozen: FrozenSet, moves: int | None = None
) -> dict[str, np.ndarray]:
    """`head@k` -> [N] nats after k unrolled moves (at most `moves`; None: all), NaN where there is no target.

    Policy: -log of the mass on all optimal moves (over the legal ones at k = 0, over all the game has later). Value
    and reward: cross-entropy less the entropy of the two-hot target, so that 0 is perfect. Continuation and next
    mover: cross-entropy.
    """
    game = torch.full((len(frozen.phase),), network.games[spec.name])
    latents = unroll(network, game, network.represent(spec.name, frozen.observation), frozen.action[:, :moves])
    result: dict[str, np.ndarray] = {}
    exists, seats = frozen.exists, num_values(spec)
    for k, latent in enumerate(latents):
        heads = network.heads(latent, game)
        if frozen.policy_mask is not None:
            logits = heads.policy[:, : spec.num_actions]
            if k == 0:
                logits = logits.masked_fill(~frozen.legal, MISSING_LOGIT)
            mass = torch.log_softmax(logits, 1).masked_fill(~frozen.policy_mask[:, k], -torch.inf).logsumexp(1)
            result[f"policy@{k}"] = _known(-mass, exists[:, k])
        if frozen.value is not None:
            target = to_relative(frozen.value[:, k], frozen.to_play[:, k], spec.num_players, seats)
            result[f"value@{k}"] = _known(_divergence(network, heads.value[:, :seats], target, game), exists[:, k])
        if k == 0:
            continue
        valid = frozen.valid[:, k - 1]
        reward = to_relative(frozen.reward[:, k - 1], frozen.to_play[:, k - 1], spec.num_players, seats)
        result[f"reward@{k}"] = _known(_divergence(network, heads.reward[:, :seats], reward, game), valid)
        goes_on = frozen.continues[:, k - 1].float()
        loss = F.binary_cross_entropy_with_logits(heads.continuation, goes_on, reduction="none")
        result[f"continuation@{k}"] = _known(loss, valid)
        if spec.num_players > 1:
            distance = (frozen.to_play[:, k] - frozen.to_play[:, k - 1]) % spec.num_players
            loss = F.cross_entropy(heads.next_mover[:, : spec.num_players], distance, reduction="none")
            result[f"next_mover@{k}"] = _known(loss, exists[:, k])
    return result


def _divergence(network: MultiGameNetwork, logits: Tensor, target: Tensor, game: Tensor) -> Tensor:
    """[N] Kullback-Leibler divergence from the two-hot target, summed over seats: logits [N, R, V], target [N, R]."""
    wanted = two_hot(target / network.tables.scale[game][:, None], network.bins)
    entropy = -torch.xlogy(wanted, wanted).sum(-1)
    return (cross_entropy(logits, wanted) - entropy).sum(-1)


def _known(loss: Tensor, known: Tensor) -> np.ndarray:
    return torch.where(known, loss, torch.nan).numpy()
