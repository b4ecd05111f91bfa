"""Sums over rows: the bias gradient, and partial sums put together. One chain of additions an element, in row order."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from .simd import I64, Lanes, Variable, count_loop, make_intrinsic, vector_loop


def _codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    x, ld, rows, cols, sums = args
    lanes = Lanes(b, signature.args[0].dtype)

    def column(j: ir.Value, mask: ir.Value | None) -> None:
        total = Variable(lanes, lanes.constant(0.0))
        with count_loop(b, I64(0), rows, 1) as i:
            row = b.gep(x, [b.add(b.mul(i, ld), j)])
            total.set(total.get() + lanes.load(row, mask))
        lanes.store(total.get(), b.gep(sums, [j]), mask)

    vector_loop(lanes, cols, column)
    return context.get_dummy_value()


# column_sums(x, ld, rows, cols, sums): sums[j] = sum over i < rows of x[i * ld + j]
column_sums = make_intrinsic(
    "column_sums",
    ["x", "ld", "rows", "cols", "sums"],
    lambda p, *rest: types.void(p, types.int64, types.int64, types.int64, p),
    _codegen,
)
