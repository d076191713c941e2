"""Models that run inside the CPU engine's kernels: no Python and no torch call between two simulations.

A small network costs more in call overhead than in arithmetic. A `NativeModel` is a recurrent function that is also
compiled code: `muzero` and `gumbel_muzero` on the CPU then run the whole search in one call, and share its rows among
`torch.get_num_threads()` threads. Elsewhere on the CPU the same object is an ordinary recurrent function.
`search.mlp.MLP` makes one from layers; `agents.native` makes one from Gurgeh's own network.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from torch import Tensor

from search.compile import compiled_callback, intrinsic
from search.tree import Step

_I64 = types.int64
# f(context, scratch, count, embedding, action, row, answer): addresses, but for count.
SIGNATURE = types.void(*[_I64] * 7)
# Words of `answer`, addresses of dense rows: embedding [K, E], reward [K, P], value [K, P], prior_logits [K, A]
# (float32), discount [K] (float32), to_play [K] (int64).
EMBEDDING, REWARD, VALUE, LOGITS, DISCOUNT, TO_PLAY = range(6)
NUM_ANSWERS = 6


@intrinsic
def call_model(_context, function, context, scratch, count, embedding, action, row, answer):
    """Calls the compiled model at address `function`."""

    def codegen(_context, builder, _signature, arguments):
        i64 = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [i64] * 7).as_pointer()
        builder.call(builder.inttoptr(arguments[0], kind), arguments[1:])
        return _context.get_dummy_value()

    return types.void(*[_I64] * 8), codegen


class ModelFunction:
    """`function(context, scratch, count, embedding, action, row, answer)`, compiled when its address is asked for."""

    def __init__(self, function: Callable[..., None]):
        self._function = function

    @functools.cached_property
    def _compiled(self) -> Any:
        return compiled_callback(self._function, SIGNATURE)

    @property
    def address(self) -> int:
        """Of the compiled code."""
        return self._compiled.address


class NativeModel:
    """A recurrent function for rows of `width` float32 numbers, as compiled code.

    function: a `ModelFunction`. Called with `count` rows, it reads embedding [count, width] float32 and action
    and row [count] int64 and writes the answers; `row` is the place of each in the batch of the search. It may use
    `scratch_bytes` bytes at `scratch`, several threads call it at once with scratch of their own, and a row's answer
    must not depend on the other rows. context: [words] int64, what the function is told of the model; the arrays whose
    addresses it holds are kept alive by `keep`.
    """

    def __init__(self, function: ModelFunction, context: np.ndarray, scratch_bytes: int, width: int, num_actions: int,
                 num_players: int, keep: Any = None):  # fmt: skip
        self.function, self.context, self.keep = function, context, keep
        self.scratch_bytes, self.width = scratch_bytes, width
        self.num_actions, self.num_players = num_actions, num_players

    @property
    def address(self) -> int:
        """Of the compiled code."""
        return self.function.address

    def __call__(self, embedding: Tensor, action: Tensor, row: Tensor | None = None) -> Step:
        """The same model as an ordinary recurrent function: embedding [K, width], action [K], row [K] (default 0, 1,
        ...) on the CPU -> Step."""
        embedding, action = embedding.detach().float().contiguous(), action.contiguous()
        count = len(action)
        if not embedding.is_cpu or embedding.shape != (count, self.width):
            raise ValueError(
                f"this model takes embeddings [{count}, {self.width}] on the CPU, "
                f"found {list(embedding.shape)} on {embedding.device}"
            )
        row = torch.arange(count) if row is None else row.contiguous()
        for name, numbers in (("action", action), ("row", row)):
            if numbers.dtype != torch.int64 or numbers.shape != (count,) or not numbers.is_cpu:
                raise ValueError(
                    f"{name} must be [{count}] torch.int64 on the CPU, "
                    f"found {list(numbers.shape)} {numbers.dtype} on {numbers.device}"
                )
        if count and not (int(action.min()) >= 0 and int(action.max()) < self.num_actions and int(row.min()) >= 0):
            raise ValueError(f"actions must lie in 0 .. {self.num_actions - 1} and rows at 0 or above")
        step = Step(
            embedding=torch.empty(count, self.width),
            reward=torch.empty(count, self.num_players),
            discount=torch.empty(count),
            prior_logits=torch.empty(count, self.num_actions),
            value=torch.empty(count, self.num_players),
            to_play=torch.empty(count, dtype=torch.int64),
        )
        answers = (step.embedding, step.reward, step.value, step.prior_logits, step.discount, step.to_play)
        answer = np.array([tensor.data_ptr() for tensor in answers], np.int64)
        scratch = aligned_bytes(self.scratch_bytes)
        arguments = (self.context.ctypes.data, scratch.ctypes.data, count, embedding.data_ptr(), action.data_ptr(),
                     row.data_ptr(), answer.ctypes.data)  # fmt: skip
        _CALL(self.address)(*arguments)
        return step


_CALL = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 7)


def aligned_bytes(size: int) -> np.ndarray:
    """[size] uint8 that begins at a cache line."""
    whole = np.empty(size + 64, np.uint8)
    first = -whole.ctypes.data % 64
    return whole[first : first + size]
