"""The learner's unroll, losses and their gradients as matrix products and a few compiled passes, for the mlp trunk.

Through autograd an update of a small network is some four hundred torch operations, of which a fifth of the time is
matrix products. Here the gradients are written out: twelve products for two unroll steps and a pass between two of
them. `agents.learner.Learner.losses` says the same in torch, for every trunk; tests hold the two together.

Shape legend: N rows of all games, K unroll steps, M = (K + 1) N, D width, H hidden width, A actions of the widest game,
V value bins, O outputs of the heads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.network import MultiGameNetwork
from agents.trunks import MLPTrunk
from search import fastmath
from search.compile import compiled

_EPSILON = np.float32(1e-5)  # of layer_norm


class Aims(NamedTuple):
    """What the network should have said, and how much each row counts. Everything is seen by the movers."""

    game: Tensor  # [N] int64
    action: Tensor  # [N, K] int64
    policy: Tensor  # [N, K + 1, A] float32
    policy_known: Tensor  # [N, K + 1] bool
    value: Tensor  # [N, K + 1] float32, in the game's units
    alive: Tensor  # [N, K + 1] bool
    reward: Tensor  # [N, K] float32
    continues: Tensor  # [N, K] bool
    moved: Tensor  # [N, K] bool
    next_mover: Tensor  # [N, K] int64
    weight: Tensor  # [N] float32: of the row in the total


class Answer(NamedTuple):
    """The losses, unweighted, and where autograd has to go on; the other gradients lie in the parameters' `grad`."""

    total: float
    policy: Tensor  # [K + 1, N]
    value: Tensor  # [K + 1, N]
    reward: Tensor  # [K, N]
    continuation: Tensor  # [K, N]
    next_mover: Tensor  # [K, N]
    value_error: Tensor  # [N]
    latent_gradient: Tensor  # [N, D]


def can_fuse(network: MultiGameNetwork) -> bool:
    """Whether `step_` knows this network: the mlp trunk on the CPU; one player, or two with a zero sum."""
    return (
        isinstance(network.trunk, MLPTrunk)
        and network.bins.device.type == "cpu"
        and not len(network.value_heads)
        and not len(network.mover_heads)
    )


