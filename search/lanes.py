"""Passes over all actions of a node, in LLVM's vector types: the best unvisited action, and log sum exp.

Numba's own vectoriser leaves such loops scalar (a maximum with its place, a sum in order), at 1 to 3 ns an action.
Action a always falls into lane a % LANES, and masked actions add nothing: the result does not depend on how many
masked actions a row is padded with.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from search.compile import intrinsic

LANES = 16
MASKED = -(2.0**127)  # as search.plan's; what is at most this is not allowed

_F, _I = ir.FloatType(), ir.IntType(32)
_FV, _IV, _BV = ir.VectorType(_F, LANES), ir.VectorType(_I, LANES), ir.VectorType(ir.IntType(1), LANES)
_I64 = ir.IntType(64)


def _all(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * LANES)


class _Code:
    """Shorthand for what the two passes share."""

    def __init__(self, builder: Any, count: Any):
        self.builder, self.count = builder, count
        self.lane = ir.Constant(_IV, list(range(LANES)))

    def call(self, name: str, kind: Any, *arguments: Any) -> Any:
        """An LLVM intrinsic."""
        signature = ir.FunctionType(kind, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, name), arguments)

    def splat(self, scalar: Any, kind: ir.VectorType) -> Any:
        undefined = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(undefined, scalar, ir.Constant(_I, 0))
        return self.builder.shuffle_vector(one, undefined, _all(_IV, 0))

    def load(self, address: Any, block: Any, inside: Any, kind: ir.VectorType, otherwise: float) -> Any:
        """Lanes [block, block + LANES) of the array at `address`, `otherwise` where not inside."""
        place = self.builder.add(address, self.builder.mul(block, ir.Constant(_I64, 4)))
        source = self.builder.inttoptr(place, kind.as_pointer())
        letter = "f32" if kind is _FV else "i32"
        name = f"llvm.masked.load.v{LANES}{letter}.p0"
        # Newer LLVM takes the alignment as an attribute of the pointer, older as an argument; 4 is right for both.
        return self.call(name, kind, source, ir.Constant(_I, 4), inside, _all(kind, otherwise))

    def loop(self, initial: list[Any], body: Any) -> list[Any]:
        """Runs `body(block, inside, state) -> state` over all blocks of LANES actions."""
        builder = self.builder
        before = builder.block
        head, after = builder.append_basic_block("lanes"), builder.append_basic_block("after")
        builder.branch(head)
        builder.position_at_end(head)
        block = builder.phi(_I64)
        block.add_incoming(ir.Constant(_I64, 0), before)
        state = [builder.phi(value.type) for value in initial]
        for phi, value in zip(state, initial, strict=True):
            phi.add_incoming(value, before)
        left = builder.trunc(builder.sub(self.count, block), _I)
        inside = builder.icmp_signed("<", self.lane, self.splat(left, _IV))
        updated = body(block, inside, state)
        following = builder.add(block, ir.Constant(_I64, LANES))
        last = builder.block
        for phi, value in zip(state, updated, strict=True):
            phi.add_incoming(value, last)
        block.add_incoming(following, last)
        builder.cbranch(builder.icmp_signed("<", following, self.count), head, after)
        builder.position_at_end(after)
        return updated

    def fold(self, vector: Any, combine: Any) -> Any:
        """Lane 0 after combining lanes l and l + 8, l + 4, l + 2, l + 1."""
        step = LANES // 2
        while step:
            places = [(lane + step) % LANES for lane in range(LANES)]
            moved = self.builder.shuffle_vector(vector, vector, ir.Constant(_IV, places))
            vector = combine(vector, moved)
            step //= 2
        return self.builder.extract_element(vector, ir.Constant(_I, 0))

    def larger(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def smaller_integer(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def exp(self, x: Any) -> Any:
        """e^x for x <= 0: the polynomial of `fastmath.exp`."""
        builder = self.builder

        def multiply_add(a: Any, b: Any, c: float) -> Any:
            return self.call(f"llvm.fmuladd.v{LANES}f32", _FV, a, b, _all(_FV, c))

        x = self.larger(x, _all(_FV, -87.0))
        n = self.call(f"llvm.floor.v{LANES}f32", _FV, multiply_add(x, _all(_FV, 1.44269502162933349609375), 0.5))
        r = builder.fsub(x, builder.fmul(n, _all(_FV, 0.693359375)))
        r = builder.fsub(r, builder.fmul(n, _all(_FV, -2.1219444170128554106e-4)))
        p = _all(_FV, 1.9875691214110702276e-4)
        for constant in (
            1.3981999363750219345e-3,
            8.333452045917510986e-3,
            4.1665796190500259399e-2,
            1.6666665673255920410e-1,
            5.0000000000000000000e-1,
        ):
            p = multiply_add(p, r, constant)
        p = builder.fadd(builder.fmul(builder.fmul(p, r), r), builder.fadd(r, _all(_FV, 1.0)))
        bits = builder.shl(builder.add(builder.fptosi(n, _IV), _all(_IV, 127)), _all(_IV, 23))
        return builder.fmul(p, builder.bitcast(bits, _FV))


def _best(with_noise: bool) -> Any:
    @intrinsic
    def best(_context, logits, noise, child, count):
        def codegen(_context, builder, _signature, arguments):
            logits, noise, child, count = arguments
            code = _Code(builder, count)

            def body(block, inside, state):
                highest, place = state
                logit = code.load(logits, block, inside, _FV, MASKED)
                free = builder.icmp_signed("<", code.load(child, block, inside, _IV, 0), _all(_IV, 0))
                free = builder.and_(free, builder.fcmp_ordered(">", logit, _all(_FV, MASKED)))
                score = logit
                if with_noise:
                    score = builder.fadd(logit, code.load(noise, block, inside, _FV, 0.0))
                better = builder.and_(free, builder.fcmp_ordered(">", score, highest))
                here = builder.add(code.splat(builder.trunc(block, _I), _IV), code.lane)
                return [builder.select(better, score, highest), builder.select(better, here, place)]

            infinite, nowhere = _all(_FV, float("-inf")), _all(_IV, 2**31 - 1)
            highest, place = code.loop([infinite, nowhere], body)
            top = code.splat(code.fold(highest, code.larger), _FV)
            equal = builder.fcmp_ordered("==", highest, top)
            first = code.fold(builder.select(equal, place, nowhere), code.smaller_integer)
            found = builder.icmp_signed("<", first, ir.Constant(_I, 2**31 - 1))
            return builder.sext(builder.select(found, first, ir.Constant(_I, -1)), _I64)

        return types.int64(*[types.int64] * 4), codegen

    return best


best_by_logit = _best(False)
"""(logits, noise, child, count) -> the action with the highest logit among those allowed and without a child, the
lowest of equal ones; -1: none. logits, noise [count] float32, child [count] int32: addresses."""
best_by_noise = _best(True)
"""The same by noise + logit."""


@intrinsic
def log_sum_exp_parts(_context, logits, count):
    """(highest, sum of exp(logit - highest)) over the allowed of logits [count] float32 at an address."""

    def codegen(context, builder, signature, arguments):
        logits, count = arguments
        code = _Code(builder, count)
        (highest,) = code.loop(
            [_all(_FV, MASKED)],
            lambda block, inside, state: [code.larger(state[0], code.load(logits, block, inside, _FV, MASKED))],
        )
        top = code.fold(highest, code.larger)
        tops = code.splat(top, _FV)

        def add(block, inside, state):
            logit = code.load(logits, block, inside, _FV, MASKED)
            allowed = builder.fcmp_ordered(">", logit, _all(_FV, MASKED))
            weight = builder.select(allowed, code.exp(builder.fsub(logit, tops)), _all(_FV, 0.0))
            return [builder.fadd(state[0], weight)]

        (sums,) = code.loop([_all(_FV, 0.0)], add)
        total = code.fold(sums, builder.fadd)
        return context.make_tuple(builder, signature.return_type, [top, total])

    return types.UniTuple(types.float32, 2)(types.int64, types.int64), codegen
