"""Small dense layers inside numba kernels: `y = max(start + x W^T, floor)`, tiles held in vector registers.

A tile is `TILE_ROWS` rows by `PANEL` columns; the weights lie in panels `[columns / PANEL, inputs, PANEL]`, made once
by `pack`. Every output is one chain of multiply-adds over the inputs in their order, whatever rows are computed beside
it: a row's bits do not depend on the batch. The inner loop is written in LLVM's vector types, since numba's own
vectoriser does not keep a tile in registers.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from search.compile import compiled, intrinsic

_FEATURES = llvmlite.binding.get_host_cpu_features()
LANES = 16 if _FEATURES.get("avx512f") else 8  # float32 numbers in one vector
PANEL = 2 * LANES
TILE_ROWS = 8 if LANES == 16 else 4  # 16 or 8 accumulators; 32 or 16 registers are there


def padded(width: int) -> int:
    """`width` rounded up to whole panels: the stride that a layer's output needs."""
    return -(-width // PANEL) * PANEL


def pack(weight: np.ndarray) -> np.ndarray:
    """Weights [outputs, inputs] float32 -> panels [padded(outputs) / PANEL, inputs, PANEL], zeros behind the last."""
    outputs, inputs = weight.shape
    panels = np.zeros((padded(outputs), inputs), np.float32)
    panels[:outputs] = weight
    return np.ascontiguousarray(panels.reshape(-1, PANEL, inputs).transpose(0, 2, 1))


def _tile(num_rows: int, num_panels: int = 1) -> Any:
    """The intrinsic for `num_rows` rows by `num_panels` panels: enough sums to hide the latency of one."""

    @intrinsic
    def tile(_context, x, x_stride, start, start_stride, panel, inputs, out, out_stride, floor):
        """Addresses and strides in bytes; start_stride 0: the same start (a bias) for every row."""

        def codegen(_context, builder, _signature, arguments):
            x, x_stride, start, start_stride, panel, inputs, out, out_stride, floor = arguments
            i64, number = ir.IntType(64), ir.FloatType()
            vector = ir.VectorType(number, LANES)
            kind = ir.FunctionType(vector, [vector] * 3)
            fmuladd = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
            width = LANES * 4

            def at(base, offset, kind):
                return builder.inttoptr(builder.add(base, offset), kind.as_pointer())

            def constant(value):
                return ir.Constant(i64, value)

            def splat(scalar):
                one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
                mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)

            def row_base(base, stride, i):
                return builder.add(base, builder.mul(stride, constant(i)))

            parts = 2 * num_panels  # vectors of one row
            initial = [
                builder.load(at(row_base(start, start_stride, i), constant(width * part), vector), align=4)
                for i in range(num_rows)
                for part in range(parts)
            ]
            x_rows = [row_base(x, x_stride, i) for i in range(num_rows)]
            before = builder.block
            loop, after = builder.append_basic_block("inputs"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(i64)
            k.add_incoming(constant(0), before)
            sums = [builder.phi(vector) for _ in initial]
            for phi, value in zip(sums, initial, strict=True):
                phi.add_incoming(value, before)
            panel_bytes = builder.mul(inputs, constant(2 * width))
            weights_at = builder.add(panel, builder.mul(k, constant(2 * width)))
            weights = []
            for _ in range(num_panels):
                weights += [builder.load(at(weights_at, constant(width * half), vector), align=4) for half in range(2)]
                weights_at = builder.add(weights_at, panel_bytes)
            offset = builder.mul(k, constant(4))
            updated = []
            for i in range(num_rows):
                value = splat(builder.load(at(x_rows[i], offset, number), align=4))
                updated += [builder.call(fmuladd, [value, weights[v], sums[parts * i + v]]) for v in range(parts)]
            following = builder.add(k, constant(1))
            for phi, value in zip(sums, updated, strict=True):
                phi.add_incoming(value, loop)
            k.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", following, inputs), loop, after)
            builder.position_at_end(after)
            lowest = splat(floor)
            for i in range(num_rows):
                for part in range(parts):
                    result = updated[parts * i + part]
                    below = builder.fcmp_ordered("<", result, lowest)  # not so for NaN, which goes through
                    result = builder.select(below, lowest, result)
                    target = at(row_base(out, out_stride, i), constant(width * part), vector)
                    builder.store(result, target, align=4)
            return _context.get_dummy_value()

        i64 = types.int64
        return types.void(i64, i64, i64, i64, i64, i64, i64, i64, types.float32), codegen

    return tile


_tile_full, _tile_1 = _tile(TILE_ROWS), _tile(1)
_tile_4, _tile_2, _tile_1_wide = _tile(4), _tile(2), _tile(1, 4)
_PANEL, _TILE_ROWS = PANEL, TILE_ROWS
_BLOCK = 128  # inputs: a block of a panel is 16 KiB where a vector has 16 lanes
NO_FLOOR = np.float32(-np.inf)


@compiled
def dense_(x, x_width, num_rows, inputs, panels, num_panels, start, start_width, out, out_width, floor):
    """out[i, j] = max(start[i, j] + sum_k x[i, k] w[j, k], floor) for num_rows rows and all panels.

    All arguments are addresses, widths of a row in numbers, or counts; start_width 0: one bias for all rows.
    out may be start, not x. out and start are read and written up to whole panels.
    """
    x_stride, start_stride, out_stride = x_width * 4, start_width * 4, out_width * 4
    done = 0
    if num_rows == 1:
        while done + 4 <= num_panels:
            s, o = start + done * _PANEL * 4, out + done * _PANEL * 4
            _tile_1_wide(
                x, x_stride, s, start_stride, panels + done * inputs * _PANEL * 4, inputs, o, out_stride, floor
            )
            done += 4
    # In blocks of inputs, so that a block of a panel stays in the first cache while all rows pass over it. The sums go
    # through `out` between two blocks, in the same order.
    block = inputs if num_rows <= _TILE_ROWS else _BLOCK
    for j in range(done, num_panels):
        s, s_stride, o = start + j * _PANEL * 4, start_stride, out + j * _PANEL * 4
        for first in range(0, inputs, block):
            panel, part = panels + (j * inputs + first) * _PANEL * 4, x + first * 4
            count = min(block, inputs - first)
            lowest = floor if first + count == inputs else NO_FLOOR
            i = 0
            while i + _TILE_ROWS <= num_rows:
                _tile_full(part + i * x_stride, x_stride, s + i * s_stride, s_stride, panel, count,
                           o + i * out_stride, out_stride, lowest)  # fmt: skip
                i += _TILE_ROWS
            if i + 4 <= num_rows:
                _tile_4(part + i * x_stride, x_stride, s + i * s_stride, s_stride, panel, count,
                        o + i * out_stride, out_stride, lowest)  # fmt: skip
                i += 4
            if i + 2 <= num_rows:
                _tile_2(part + i * x_stride, x_stride, s + i * s_stride, s_stride, panel, count,
                        o + i * out_stride, out_stride, lowest)  # fmt: skip
                i += 2
            if i < num_rows:
                _tile_1(part + i * x_stride, x_stride, s + i * s_stride, s_stride, panel, count,
                        o + i * out_stride, out_stride, lowest)  # fmt: skip
            s, s_stride = o, out_stride
