"""Sums over rows: the bias gradient, and partial sums put together. One chain of additions an element, in row order."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from .simd import I64, Lanes, Variable, count_loop, make_intrinsic, vector_loop

# So many columns of vectors are summed side by side: one addition waits for the one before, its neighbours do not.
ABREAST = 8


def _codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    x, ld, rows, cols, sums = args
    lanes = Lanes(b, signature.args[0].dtype)

    def columns(j: ir.Value, count: int, mask: ir.Value | None) -> None:
        starts = [b.add(j, I64(c * lanes.width)) for c in range(count)]
        totals = [Variable(lanes, lanes.constant(0.0)) for _ in range(count)]
        with count_loop(b, I64(0), rows, 1) as i:
            row = b.gep(x, [b.mul(i, ld)])
            for start, total in zip(starts, totals, strict=True):
                total.set(total.get() + lanes.load(b.gep(row, [start]), mask))
        for start, total in zip(starts, totals, strict=True):
            lanes.store(total.get(), b.gep(sums, [start]), mask)

    abreast = I64(ABREAST * lanes.width)
    blocks = b.mul(b.sdiv(cols, abreast), abreast)
    with count_loop(b, I64(0), blocks, ABREAST * lanes.width) as j:
        columns(j, ABREAST, None)
    rest, counted = b.gep(x, [blocks]), b.gep(sums, [blocks])
    x, sums = rest, counted
    vector_loop(lanes, b.sub(cols, blocks), lambda j, mask: columns(j, 1, mask))
    return context.get_dummy_value()


# column_sums(x, ld, rows, cols, sums): sums[j] = sum over i < rows of x[i * ld + j]
column_sums = make_intrinsic(
    "column_sums",
    ["x", "ld", "rows", "cols", "sums"],
    lambda p, *rest: types.void(p, types.int64, types.int64, types.int64, p),
    _codegen,
)
