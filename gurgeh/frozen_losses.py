"""Losses on frozen validation positions, in nats, one a position.

Shape legend: N positions, K moves that follow, A actions, P players.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from agents.commands import Commands
from agents.continuous import to_unit
from agents.learner import MISSING_LOGIT, unroll
from agents.network import Heads, MultiGameNetwork, num_values, to_relative
from agents.support import two_hot
from envs.game import GameSpec
from gurgeh.validation import FrozenSet


class Targets(NamedTuple):
    """What heads are held against at the positions of a frozen set, worked out once; R stored values a position.

    Entry k of the first dimension is position k, of `reward`, `goes_on`, `distance` and `valid` the (k + 1)-th move.
    """

    playable: Tensor | None  # [K + 1, N, A] bool: the legal moves at k = 0, later all that the game has
    optimal: Tensor | None  # [K + 1, N, A] bool
    value: Tensor | None  # [K + 1, N, R, V] two-hot
    value_entropy: Tensor | None  # [K + 1, N, R]
    reward: Tensor  # [K, N, R, V] two-hot
    reward_entropy: Tensor  # [K, N, R]
    goes_on: Tensor  # [K, N] float32
    distance: Tensor | None  # [K, N] int64: how many seats further the next mover sits; None with one player
    exists: Tensor  # [K + 1, N] bool
    valid: Tensor  # [K, N] bool


def targets_of(network: MultiGameNetwork, spec: GameSpec, frozen: FrozenSet, moves: int | None = None) -> Targets:
    """The targets of `frozen` at its positions and along at most `moves` moves (None: all)."""
    steps = frozen.action[:, :moves].shape[1]
    exists, valid = frozen.exists[:, : steps + 1].T, frozen.valid[:, :steps].T
    to_play, seats = frozen.to_play[:, : steps + 1].T, num_values(spec)
    scale = network.tables.scale[network.games[spec.name]]

    def weights(absolute: Tensor, mover: Tensor) -> tuple[Tensor, Tensor]:
        wanted = two_hot(to_relative(absolute.transpose(0, 1), mover, spec.num_players, seats) / scale, network.bins)
        return wanted, -torch.xlogy(wanted, wanted).sum(-1)

    playable = optimal = value = value_entropy = distance = None
    if frozen.policy_mask is not None:
        # Where there is no position all moves count as optimal: a sum over none has no gradient.
        optimal = frozen.policy_mask[:, : steps + 1].transpose(0, 1) | ~exists[:, :, None]
        playable = torch.ones_like(optimal)
        playable[0] = frozen.legal
    if frozen.value is not None:
        value, value_entropy = weights(frozen.value[:, : steps + 1], to_play)
    reward, reward_entropy = weights(frozen.reward[:, :steps], to_play[:steps])
    if spec.num_players > 1:
        distance = (to_play[1:] - to_play[:-1]) % spec.num_players
    return Targets(
        playable, optimal, value, value_entropy, reward, reward_entropy, frozen.continues[:, :steps].T.float(),
        distance, exists, valid,
    )  # fmt: skip


def frozen_losses(
    network: MultiGameNetwork, spec: GameSpec, frozen: FrozenSet, moves: int | None = None,
    targets: Targets | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """`head@k` -> [N] nats after k unrolled moves (at most `moves`; None: all), NaN where there is no target.

    Policy: -log of the mass on all optimal moves (over the legal ones at k = 0, over all the game has later). Value
    and reward: cross-entropy less the entropy of the two-hot target, so that 0 is perfect. Continuation and next
    mover: cross-entropy. targets: those of `frozen` and `moves`, if they are at hand.
    """
    targets = targets_of(network, spec, frozen, moves) if targets is None else targets
    latent, action, commands = network.represent(spec.name, frozen.observation), frozen.action[:, :moves], None
    if frozen.command is not None:  # what was said is all that is known of these moves: one action each
        commands = network.read_commands(spec.name, frozen.command[:, :moves, None])
        action = torch.zeros_like(action)
    told = None
    if frozen.point is not None and spec.box is not None:
        told = network.told(spec.name, to_unit(spec.box, frozen.point[:, :moves]))
    said = unrolled_heads(network, spec, action, latent, commands, told)
    (losses,) = head_losses(spec, said, targets)
    first = {"policy": 0, "value": 0}
    return {
        f"{head}@{k + first.get(head, 1)}": row
        for head, rows in losses.items()
        for k, row in enumerate(rows.numpy())
    }  # fmt: skip


def unrolled_heads(
    network: MultiGameNetwork, spec: GameSpec, action: Tensor, latent: Tensor, commands: Commands | None = None,
    told: Tensor | None = None,
) -> Heads:  # fmt: skip
    """What the network says at latent [N, L, D] and after each of the moves action [N, K]: heads [K + 1, N, *].

    commands, told: of games whose commands vary, and with continuous actions (see `unroll`)."""
    game = torch.full((len(latent),), network.games[spec.name])
    return stacked_heads(network, game, unroll(network, game, latent, action, commands, told))


def heads_apart(network: MultiGameNetwork, spec: GameSpec, action: Tensor, latent: Tensor) -> Heads:
    """The same as `unrolled_heads`, each k in a pass of its own, in which hooks find the rows as they were given."""
    game = torch.full((len(latent),), network.games[spec.name])
    said = [network.heads(each, game) for each in unroll(network, game, latent, action)]
    return Heads(*(torch.stack(part) for part in zip(*said, strict=True)))


def stacked_heads(network: MultiGameNetwork, game: Tensor, latents: Tensor) -> Heads:
    """Heads [K + 1, N, *] of latents [K + 1, N, L, D] in one pass, game [N]."""
    said = network.heads(latents.flatten(0, 1), game.repeat(len(latents)))
    return Heads(*(part.unflatten(0, latents.shape[:2]) for part in said))


def head_losses(
    spec: GameSpec, said: Heads, targets: Targets, orders: Sequence[Tensor] = ()
) -> list[dict[str, Tensor]]:  # fmt: skip
    """Head -> [K + 1, ..., N] (policy, value) or [K, ..., N] (the others) nats of heads [K + 1, ..., N, *], NaN where
    there is no target; heads with no target anywhere are left out.

    Dimensions between k and the rows stand for several networks that speak of the same positions. One dict for the
    rows as they are and one for each of `orders` [N], in which row i is held against what is said of row orders[i].
    """
    between, seats = said.continuation.dim() - 2, num_values(spec)

    def beside(part: Tensor) -> Tensor:
        return part.view(part.shape[0], *[1] * between, *part.shape[1:])

    def known(loss: Tensor, where: Tensor) -> Tensor:
        return torch.where(beside(where), loss, torch.nan)

    policy = said.policy[..., : spec.num_actions]
    value, reward, mover = (
        torch.log_softmax(part, -1)
        for part in (
            said.value[..., :seats, :], said.reward[1:, ..., :seats, :], said.next_mover[1:, ..., : spec.num_players]
        )
    )  # fmt: skip
    continuation, found = said.continuation[1:], []
    for order in (None, *orders):

        def dealt(part: Tensor, order: Tensor | None = order) -> Tensor:
            return part if order is None else part.index_select(between + 1, order)

        losses: dict[str, Tensor] = {}
        if targets.optimal is not None and targets.playable is not None:
            logits = dealt(policy).masked_fill(~beside(targets.playable), MISSING_LOGIT)
            mass = torch.log_softmax(logits, -1).masked_fill(~beside(targets.optimal), -torch.inf).logsumexp(-1)
            losses["policy"] = known(-mass, targets.exists)
        if targets.value is not None and targets.value_entropy is not None:
            loss = -(beside(targets.value) * dealt(value)).sum(-1) - beside(targets.value_entropy)
            losses["value"] = known(loss.sum(-1), targets.exists)
        if len(targets.valid):
            loss = -(beside(targets.reward) * dealt(reward)).sum(-1) - beside(targets.reward_entropy)
            losses["reward"] = known(loss.sum(-1), targets.valid)
            logits = dealt(continuation)
            wanted = beside(targets.goes_on).expand_as(logits)
            loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            losses["continuation"] = known(loss, targets.valid)
            if targets.distance is not None:
                said_mover = dealt(mover)
                place = beside(targets.distance).expand(said_mover.shape[:-1])[..., None]
                losses["next_mover"] = known(-said_mover.gather(-1, place)[..., 0], targets.exists[1:])
        found.append(losses)
    return found
