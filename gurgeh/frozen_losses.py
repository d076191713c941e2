"""Losses on frozen validation positions, in nats, one a position.

Shape legend: N positions, K moves that follow, A actions, P players.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from agents.commands import Commands
from agents.learner import MISSING_LOGIT, cross_entropy, unroll
from agents.network import Heads, MultiGameNetwork, num_values, to_relative
from agents.support import two_hot
from envs.game import GameSpec
from gurgeh.validation import FrozenSet


def frozen_losses(
    network: MultiGameNetwork, spec: GameSpec, frozen: FrozenSet, moves: int | None = None
) -> dict[str, np.ndarray]:
    """`head@k` -> [N] nats after k unrolled moves (at most `moves`; None: all), NaN where there is no target.

    Policy: -log of the mass on all optimal moves (over the legal ones at k = 0, over all the game has later). Value
    and reward: cross-entropy less the entropy of the two-hot target, so that 0 is perfect. Continuation and next
    mover: cross-entropy.
    """
    latent, action, commands = network.represent(spec.name, frozen.observation), frozen.action[:, :moves], None
    if frozen.command is not None:  # what was said is all that is known of these moves: one action each
        commands = network.read_commands(spec.name, frozen.command[:, :moves, None])
        action = torch.zeros_like(action)
    said = unrolled_heads(network, spec, action, latent, commands)
    return {name: loss.numpy() for name, loss in head_losses(network, spec, said, frozen).items()}


def unrolled_heads(
    network: MultiGameNetwork, spec: GameSpec, action: Tensor, latent: Tensor, commands: Commands | None = None
) -> list[Heads]:
    """What the network says at latent [N, L, D] and after each of the moves action [N, K]: K + 1 heads.

    commands: [N, K, A, *], what could be said before each move, in games where that varies (see `unroll`)."""
    game = torch.full((len(latent),), network.games[spec.name])
    return [network.heads(each, game) for each in unroll(network, game, latent, action, commands)]


def head_losses(
    network: MultiGameNetwork, spec: GameSpec, said: Sequence[Heads], frozen: FrozenSet
) -> dict[str, Tensor]:
    """`frozen_losses` as tensors [..., N], of heads that are given: `said` at k = 0, 1, ... of the rows of `frozen`.

    Heads may have dimensions in front of that of the rows, for several networks that speak of the same positions.
    """
    game = torch.full((len(frozen.phase),), network.games[spec.name])
    result: dict[str, Tensor] = {}
    exists, seats = frozen.exists, num_values(spec)
    for k, heads in enumerate(said):
        if frozen.policy_mask is not None:
            logits = heads.policy[..., : spec.num_actions]
            if k == 0:
                logits = logits.masked_fill(~frozen.legal, MISSING_LOGIT)
            # Where there is no position all moves count as optimal: a sum over none has no gradient.
            optimal = frozen.policy_mask[:, k] | ~exists[:, k, None]
            mass = torch.log_softmax(logits, -1).masked_fill(~optimal, -torch.inf).logsumexp(-1)
            result[f"policy@{k}"] = _known(-mass, exists[:, k])
        if frozen.value is not None:
            target = to_relative(frozen.value[:, k], frozen.to_play[:, k], spec.num_players, seats)
            result[f"value@{k}"] = _known(_divergence(network, heads.value[..., :seats, :], target, game), exists[:, k])
        if k == 0:
            continue
        valid = frozen.valid[:, k - 1]
        reward = to_relative(frozen.reward[:, k - 1], frozen.to_play[:, k - 1], spec.num_players, seats)
        result[f"reward@{k}"] = _known(_divergence(network, heads.reward[..., :seats, :], reward, game), valid)
        goes_on = frozen.continues[:, k - 1].float()
        loss = F.binary_cross_entropy_with_logits(
            heads.continuation, goes_on.expand_as(heads.continuation), reduction="none"
        )
        result[f"continuation@{k}"] = _known(loss, valid)
        if spec.num_players > 1:
            distance = (frozen.to_play[:, k] - frozen.to_play[:, k - 1]) % spec.num_players
            said_mover = torch.log_softmax(heads.next_mover[..., : spec.num_players], -1)
            loss = -said_mover.gather(-1, distance.expand(said_mover.shape[:-1])[..., None])[..., 0]
            result[f"next_mover@{k}"] = _known(loss, exists[:, k])
    return result


def _divergence(network: MultiGameNetwork, logits: Tensor, target: Tensor, game: Tensor) -> Tensor:
    """[..., N] Kullback-Leibler divergence from the two-hot target, summed over seats: logits [..., N, R, V], target
    [N, R]."""
    wanted = two_hot(target / network.tables.scale[game][:, None], network.bins)
    entropy = -torch.xlogy(wanted, wanted).sum(-1)
    return (cross_entropy(logits, wanted) - entropy).sum(-1)


def _known(loss: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, loss, torch.nan)
