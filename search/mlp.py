"""`MLP`: a small MuZero network that runs inside the search on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import carray  # pyright: ignore[reportPrivateImportUsage]

from search.border import check_count, check_number, refuse
from search.compile import pointer
from search.dense import padded
from search.layers import LAYER, ROWS, Chain, Layer, check_matrix, floats, run_chain_, words
from search.native import DISCOUNT, EMBEDDING, LOGITS, REWARD, TO_PLAY, VALUE, ModelFunction, NativeModel
from search.tree import Root

_CONTEXT = np.dtype(
    [
        ("dynamics", np.int64),  # addresses of LAYER records and their numbers
        ("num_dynamics", np.int64),
        ("heads", np.int64),
        ("num_heads", np.int64),
        ("table", np.int64),  # address of [A, table_width] float32
        ("table_width", np.int64),
        ("width", np.int64),
        ("num_actions", np.int64),
        ("num_players", np.int64),
        ("widest", np.int64),
        ("discount", np.float64),
    ]
)


class MLP(NativeModel):
    """A recurrent function of dense layers, for one player or two in a zero-sum game.

    dynamics: from the embedding [K, D] to the next one [K, D]; layers with `conditioned=True` add the action's row of
    `action_table` [A, H] before their activation. heads: from the next embedding to A prior logits, then the value and
    the reward, both of the player who moves in the node that they belong to (value: behind the edge, reward: before
    it). discount: one number for every edge. With two players the seats alternate, and the embedding has one number
    more, the seat to move: [K, D + 1].

    Weights are copied: make a new one (some 0.1 ms) after a training step. Raises ValueError where sizes do not fit.
    """

    def __init__(
        self,
        dynamics: Sequence[Layer],
        heads: Sequence[Layer],
        action_table: torch.Tensor,
        discount: float = 1.0,
        num_players: int = 1,
    ):
        first, second = Chain(dynamics), Chain(heads)
        check_matrix("action_table", action_table, "[A, H], a row an action")
        check_number("discount", discount, 0)
        check_count("num_players", num_players)
        num_actions, table_width = action_table.shape
        if num_players > 2:
            raise ValueError(f"MLP is for one or two players, found num_players={num_players}")
        if first.outputs != first.inputs or second.inputs != first.outputs:
            raise ValueError(
                f"dynamics must lead from D numbers to D and heads begin there, found {first.inputs} -> "
                f"{first.outputs}, heads take {second.inputs}"
            )
        if second.outputs != num_actions + 2:
            raise ValueError(
                f"heads must end in {num_actions} logits (rows of action_table), value and reward, "
                f"found {second.outputs} outputs"
            )
        if any(layer.conditioned for layer in heads):
            raise ValueError("heads cannot be conditioned: they see the next embedding; condition a layer of dynamics")
        for i, layer in enumerate(dynamics):
            if layer.conditioned and len(layer.weight) != table_width:
                raise ValueError(
                    f"action_table has rows of {table_width}, the conditioned layer {i} {len(layer.weight)} outputs"
                )
        table = np.ascontiguousarray(action_table.detach().float().cpu().numpy())
        width = first.inputs + (num_players - 1)
        widest = max(first.widest, second.widest, padded(width), table_width)
        context = np.zeros(1, _CONTEXT)
        context["dynamics"], context["num_dynamics"] = first.records.ctypes.data, len(first.records)
        context["heads"], context["num_heads"] = second.records.ctypes.data, len(second.records)
        context["table"], context["table_width"] = table.ctypes.data, table_width
        context["width"], context["num_actions"] = first.inputs, num_actions
        context["num_players"], context["widest"], context["discount"] = num_players, widest, discount
        # x, condition, two of the chain, out
        scratch = 5 * ROWS * widest * 4
        super().__init__(_step_, context.view(np.int64), scratch, width, num_actions, num_players,
                         (first, second, table))  # fmt: skip

    def check_root(self, root: Root) -> None:
        """ValueError, naming the row, if the root's embedding says that another seat moves than `Root.to_play`."""
        embedding = root.embedding.flatten(1)
        if self.num_players == 2 and embedding.shape[1] == self.width:  # other widths: the engine says so
            seat = embedding[:, -1]  # NaN goes through the model and is found after the search
            refuse(
                ((seat > 0.5).long() != root.to_play) & ~seat.isnan(),
                "row {row} of Root.embedding ends in another seat than Root.to_play: with two players the last of "
                f"its {self.width} numbers must be the seat to move, 0 or 1",
            )


@ModelFunction
def _step_(context, scratch, count, embedding, action, row, answer):
    """See `SIGNATURE`."""
    model = carray(pointer(context), (1,), _CONTEXT)[0]
    dynamics = carray(pointer(model.dynamics), (model.num_dynamics,), LAYER)
    heads = carray(pointer(model.heads), (model.num_heads,), LAYER)
    answers, actions = words(answer, 6), words(action, count)
    width, num_players, num_actions, widest = model.width, model.num_players, model.num_actions, model.widest
    embedding_width = width + num_players - 1
    table = floats(model.table, num_actions * model.table_width)
    rewards, values = floats(answers[REWARD], count * num_players), floats(answers[VALUE], count * num_players)
    logits, discounts = floats(answers[LOGITS], count * num_actions), floats(answers[DISCOUNT], count)
    seats = words(answers[TO_PLAY], count)
    size = ROWS * widest * 4
    token, condition, between, out = scratch, scratch + size, scratch + 2 * size, scratch + 4 * size
    for first in range(0, count, ROWS):
        num_rows = min(ROWS, count - first)
        for i in range(num_rows):
            source = floats(embedding + (first + i) * embedding_width * 4, width)
            x = floats(token + i * widest * 4, width)
            for j in range(width):
                x[j] = source[j]
            added, start = floats(condition + i * widest * 4, model.table_width), actions[first + i] * model.table_width
            for j in range(model.table_width):
                added[j] = table[start + j]
        run_chain_(dynamics, num_rows, token, widest, condition, widest, between, widest, out, widest)
        for i in range(num_rows):
            made = floats(out + i * widest * 4, width)
            target = floats(answers[EMBEDDING] + (first + i) * embedding_width * 4, embedding_width)
            for j in range(width):
                target[j] = made[j]
        # The chain of the heads may overwrite `out` as its token; it has been copied.
        run_chain_(heads, num_rows, out, widest, 0, 0, between, widest, token, widest)
        for i in range(num_rows):
            k = first + i
            y = floats(token + i * widest * 4, num_actions + 2)
            for a in range(num_actions):
                logits[k * num_actions + a] = y[a]
            discounts[k] = model.discount
            if num_players == 1:
                seats[k], values[k], rewards[k] = 0, y[num_actions], y[num_actions + 1]
            else:
                mover = 1 if floats(embedding + k * embedding_width * 4, embedding_width)[width] > 0.5 else 0
                floats(answers[EMBEDDING] + k * embedding_width * 4, embedding_width)[width] = 1 - mover
                seats[k] = 1 - mover
                values[2 * k + 1 - mover], values[2 * k + mover] = y[num_actions], -y[num_actions]
                rewards[2 * k + mover], rewards[2 * k + 1 - mover] = y[num_actions + 1], -y[num_actions + 1]
