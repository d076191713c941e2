"""Losses on frozen validation positions, in nats, one a position.

Shape legend: N positions, K moves that follow, A actions, P players.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
from gurgeh.frozen_network import FrozenNetwork
from gurgeh.validation import FrozenSet


class Scalar(NamedTuple):
    """A two-hot target: the bins `low` and `low` + 1, and how much of it lies in the upper one."""

    low: Tensor  # [k, N, R] int64
    upper: Tensor  # [k, N, R] float32, from 0 to 1
    entropy: Tensor  # [k, N, R] nats

    @staticmethod
    def of(values: Tensor, bins: Tensor) -> Scalar:
        """values [k, N, R], in units of the bins [V]."""
        weights = two_hot(values, bins)
        low = (weights > 0).int().argmax(-1).clamp(max=len(bins) - 2)
        upper = weights.gather(-1, low[..., None] + 1)[..., 0]
        return Scalar(low, upper, -torch.xlogy(weights, weights).sum(-1))

    def divergence(self, said: Tensor) -> Tensor:
        """[k, ..., N] nats of log probabilities [k, ..., N, R, V], summed over R, less the target's own entropy; all
        three of self have as many dimensions as `said` but the last."""
        shape = torch.broadcast_shapes(said.shape[:-1], self.low.shape)
        low = self.low.expand(shape)[..., None]
        low, high = said.expand(*shape, -1).gather(-1, torch.cat([low, low + 1], -1)).unbind(-1)
        return (-((1 - self.upper) * low + self.upper * high) - self.entropy).sum(-1)


class Targets(NamedTuple):
    """What heads are held against at the positions of a frozen set, worked out once; R stored values a position.

    Entry k of the first dimension is position k, of `reward`, `goes_on`, `distance` and `valid` the (k + 1)-th move.
    """

    playable: Tensor | None  # [K + 1, N, A] bool: the legal moves at k = 0, later all that the game has
    optimal: Tensor | None  # [K + 1, N, A] bool
    value: Scalar | None  # of [K + 1, N, R]
    reward: Scalar  # of [K, N, R]
    goes_on: Tensor  # [K, N] float32
    distance: Tensor | None  # [K, N] int64: how many seats further the next mover sits; None with one player
    exists: Tensor  # [K + 1, N] bool
    valid: Tensor  # [K, N] bool

    def each(self, function: Callable[[Tensor], Tensor]) -> Targets:
        """`function` of every tensor."""

        def part(whole: Any) -> Any:
            if isinstance(whole, Scalar):
                return Scalar(*map(function, whole))
            return None if whole is None else function(whole)

        return Targets(*map(part, self))

    def dealt(self, orders: Tensor) -> Targets:
        """With a dimension before the rows: the targets as they are, then row i holding those of row orders[s, i], for
        orders [S, N] int64."""
        places = torch.cat([torch.arange(orders.shape[1])[None], orders])
        return self.each(lambda whole: whole[:, places])


def targets_of(network: MultiGameNetwork, spec: GameSpec, frozen: FrozenSet, moves: int | None = None) -> Targets:
    """The targets of `frozen` at its positions and along at most `moves` moves (None: all)."""
    steps = frozen.action[:, :moves].shape[1]
    exists, valid = frozen.exists[:, : steps + 1].T, frozen.valid[:, :steps].T
    to_play, seats = frozen.to_play[:, : steps + 1].T, num_values(spec)
    scale = network.tables.scale[network.games[spec.name]]

    def scalar(absolute: Tensor, mover: Tensor) -> Scalar:
        relative = to_relative(absolute.transpose(0, 1), mover, spec.num_players, seats)
        return Scalar.of(relative / scale, network.bins)

    playable = optimal = value = distance = None
    if frozen.policy_mask is not None:
        # Where there is no position all moves count as optimal: a sum over none has no gradient.
        optimal = frozen.policy_mask[:, : steps + 1].transpose(0, 1) | ~exists[:, :, None]
        playable = torch.ones_like(optimal)
        playable[0] = frozen.legal
    if frozen.value is not None:
        value = scalar(frozen.value[:, : steps + 1], to_play)
    if spec.num_players > 1:
        distance = (to_play[1:] - to_play[:-1]) % spec.num_players
    reward = scalar(frozen.reward[:, :steps], to_play[:steps])
    continues = frozen.continues[:, :steps].T.float()
    return Targets(playable, optimal, value, reward, continues, distance, exists, valid)


def frozen_losses(
    network: MultiGameNetwork, spec: GameSpec, frozen: FrozenSet, moves: int | None = None,
    targets: Targets | None = None, latent: Tensor | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """`head@k` -> [N] nats after k unrolled moves (at most `moves`; None: all), NaN where there is no target.

    Policy: -log of the mass on all optimal moves (over the legal ones at k = 0, over all the game has later). Value
    and reward: cross-entropy less the entropy of the two-hot target, so that 0 is perfect. Continuation and next
    mover: cross-entropy. targets: those of `frozen` and `moves`, latent: [N, L, D], if they are at hand.
    """
    targets = targets_of(network, spec, frozen, moves) if targets is None else targets
    latent = network.represent(spec.name, frozen.observation) if latent is None else latent
    action, commands = frozen.action[:, :moves], None
    if frozen.command is not None:  # what was said is all that is known of these moves: one action each
        commands = network.read_commands(spec.name, frozen.command[:, :moves, None])
        action = torch.zeros_like(action)
    told = None
    if frozen.point is not None and spec.box is not None:
        told = network.told(spec.name, to_unit(spec.box, frozen.point[:, :moves]))
    return _named(spec, unrolled_heads(network, spec, action, latent, commands, told), targets)


def losses_of_games(
    network: FrozenNetwork, parts: Sequence[tuple[FrozenSet, Targets, Tensor]], moves: int | None = None
) -> list[dict[str, np.ndarray]]:
    """`frozen_losses` of several games, each (positions, targets, latent [N, L, D]), in one pass through the model.

    For games with a table of moves (no commands that vary, no box), all followed along the same number of moves.
    """
    games, specs = network.network.games, network.network.specs
    judged = [targets.optimal is not None or targets.value is not None for _, targets, _ in parts]
    order = sorted(range(len(parts)), key=lambda place: not judged[place])  # those without such targets come last
    index = [games[parts[place][0].game] for place in order]
    counts = [len(parts[place][2]) for place in order]
    game = torch.tensor(index).repeat_interleave(torch.tensor(counts))
    latent = torch.cat([parts[place][2] for place in order])
    action = torch.cat([parts[place][0].action[:, :moves] for place in order])
    last = sum(judged)
    first, rest = network.heads_in_two(game, latent, action, sum(counts[:last]))
    said = [*heads_of_games(first, counts[:last]), *heads_of_games(rest, counts[last:])]
    found = {
        place: _named(specs[i], heads, parts[place][1]) for place, i, heads in zip(order, index, said, strict=True)
    }
    return [found[place] for place in range(len(parts))]


def heads_of_games(said: Heads, counts: list[int]) -> list[Heads]:
    """Heads [K + 1, N of all, *] cut into those of each game, which has counts[i] rows."""
    return [Heads(*fields) for fields in zip(*(part.split(counts, 1) for part in said), strict=True)]


def _named(spec: GameSpec, said: Heads, targets: Targets) -> dict[str, np.ndarray]:
    """`head@k` -> [N] nats of heads [K + 1, N, *]."""
    losses = head_losses(spec, said, targets)
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


def head_losses(spec: GameSpec, said: Heads, targets: Targets) -> dict[str, Tensor]:
    """Head -> [K + 1, ..., N] (policy, value) or [K, ..., N] (the others) nats of heads [K + 1, ..., N, *], NaN where
    there is no target; heads with no target anywhere are left out.

    Dimensions between k and the rows stand for several networks that speak of the same positions; of `Targets.dealt`
    each is held against all targets, which are one dimension more before the rows.
    """
    between, seats = said.continuation.dim() - 2, num_values(spec)
    if targets.exists.dim() == 3:
        said = Heads(*(part.unsqueeze(1 + between) for part in said))
    targets = targets.each(lambda part: part.view(part.shape[0], *[1] * between, *part.shape[1:]))
    losses: dict[str, Tensor] = {}
    if targets.optimal is not None and targets.playable is not None:
        logits = said.policy[..., : spec.num_actions].masked_fill(~targets.playable, MISSING_LOGIT)
        mass = torch.log_softmax(logits, -1).masked_fill(~targets.optimal, -torch.inf).logsumexp(-1)
        losses["policy"] = torch.where(targets.exists, -mass, torch.nan)
    if targets.value is not None:
        loss = targets.value.divergence(torch.log_softmax(said.value[..., :seats, :], -1))
        losses["value"] = torch.where(targets.exists, loss, torch.nan)
    if len(targets.valid):
        loss = targets.reward.divergence(torch.log_softmax(said.reward[1:, ..., :seats, :], -1))
        losses["reward"] = torch.where(targets.valid, loss, torch.nan)
        logits, goes_on = torch.broadcast_tensors(said.continuation[1:], targets.goes_on)
        loss = F.binary_cross_entropy_with_logits(logits, goes_on, reduction="none")
        losses["continuation"] = torch.where(targets.valid, loss, torch.nan)
        if targets.distance is not None:
            mover = torch.log_softmax(said.next_mover[1:, ..., : spec.num_players], -1)
            place = targets.distance.expand(loss.shape)[..., None]
            loss = -mover.expand(*loss.shape, -1).gather(-1, place)[..., 0]
            losses["next_mover"] = torch.where(targets.exists[1:], loss, torch.nan)
    return losses
