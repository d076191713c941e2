"""Clipping, AdamW and the averaged weights as two compiled passes over all parameters.

In torch these are some ten passes over every gradient and weight. The moments lie where torch's optimiser keeps them
(`optimizer.state`), so that checkpoints are the same whichever way a run takes; `Learner.descend` says the same in
torch, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from search.compile import compiled
from search.layers import floats

# Columns of the table: addresses of float32 numbers, 0 where there are none, and how many.
_WEIGHT, _AVERAGE, _GRADIENT, _MEAN, _SQUARE, _STEP, _SIZE = range(7)
_CHUNK = 4096  # numbers that are stepped and averaged before the next: what both read stays in the cache
_LANES = 64  # sums of squares side by side, in a fixed order


Pairs = Sequence[tuple[nn.Parameter, Tensor | None]]  # (parameter, its average, if any), contiguous float32, on the CPU


def descend_(optimizer: torch.optim.AdamW, table: np.ndarray, max_norm: float, decay: float) -> float:
    """Scale the gradients to a joint norm of at most `max_norm`, step, move the averages; returns the norm before.

    table: of `table_of`; parameters without a gradient stay as they are.
    average = decay * average + (1 - decay) * parameter.
    """
    group, norm = optimizer.param_groups[0], float(_norm(table))
    first, second = group["betas"]
    _descend_(table, np.float32(min(1.0, max_norm / (norm + 1e-6)) if norm == norm else norm), group["lr"],
              group["weight_decay"], first, second, group["eps"], np.float32(1.0 - decay))  # fmt: skip
    return norm


def table_of(optimizer: torch.optim.AdamW, pairs: Pairs) -> np.ndarray:
    """[parameters, 7] int64: a row says where a parameter, its `grad` and all that belongs to it lie. It holds as long
    as none of these is put elsewhere."""
    rows = []
    for parameter, average in pairs:
        gradient, follows = parameter.grad, 0 if average is None else average.data_ptr()
        lies = [parameter.data_ptr(), follows, 0, 0, 0, 0, parameter.numel()]
        if gradient is not None:
            if not gradient.is_contiguous():
                parameter.grad = gradient = gradient.contiguous()
            state = optimizer.state[parameter]
            if not state:  # as torch's AdamW begins
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            lies[_GRADIENT], lies[_STEP] = gradient.data_ptr(), state["step"].data_ptr()
            lies[_MEAN], lies[_SQUARE] = state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr()
        rows.append(lies)
    return np.array(rows, np.int64)


@compiled
def _norm(table):
    """The norm of all gradients together."""
    whole = 0.0
    sums = np.zeros(_LANES, np.float32)
    for p in range(table.shape[0]):
        if table[p, _GRADIENT]:
            size = table[p, _SIZE]
            gradient = floats(table[p, _GRADIENT], size)
            full = size - size % _LANES
            for i in range(0, full, _LANES):
                for j in range(_LANES):
                    sums[j] += gradient[i + j] * gradient[i + j]
            for i in range(full, size):
                sums[i - full] += gradient[i] * gradient[i]
    for j in range(_LANES):
        whole += sums[j]
    return np.sqrt(whole)


@compiled
def _step_(weight, gradient, mean, square, clip, keep, first, second, rest, size, root, epsilon):
    """Some numbers of one parameter take AdamW's step (Loshchilov and Hutter 2019); the gradient becomes the clipped
    one. keep = 1 - lr * weight decay; first = 1 - beta1; second = beta2, rest = 1 - beta2; size = lr / (1 - beta1^t);
    root = sqrt(1 - beta2^t)."""
    for i in range(weight.shape[0]):
        g = gradient[i] * clip
        gradient[i] = g
        m = mean[i] + (g - mean[i]) * first
        v = square[i] * second + g * g * rest
        mean[i] = m
        square[i] = v
        weight[i] = weight[i] * keep - size * m / (np.sqrt(v) / root + epsilon)


@compiled
def _follow_(average, weight, share):
    """average += share * (weight - average)."""
    for i in range(average.shape[0]):
        average[i] += share * (weight[i] - average[i])


@compiled
def _descend_(table, clip, lr, weight_decay, beta1, beta2, epsilon, share):
    """See `descend_`; clip: factor of all gradients, share: of the weights in the new averages."""
    keep = np.float32(1.0 - lr * weight_decay)
    first, second, rest = np.float32(1.0 - beta1), np.float32(beta2), np.float32(1.0 - beta2)
    for p in range(table.shape[0]):
        row, trained = table[p], table[p, _GRADIENT] != 0
        size, root = np.float32(0), np.float32(1)
        if trained:
            step = floats(row[_STEP], 1)
            step[0] += np.float32(1)
            size = np.float32(lr / (1.0 - beta1 ** np.float64(step[0])))
            root = np.float32(np.sqrt(1.0 - beta2 ** np.float64(step[0])))
        for start in range(0, row[_SIZE], _CHUNK):
            count, offset = min(_CHUNK, row[_SIZE] - start), 4 * start
            weight = floats(row[_WEIGHT] + offset, count)
            if trained:
                _step_(weight, floats(row[_GRADIENT] + offset, count), floats(row[_MEAN] + offset, count),
                       floats(row[_SQUARE] + offset, count), clip, keep, first, second, rest, size, root,
                       np.float32(epsilon))  # fmt: skip
            if row[_AVERAGE]:
                _follow_(floats(row[_AVERAGE] + offset, count), weight, share)
