"""The network's step of the model as compiled code, for searches on the CPU: `SearchModel.step` without torch calls.

A step of a small network is some forty torch operations of a few microseconds each; here it is one call over all rows,
inside the search's own loop (`search.native`). For the mlp trunk and rows of one player or of two with a zero sum;
everything else searches with `SearchModel.step`. Both give the same numbers up to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import carray  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor

from agents.trunks import MLPTrunk
from search import fastmath
from search.compile import compiled, pointer
from search.dense import padded
from search.layers import LAYER, ROWS, Chain, Layer, floats, run_chain_, words
from search.native import DISCOUNT, EMBEDDING, LOGITS, REWARD, TO_PLAY, VALUE, ModelFunction, NativeModel

if TYPE_CHECKING:
    from agents.model import SearchModel

_CONTEXT = np.dtype(
    [
        (name, np.int64)
        for name in (
            # Addresses, and how many there are of what lies there.
            "dynamics", "num_dynamics", "heads", "num_heads", "action_table", "game_condition", "condition_width",
            "action_row", "num_players", "seats", "bins", "num_bins",
            # Sizes, and columns of the heads' output: policy rows begin at 0.
            "width", "num_actions", "num_seats", "widest", "scalars", "continuation", "mover", "outputs",
        )
    ]
    + [("gamma", np.float64), ("threshold", np.float64)]
)  # fmt: skip


def native_step(model: SearchModel, threshold: float) -> NativeModel | None:
    """`model.step` as a native model with the weights as they are now, or None where it cannot be one: another trunk,
    another device, three players and more, commands that vary. threshold: the continuation below which an edge ends the
    game."""
    network = model.network
    if not isinstance(network.trunk, MLPTrunk) or model.game.device.type != "cpu" or not model.two_players:
        return None
    if model.varies:
        return None
    trunk, core = network.trunk, network.core
    dynamics = Chain(
        [
            layer
            for inward, outward in zip(trunk.inward, trunk.outward, strict=True)
            for layer in (
                Layer(_weight(inward), _bias(inward), "relu", conditioned=True),
                Layer(_weight(outward), _bias(outward), residual=True, normalised=True),
            )
        ]
    )
    policy, *others = torch.split(core.weight, core.sizes)
    policy_bias, *other_biases = torch.split(core.bias, core.sizes)
    weights = [policy, *(_weight(block) for block in network.policy_blocks), *others]
    biases = [policy_bias, *(_bias(block) for block in network.policy_blocks), *other_biases]
    heads = Chain(
        [Layer(_weight(network.torso), _bias(network.torso), "relu"), Layer(torch.cat(weights), torch.cat(biases))]
    )
    arrays = {
        "action_table": _numbers(model.action_table),
        "game_condition": _numbers(model.game_condition),
        "action_row": _whole(model.action_row),
        "num_players": _whole(model.num_players),
        "seats": _numbers(model.seat_values),
        "bins": _numbers(network.bins),
    }
    num_actions, num_seats = model.action_row.shape[1], model.num_seats
    widest = max(dynamics.widest, heads.widest, padded(trunk.condition_width))
    context = np.zeros(1, _CONTEXT)
    for name, array in arrays.items():
        context[name] = array.ctypes.data
    num_policy_rows = sum(len(weight) for weight in weights) - sum(core.sizes[1:])
    sizes = {
        "dynamics": dynamics.records.ctypes.data, "num_dynamics": len(dynamics.records),
        "heads": heads.records.ctypes.data, "num_heads": len(heads.records),
        "condition_width": trunk.condition_width, "num_bins": core.num_bins, "width": network.width,
        "num_actions": num_actions, "num_seats": num_seats, "widest": widest, "scalars": num_policy_rows,
        "continuation": num_policy_rows + 2 * core.num_bins, "mover": num_policy_rows + 2 * core.num_bins + 1,
        "outputs": heads.outputs, "gamma": model.gamma, "threshold": threshold,
    }  # fmt: skip
    for name, size in sizes.items():
        context[name] = size
    return NativeModel(_STEP, context.view(np.int64), 5 * ROWS * widest * 4, network.width + 1, num_actions, num_seats,
                       (dynamics, heads, arrays))  # fmt: skip


def _weight(layer: torch.nn.Module) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight


def _bias(layer: torch.nn.Module) -> Tensor:
    assert isinstance(layer.bias, Tensor)
    return layer.bias


def _numbers(tensor: Tensor) -> np.ndarray:
    """A copy: training goes on while a search reads it."""
    return np.array(tensor.detach().float().numpy(), order="C")


def _whole(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy())


@compiled
def _expectation(logits, bins, weight):
    """The mean of the distribution softmax(logits) over bins; weight: scratch, all [V]."""
    top = logits[0]
    for v in range(logits.shape[0]):
        top = max(top, logits[v])
    for v in range(logits.shape[0]):
        weight[v] = fastmath.exp(logits[v] - top)
    mass = fastmath.total(weight, logits.shape[0])
    for v in range(logits.shape[0]):
        weight[v] *= bins[v]
    return fastmath.total(weight, logits.shape[0]) / mass


def _step_(context, scratch, count, embedding, action, row, answer):
    """`SearchModel.step` for `count` rows; see `search.native.ModelFunction`."""
    model = carray(pointer(context), (1,), _CONTEXT)[0]  # pyright: ignore[reportCallIssue]
    dynamics = carray(pointer(model.dynamics), (model.num_dynamics,), LAYER)  # pyright: ignore[reportCallIssue]
    heads = carray(pointer(model.heads), (model.num_heads,), LAYER)  # pyright: ignore[reportCallIssue]
    answers, actions, rows = words(answer, 6), words(action, count), words(row, count)
    width, num_actions, num_seats, widest = model.width, model.num_actions, model.num_seats, model.widest
    condition_width, num_bins = model.condition_width, model.num_bins
    bins = floats(model.bins, num_bins)
    rewards, values = floats(answers[REWARD], count * num_seats), floats(answers[VALUE], count * num_seats)
    logits, discounts = floats(answers[LOGITS], count * num_actions), floats(answers[DISCOUNT], count)
    to_play = words(answers[TO_PLAY], count)
    size = ROWS * widest * 4
    token, condition, between, out = scratch, scratch + size, scratch + 2 * size, scratch + 4 * size
    for first in range(0, count, ROWS):
        num_rows = min(ROWS, count - first)
        for i in range(num_rows):
            k = first + i
            source, x = floats(embedding + k * (width + 1) * 4, width), floats(token + i * widest * 4, width)
            for j in range(width):
                x[j] = source[j]
            key = words(model.action_row + rows[k] * num_actions * 8, num_actions)[actions[k]]
            added = floats(condition + i * widest * 4, condition_width)
            of_action = floats(model.action_table + key * condition_width * 4, condition_width)
            of_game = floats(model.game_condition + rows[k] * condition_width * 4, condition_width)
            for j in range(condition_width):
                added[j] = of_action[j] + of_game[j]
        run_chain_(dynamics, num_rows, token, widest, condition, widest, between, widest, out, widest)
        for i in range(num_rows):
            made = floats(out + i * widest * 4, width)
            target = floats(answers[EMBEDDING] + (first + i) * (width + 1) * 4, width)
            for j in range(width):
                target[j] = made[j]
        run_chain_(heads, num_rows, out, widest, 0, 0, between, widest, token, widest)
        for i in range(num_rows):
            k = first + i
            y = floats(token + i * widest * 4, model.outputs)
            keys = words(model.action_row + rows[k] * num_actions * 8, num_actions)
            for a in range(num_actions):
                logits[k * num_actions + a] = y[keys[a]]
            weight = floats(between, num_bins)
            value = _expectation(y[model.scalars : model.scalars + num_bins], bins, weight)
            reward = _expectation(y[model.scalars + num_bins : model.continuation], bins, weight)
            goes_on = np.float32(1) / (np.float32(1) + fastmath.exp(-y[model.continuation]))
            discounts[k] = goes_on * model.gamma if goes_on > model.threshold else np.float32(0)
            mover = 1 if floats(embedding + k * (width + 1) * 4, width + 1)[width] > 0.5 else 0
            following = mover
            if words(model.num_players, rows[k] + 1)[rows[k]] == 2 and y[model.mover + 1] > y[model.mover]:
                following = 1 - mover
            to_play[k] = following
            floats(answers[EMBEDDING] + k * (width + 1) * 4, width + 1)[width] = following
            seats = floats(model.seats + rows[k] * num_seats * 4, num_seats)
            for p in range(num_seats):
                values[k * num_seats + p] = value * np.float32(1 - 2 * following) * seats[p]
                rewards[k * num_seats + p] = reward * np.float32(1 - 2 * mover) * seats[p]


_STEP = ModelFunction(_step_)
