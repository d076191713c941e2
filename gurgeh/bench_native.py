"""The benchmarks' network inside the search's own kernels (`search.mlp.MLP`), and that network alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from gurgeh.bench_problem import DISCOUNT, Arrays
from search.compile import compiled
from search.layers import Layer
from search.mlp import MLP
from search.native import EMBEDDING, NUM_ANSWERS, NativeModel, aligned_bytes, call_model


def make_mlp(arrays: Arrays) -> MLP:
    """The network of `make_arrays`."""
    w1, table, w2, b2, w3, b3 = (torch.from_numpy(arrays[name]) for name in ("w1", "table", "w2", "b2", "w3", "b3"))
    dynamics = [Layer(w1.T, activation="relu", conditioned=True), Layer(w2.T, b2, activation="tanh")]
    return MLP(dynamics, [Layer(w3.T, b3)], table, discount=DISCOUNT)


class NativeLoop:
    """A native model called S times in a row, each time with its own last embeddings, its rows shared among threads
    as the search shares them. One player."""

    def __init__(self, model: NativeModel, threads: int):
        self._model, self._pool = model, ThreadPoolExecutor(threads)
        self._threads = threads

    def __call__(self, embedding: Tensor, actions: list[Tensor]) -> Tensor:
        """The last embeddings [B, D], from embedding [B, D] float32 and S actions [B] int64."""
        parts = min(self._threads, len(embedding))
        edges = [len(embedding) * i // parts for i in range(parts + 1)]
        if parts == 1:
            return self._run(embedding, actions, *edges)
        made = self._pool.map(lambda first, last: self._run(embedding, actions, first, last), edges[:-1], edges[1:])
        return torch.cat(list(made))

    def _run(self, embedding: Tensor, actions: list[Tensor], first: int, last: int) -> Tensor:
        model, count = self._model, last - first
        sizes = (model.width, 1, 1, model.num_actions, 1)  # of SIGNATURE's answers, float32; to_play behind them
        buffers = [[np.empty((count, size), np.float32) for size in sizes] for _ in range(2)]
        to_play, row = np.zeros(count, np.int64), np.arange(count)
        answers = np.zeros((2, NUM_ANSWERS), np.int64)
        for i in range(2):
            answers[i] = [buffer.ctypes.data for buffer in buffers[i]] + [to_play.ctypes.data]
        scratch = aligned_bytes(model.scratch_bytes)
        moves = np.array([action.data_ptr() + first * 8 for action in actions], np.int64)
        start = embedding.data_ptr() + first * model.width * 4
        _loop_(model.address, model.context.ctypes.data, scratch.ctypes.data, count, start, moves, row.ctypes.data,
               answers)  # fmt: skip
        return torch.from_numpy(buffers[(len(moves) - 1) % 2][EMBEDDING])


@compiled
def _loop_(address, context, scratch, count, embedding, moves, row, answers):
    """Calls the model once for each of `moves` [S], addresses of [count] actions; answers [2, 6] take turns."""
    for s in range(len(moves)):
        call_model(address, context, scratch, count, embedding, moves[s], row, answers[s % 2].ctypes.data)  # pyright: ignore[reportCallIssue]
        embedding = answers[s % 2, EMBEDDING]