@torch.no_grad()
def step_(network: MultiGameNetwork, latent: Tensor, aims: Aims, value_loss: float, reward_loss: float) -> Answer:
    """Losses at `latent` [N, D] float32 and along the unrolled moves; sets the gradients of trunk, heads and
    embeddings, and returns that of the latent. Gradients into each earlier latent are halved (MuZero, appendix G);
    the K unrolled positions together count as much as the first."""
    trunk, core, tables = network.trunk, network.core, network.tables
    assert isinstance(trunk, MLPTrunk), "can_fuse was not asked"
    rows, steps = aims.action.shape
    width, depth = latent.shape[1], len(trunk.inward)
    game = aims.game
    key = tables.action_row[game[:, None], aims.action].T.contiguous()  # [K, N]
    table, of_game = network.action_table(), torch.stack(list(network.game_embedding))
    in_weight, in_bias = _stacked(trunk.inward)
    out_weight, out_bias = _stacked(trunk.outward)

    # Forward. inputs[b]: what block b reads in each step; the first block reads the latents themselves.
    latents = latent.new_empty(steps + 1, rows, width)
    latents[0] = latent
    between = [latent.new_empty(steps, rows, width) for _ in range(depth - 1)]
    hidden = [latent.new_empty(steps, rows, trunk.condition_width) for _ in range(depth)]
    spread = latent.new_empty(depth, steps, rows)  # 1 / standard deviation, of layer_norm
    inputs, outputs = [latents[:-1], *between], [*between, latents[1:]]
    for k in range(steps):
        for b in range(depth):
            torch.mm(inputs[b][k], in_weight[b].T, out=hidden[b][k])
            _condition_(_array(hidden[b][k]), _array(in_bias[b]), _array(table), _array(of_game), _array(key[k]),
                        _array(game))  # fmt: skip
            torch.mm(hidden[b][k], out_weight[b].T, out=outputs[b][k])
            _normalise_(_array(outputs[b][k]), _array(out_bias[b]), _array(inputs[b][k]), _array(spread[b, k]))
    read = latents.view(-1, width)
    torso_weights, torso_bias = _stacked([network.torso])
    torso = torch.mm(read, torso_weights[0].T)
    rectify_(_array(torso), _array(torso_bias[0]))
    weight, bias, num_policy = _heads(network)
    output = torch.mm(torso, weight.T)

    # Losses, and their gradient by the heads' outputs in place of the outputs.
    losses = latent.new_zeros(5, steps + 1, rows)
    error = latent.new_empty(rows)
    scratch = latent.new_empty(max(weight.shape[0], tables.exists.shape[1]))
    total = _losses_(
        _array(output), _array(bias), num_policy, core.num_bins, _array(network.bins), _array(tables.action_row),
        _array(tables.exists), _array(tables.num_players), _array(tables.scale), _array(game), _array(aims.policy),
        _array(aims.policy_known), _array(aims.value), _array(aims.alive), _array(aims.reward), _array(aims.continues),
        _array(aims.moved), _array(aims.next_mover), _array(aims.weight), np.float32(value_loss),
        np.float32(reward_loss), _array(losses), _array(error), _array(scratch),
    )  # fmt: skip

    # Backward.
    _set_heads(network, torch.mm(output.T, torso), output.sum(0))
    by_torso = torch.mm(output, weight)
    mask_(_array(by_torso), _array(torso))
    _set(network.torso, torch.mm(by_torso.T, read), by_torso.sum(0))
    by_latent = torch.mm(by_torso, torso_weights[0]).view(steps + 1, rows, width)
    by_sum = [latent.new_empty(steps, rows, width) for _ in range(depth)]  # before layer_norm
    by_hidden = [latent.new_empty(steps, rows, trunk.condition_width) for _ in range(depth)]
    for k in reversed(range(steps)):
        gradient = by_latent[k + 1]
        for b in reversed(range(depth)):
            normalise_back_(_array(gradient), _array(outputs[b][k]), _array(spread[b, k]), _array(by_sum[b][k]))
            torch.mm(by_sum[b][k], out_weight[b], out=by_hidden[b][k])
            mask_(_array(by_hidden[b][k]), _array(hidden[b][k]))
            gradient = torch.addmm(by_sum[b][k], by_hidden[b][k], in_weight[b])
        by_latent[k].add_(gradient, alpha=0.5)
    by_table, by_game = torch.zeros_like(table), torch.zeros_like(of_game)
    for b in range(depth):
        flat = by_hidden[b].view(-1, trunk.condition_width)
        _scatter_(_array(flat), _array(key), _array(game), _array(by_table), _array(by_game))
        _set(trunk.inward[b], torch.mm(flat.T, inputs[b].reshape(-1, width)), flat.sum(0))
        sums = by_sum[b].view(-1, width)
        _set(trunk.outward[b], torch.mm(sums.T, hidden[b].view(-1, trunk.condition_width)), sums.sum(0))
    for block, part in zip(
        network.action_blocks, by_table.split([len(block) for block in network.action_blocks]), strict=True
    ):
        block.grad = part
    for embedding, part in zip(network.game_embedding, by_game.unbind(0), strict=True):
        embedding.grad = part
    return Answer(total, losses[0], losses[1], losses[2, 1:], losses[3, 1:], losses[4, 1:], error, by_latent[0])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.numpy()


def _stacked(layers: Iterable[torch.nn.Module]) -> tuple[list[Tensor], list[Tensor]]:
    return [layer.weight.detach() for layer in layers], [layer.bias.detach() for layer in layers]  # pyright: ignore[reportAttributeAccessIssue, reportReturnType, reportCallIssue]


def _set(layer: torch.nn.Module, weight: Tensor, bias: Tensor) -> None:
    layer.weight.grad, layer.bias.grad = weight, bias  # pyright: ignore[reportAttributeAccessIssue]


def _policy_rows(network: MultiGameNetwork) -> list[int]:
    """How many rows of the core and of each policy block belong to actions that a game has."""
    left, rows = len(network.action_index), []
    for capacity in (network.core.sizes[0], *(len(bias) for bias in _stacked(network.policy_blocks)[1])):
        rows.append(min(left, capacity))
        left -= rows[-1]
    return rows


def _heads(network: MultiGameNetwork) -> tuple[Tensor, Tensor, int]:
    """All outputs that some game has as one layer: weight [O, H], bias [O], and the number of policy rows."""
    core, rows = network.core, _policy_rows(network)
    found = []
    for first, blocks in zip((core.weight.detach(), core.bias.detach()), _stacked(network.policy_blocks), strict=True):
        used = [part[:count] for part, count in zip((first, *blocks), rows, strict=True)]
        found.append(torch.cat([*used, first[core.sizes[0] :]]))
    return found[0], found[1], sum(rows)


