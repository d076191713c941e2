"""Chains of dense layers as one kernel: what native models are made of. See `dense.py` for the product itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numba import carray  # pyright: ignore[reportPrivateImportUsage]

from search import fastmath
from search.border import check_kind, check_tensor
from search.compile import compiled, pointer
from search.dense import NO_FLOOR, dense_, pack, padded

ROWS = 64  # rows that go through the whole network together: their activations stay in the cache
NONE, RELU, TANH = 0, 1, 2
ACTIVATIONS = {"none": NONE, "relu": RELU, "tanh": TANH}
LAYER = np.dtype(
    [
        ("panels", np.int64),  # addresses
        ("bias", np.int64),
        ("num_panels", np.int64),
        ("inputs", np.int64),
        ("outputs", np.int64),
        ("stride", np.int64),  # of an output row: whole panels
        ("activation", np.int64),
        ("conditioned", np.int64),  # the move's row is added before the activation
        ("residual", np.int64),  # the chain's token (the last normalised or first input) is added after it
        ("normalised", np.int64),  # layer norm without weights at the end
    ]
)
_EPSILON = np.float32(1e-5)  # torch's layer norm


@dataclass(frozen=True)
class Layer:
    """y = norm(activation(W x + b + condition) + token): each part but W as asked for.

    conditioned: the row of the move's table is added. residual: the token, that is the chain's input or the output of
    the last residual layer, is added. normalised: layer norm (no weights) at the end.
    """

    weight: torch.Tensor  # [outputs, inputs]
    bias: torch.Tensor | None = None  # [outputs]
    activation: str = "none"
    conditioned: bool = False
    residual: bool = False
    normalised: bool = False


class Chain:
    """Layers packed for `run_chain_`: `records` [layers] LAYER; `inputs`, `outputs` and `widest`, its sizes."""

    def __init__(self, layers: Sequence[Layer]):
        if not isinstance(layers, (list, tuple)) or not layers:
            raise ValueError(f"layers must be a list of at least one search.Layer, found {layers!r}")
        for i, layer in enumerate(layers):
            _check_layer(i, layer)
        self.records = np.zeros(len(layers), LAYER)
        self.keep = []
        before = token = layers[0].weight.shape[1]
        for i, layer in enumerate(layers):
            outputs, inputs = layer.weight.shape
            if inputs != before:
                raise ValueError(f"layer {i} takes {inputs} numbers, what comes before it has {before}")
            if layer.residual and outputs != token:
                raise ValueError(f"layer {i} is residual: it must have the token's {token} outputs, found {outputs}")
            panels = pack(layer.weight.detach().float().cpu().numpy())
            bias = np.zeros(padded(outputs), np.float32)
            if layer.bias is not None:
                bias[:outputs] = layer.bias.detach().float().cpu().numpy()
            self.keep += [panels, bias]
            record = self.records[i]
            record["panels"], record["bias"] = panels.ctypes.data, bias.ctypes.data
            record["num_panels"], record["inputs"], record["outputs"] = len(panels), inputs, outputs
            record["stride"], record["activation"] = padded(outputs), ACTIVATIONS[layer.activation]
            record["conditioned"], record["residual"] = layer.conditioned, layer.residual
            record["normalised"] = layer.normalised
            before = outputs
        self.inputs, self.outputs = layers[0].weight.shape[1], before
        self.widest = int(self.records["stride"].max())


def _check_layer(i: int, layer: Layer) -> None:
    check_kind(f"layer {i}", layer, Layer, "such as Layer(linear.weight, linear.bias)")
    if layer.activation not in ACTIVATIONS:
        raise ValueError(f"activation {layer.activation!r} of layer {i} is not one of {', '.join(ACTIVATIONS)}")
    check_matrix(f"weight of layer {i}", layer.weight, "[outputs, inputs]")
    if layer.bias is not None:
        check_tensor(f"bias of layer {i}", layer.bias, (len(layer.weight),), fix="[outputs]")


def check_matrix(name: str, matrix: torch.Tensor, axes: str) -> None:
    """ValueError unless `matrix` is a tensor of two axes, neither empty."""
    if not isinstance(matrix, torch.Tensor) or matrix.ndim != 2 or 0 in matrix.shape:
        found = list(matrix.shape) if isinstance(matrix, torch.Tensor) else type(matrix).__name__
        raise ValueError(f"{name} must be a torch.Tensor {axes}, found {found}")


@compiled
def floats(address, size):
    """The float32 numbers at an address."""
    return carray(pointer(address), (size,), np.float32)  # pyright: ignore[reportCallIssue]


@compiled
def words(address, size):
    """The int64 numbers at an address."""
    return carray(pointer(address), (size,), np.int64)  # pyright: ignore[reportCallIssue]


@compiled
def _normalise_(x, count):
    """Layer norm of x[:count] in place (population variance, epsilon 1e-5)."""
    mean = fastmath.total(x, count) / np.float32(count)
    for i in range(count):
        x[i] -= mean
    s0 = s1 = s2 = s3 = np.float32(0)
    whole = count - count % 4
    for i in range(0, whole, 4):
        s0 += x[i] * x[i]
        s1 += x[i + 1] * x[i + 1]
        s2 += x[i + 2] * x[i + 2]
        s3 += x[i + 3] * x[i + 3]
    for i in range(whole, count):
        s0 += x[i] * x[i]
    factor = np.float32(1) / np.sqrt(((s0 + s1) + (s2 + s3)) / np.float32(count) + _EPSILON)
    for i in range(count):
        x[i] *= factor


@compiled
def run_chain_(layers, num_rows, x, x_width, condition, condition_width, scratch, widest, out, out_width):
    """Rows of x through the layers into out, at most ROWS of them; returns nothing.

    x, condition, scratch, out: addresses; widths: numbers from row to row. condition: of the conditioned layers, 0:
    none. out's rows must have room for whole panels. Residual layers add x, or the output of the residual layer
    before; tokens are kept in x, which is overwritten where a chain has more than one.
    """
    source, source_width = x, x_width
    last = layers.shape[0] - 1
    for depth in range(layers.shape[0]):
        layer = layers[depth]
        if depth == last:
            target, target_width = out, out_width
        else:
            target, target_width = scratch + (depth % 2) * ROWS * widest * 4, widest
        start, start_width = layer.bias, 0
        if layer.conditioned:
            bias = floats(layer.bias, layer.outputs)
            for i in range(num_rows):
                row, added = (
                    floats(target + i * target_width * 4, layer.outputs),
                    floats(condition + i * condition_width * 4, layer.outputs),
                )
                for j in range(layer.outputs):
                    row[j] = bias[j] + added[j]
            start, start_width = target, target_width
        floor = np.float32(0) if layer.activation == RELU else NO_FLOOR
        dense_(source, source_width, num_rows, layer.inputs, layer.panels, layer.num_panels, start, start_width,
               target, target_width, floor)  # fmt: skip
        for i in range(num_rows):
            row = floats(target + i * target_width * 4, layer.outputs)
            if layer.activation == TANH:
                for j in range(layer.outputs):
                    row[j] = fastmath.tanh(row[j])
            if layer.residual:
                token = floats(x + i * x_width * 4, layer.outputs)
                for j in range(layer.outputs):
                    row[j] += token[j]
            if layer.normalised:
                _normalise_(row, layer.outputs)
            if layer.residual and depth < last:
                token = floats(x + i * x_width * 4, layer.outputs)
                for j in range(layer.outputs):
                    token[j] = row[j]
        source, source_width = target, target_width
