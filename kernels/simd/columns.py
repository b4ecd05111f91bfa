"""Sums over rows: the bias gradient, and partial sums put together. Each element is added up in a fixed order."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from .isa import isa
from .lanes import I64, Lanes, Variable, count_loop, make_intrinsic, vector_loop

# Rows are added up in so many chains, row i to chain i % CHAINS, because one addition waits for the one before; then
# the chains in pairs. That number is part of what a sum is: its bits depend on it.
CHAINS = 4
# Columns of vectors side by side: the sums take half of the registers.
ABREAST = isa().registers // 2 // CHAINS


def _codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    x, ld, rows, cols, sums, more = args
    lanes = Lanes(b, signature.args[0].dtype)
    whole = b.mul(b.sdiv(rows, I64(CHAINS)), I64(CHAINS))
    rest = b.sub(rows, whole)

    def columns(j: ir.Value, count: int, mask: ir.Value | None) -> None:
        starts = [b.add(j, I64(c * lanes.width)) for c in range(count)]
        totals = [[Variable(lanes, lanes.constant(0.0)) for _ in range(CHAINS)] for _ in range(count)]

        def add(i: ir.Value, chain: int) -> None:
            row = b.gep(x, [b.mul(i, ld)])
            for start, chains in zip(starts, totals, strict=True):
                chains[chain].set(chains[chain].get() + lanes.load(b.gep(row, [start]), mask))

        with count_loop(b, I64(0), whole, CHAINS) as i:
            for chain in range(CHAINS):
                add(b.add(i, I64(chain)), chain)
        for chain in range(CHAINS - 1):
            with b.if_then(b.icmp_signed("<", I64(chain), rest)):
                add(b.add(whole, I64(chain)), chain)
        for start, chains in zip(starts, totals, strict=True):
            parts = [chain.get() for chain in chains]
            while len(parts) > 1:
                parts = [first + second for first, second in zip(parts[::2], parts[1::2], strict=True)]
            place = b.gep(sums, [start])
            before = b.select(
                b.icmp_signed("!=", more, I64(0)), lanes.load(place, mask).value, lanes.constant(0.0).value
            )
            lanes.store(lanes.wrap(before) + parts[0], place, mask)

    abreast = I64(ABREAST * lanes.width)
    blocks = b.mul(b.sdiv(cols, abreast), abreast)
    with count_loop(b, I64(0), blocks, ABREAST * lanes.width) as j:
        columns(j, ABREAST, None)
    vector_loop(lanes, b.sub(cols, blocks), lambda j, mask: columns(b.add(blocks, j), 1, mask))
    return context.get_dummy_value()


# column_sums(x, ld, rows, cols, sums, more): sums[j] = sum over i < rows of x[i * ld + j]; with `more` it is added to
# what stands there.
column_sums = make_intrinsic(
    "column_sums",
    ["x", "ld", "rows", "cols", "sums", "more"],
    lambda p, *rest: types.void(p, types.int64, types.int64, types.int64, p, types.int64),
    _codegen,
)