def _set_heads(network: MultiGameNetwork, weight: Tensor, bias: Tensor) -> None:
    """Gradients of all heads from those of `_heads`; rows of no action have 0."""
    core, rows = network.core, _policy_rows(network)
    for name, gradient in (("weight", weight), ("bias", bias)):
        done = 0
        for layer, count in zip((core, *network.policy_blocks), rows, strict=True):
            parameter: Tensor = getattr(layer, name)
            parameter.grad = torch.zeros_like(parameter)
            parameter.grad[:count] = gradient[done : done + count]
            done += count
        core_gradient: Tensor = getattr(core, name).grad
        core_gradient[core.sizes[0] :] = gradient[done:]


# -- compiled passes. Comparisons are written so that NaN goes through: the loop that watches losses must see it. --


@compiled
def _condition_(hidden, bias, table, of_game, key, game):
    """hidden [N, H] = max(hidden + bias + table[key] + of_game[game], 0)."""
    for i in range(hidden.shape[0]):
        row, action, embedding = hidden[i], table[key[i]], of_game[game[i]]
        for j in range(hidden.shape[1]):
            x = row[j] + bias[j] + action[j] + embedding[j]
            row[j] = np.float32(0) if x < 0 else x


@compiled
def rectify_(x, bias):
    """x [M, H] = max(x + bias, 0)."""
    for i in range(x.shape[0]):
        row = x[i]
        for j in range(x.shape[1]):
            y = row[j] + bias[j]
            row[j] = np.float32(0) if y < 0 else y


@compiled
def mask_(gradient, x):
    """gradient = 0 where x, the output of a rectifier, is 0; both [M, H]."""
    for i in range(x.shape[0]):
        g, row = gradient[i], x[i]
        for j in range(x.shape[1]):
            g[j] = np.float32(0) if row[j] == 0 else g[j]


@compiled
def _normalise_row(row, squares):
    """row [D] = layer_norm(row); returns 1 / standard deviation. squares: scratch [D]."""
    width = row.shape[0]
    mean = fastmath.total(row, width) / np.float32(width)
    for j in range(width):
        row[j] -= mean
        squares[j] = row[j] * row[j]
    scale = np.float32(1) / np.sqrt(fastmath.total(squares, width) / np.float32(width) + _EPSILON)
    for j in range(width):
        row[j] *= scale
    return scale


@compiled
def _normalise_(x, bias, residual, spread):
    """x [N, D] = layer_norm(x + bias + residual); spread [N] = 1 / standard deviation."""
    squares = np.empty(x.shape[1], np.float32)
    for i in range(x.shape[0]):
        row, added = x[i], residual[i]
        for j in range(x.shape[1]):
            row[j] += bias[j] + added[j]
        spread[i] = _normalise_row(row, squares)


@compiled
def normalise_rows_(x, spread):
    """x [N, D] = layer_norm(x); spread [N] = 1 / standard deviation."""
    squares = np.empty(x.shape[1], np.float32)
    for i in range(x.shape[0]):
        spread[i] = _normalise_row(x[i], squares)


@compiled
def normalise_back_(gradient, x, spread, out):
    """out [N, D]: the gradient before layer_norm from that behind it, at its output x [N, D]."""
    width = x.shape[1]
    product = np.empty(width, np.float32)
    for i in range(x.shape[0]):
        g, row, target = gradient[i], x[i], out[i]
        for j in range(width):
            product[j] = g[j] * row[j]
        mean = fastmath.total(g, width) / np.float32(width)
        along = fastmath.total(product, width) / np.float32(width)
        for j in range(width):
            target[j] = spread[i] * (g[j] - mean - row[j] * along)


@compiled
def _scatter_(gradient, key, game, table, of_game):
    """Rows of gradient [K N, H] are added to table[key [K, N]] and of_game[game [N]]."""
    steps, rows = key.shape
    for k in range(steps):
        for i in range(rows):
            source, action, embedding = gradient[k * rows + i], table[key[k, i]], of_game[game[i]]
            for j in range(gradient.shape[1]):
                action[j] += source[j]
                embedding[j] += source[j]


@compiled
def _cross_entropy_(logits, low, share, weight, bins, mass):
    """Cross-entropy of logits [V] with the target that has 1 - share at `low` and share at `low + 1`; logits become its
    gradient times weight. Returns it, and the mean over bins [V]. mass: scratch [V]."""
    count = logits.shape[0]
    top = logits[0]
    for v in range(count):
        top = max(top, logits[v])
    wanted = (np.float32(1) - share) * logits[low] + share * logits[low + 1]
    for v in range(count):
        mass[v] = fastmath.exp(logits[v] - top)
    whole = fastmath.total(mass, count)
    for v in range(count):
        logits[v] = mass[v] / whole * weight
        mass[v] *= bins[v]
    mean = fastmath.total(mass, count) / whole
    logits[low] -= (np.float32(1) - share) * weight
    logits[low + 1] -= share * weight
    return np.log(whole) + top - wanted, mean


@compiled
def _place(value, bins):
    """(low, share): `value`, at most the outermost bin, lies at (1 - share) bins[low] + share bins[low + 1]."""
    value = min(max(value, bins[0]), bins[-1])
    low = min(max(np.searchsorted(bins, value) - 1, 0), bins.shape[0] - 2)
    return low, (value - bins[low]) / (bins[low + 1] - bins[low])


@compiled
def _losses_(
    output, bias, num_policy, num_bins, bins, action_row, exists, num_players, scales, game, policy, policy_known,
    value, alive, reward, continues, moved, next_mover, weight, value_loss, reward_loss, losses, error, mass,
):  # fmt: skip
    """All losses of output [M, O] without `bias`; the output becomes the gradient of their weighted total, which is
    returned. losses [5, K + 1, N]: policy, value, reward, continuation, next mover. error [N]."""
    rows, steps = game.shape[0], policy.shape[1] - 1
    first_reward = num_policy + num_bins
    at_goes_on, at_mover = first_reward + num_bins, first_reward + num_bins + 1
    one, zero = np.float32(1), np.float32(0)
    total = 0.0
    for k in range(steps + 1):
        of_step = one if k == 0 else one / np.float32(steps)
        for i in range(rows):
            y, g = output[k * rows + i], game[i]
            w, scale = weight[i] * of_step, scales[g]
            for j in range(y.shape[0]):
                y[j] += bias[j]

            sum_of_row = 0.0
            keys = action_row[g]
            count = 0
            while count < exists.shape[1] and exists[g, count]:
                count += 1
            known = policy_known[i, k]
            if known:
                top, whole, wanted, share = y[keys[0]], zero, zero, zero
                for a in range(count):
                    top = max(top, y[keys[a]])
                for a in range(count):
                    mass[a] = y[keys[a]] - top
                    wanted += policy[i, k, a] * mass[a]
                    share += policy[i, k, a]
                for a in range(count):
                    mass[a] = fastmath.exp(mass[a])
                whole = fastmath.total(mass, count)
                losses[0, k, i] = np.log(whole) * share - wanted
                sum_of_row += losses[0, k, i]
            for j in range(num_policy):
                y[j] = zero
            if known:
                for a in range(count):
                    y[keys[a]] = w * (mass[a] / whole * share - policy[i, k, a])

            part = y[num_policy:first_reward]
            target = value[i, k] / scale
            low, share = _place(target, bins)
            loss, mean = _cross_entropy_(part, low, share, w * value_loss if alive[i, k] else zero, bins, mass)
            if k == 0:
                error[i] = abs(mean - target)
            if alive[i, k]:
                losses[1, k, i] = loss
                sum_of_row += value_loss * loss

            part = y[first_reward:at_goes_on]
            goes_on = y[at_goes_on]
            y[at_goes_on] = zero
            if k > 0 and moved[i, k - 1]:
                low, share = _place(reward[i, k - 1] / scale, bins)
                losses[2, k, i], _ = _cross_entropy_(part, low, share, w * reward_loss, bins, mass)
                aim = one if continues[i, k - 1] else zero
                chance = one / (one + np.exp(-goes_on))
                losses[3, k, i] = max(goes_on, zero) - goes_on * aim + np.log1p(np.exp(-abs(goes_on)))
                y[at_goes_on] = w * (chance - aim)
                sum_of_row += reward_loss * losses[2, k, i] + losses[3, k, i]
            else:
                for v in range(num_bins):
                    part[v] = zero

            a, b = y[at_mover], y[at_mover + 1]
            y[at_mover], y[at_mover + 1] = zero, zero
            if k > 0 and moved[i, k - 1] and alive[i, k] and num_players[g] > 1:
                top = max(a, b)
                chosen = next_mover[i, k - 1]
                wanted = (b if chosen else a) - top
                a, b = np.exp(a - top), np.exp(b - top)
                losses[4, k, i] = np.log(a + b) - wanted
                sum_of_row += losses[4, k, i]
                y[at_mover] = w * (a / (a + b) - (zero if chosen else one))
                y[at_mover + 1] = w * (b / (a + b) - (one if chosen else zero))
            total += w * sum_of_row
    return total
