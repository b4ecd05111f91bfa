"""Sums over rows: gradients of biases and of weights that each feature has one of, and partial sums put together.

Each element is added up in a fixed order.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from .isa import isa
from .lanes import I64, Lanes, Variable, Vec, count_loop, make_intrinsic, vector_loop

# Rows are added up in so many chains, row i to chain i % CHAINS, because one addition waits for the one before; then
# the chains in pairs. That number is part of what a sum is: its bits depend on it.
CHAINS = 4
# Columns of vectors side by side: the sums take half of the registers.
ABREAST = isa().registers // 2 // CHAINS
# The same for sums of products, which have one chain each
OF_PRODUCTS = 4


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


def products_summed(formula: Callable[..., Vec], *, reads: int, numbers: int = 0) -> Any:
    """Make the intrinsic ``f(dz, ld, *(pointer, ld of each read), saved, rows, cols, sums, more)``.

    ``sums[j]`` is the sum of ``dz[i, j] * n[i, j]`` over the rows, one chain for each column, with
    ``n = formula(lanes, *inputs, *numbers)``; with `more` it goes on from what stands there. The numbers of row i are
    those from ``saved[i * numbers]`` on.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        (dz, ld), matrices, (saved, rows, cols, sums, more) = args[:2], args[2:-5], args[-5:]
        lanes = Lanes(b, signature.args[0].dtype)

        def columns(j: ir.Value, count: int, mask: ir.Value | None) -> None:
            places = [b.add(j, I64(c * lanes.width)) for c in range(count)]
            goes_on = b.icmp_signed("!=", more, I64(0))
            totals = []
            for place in places:
                before = lanes.load(b.gep(sums, [place]), mask)
                totals.append(Variable(lanes, lanes.select(goes_on, before, 0.0)))
            with count_loop(b, I64(0), rows, 1) as i:
                own = b.gep(saved, [b.mul(i, I64(numbers))])
                scalars = [lanes.splat(b.load(b.gep(own, [I64(k)]))) for k in range(numbers)]
                of_dz = b.gep(dz, [b.mul(i, ld)])
                starts = [b.gep(x, [b.mul(i, ld_x)]) for x, ld_x in zip(matrices[::2], matrices[1::2], strict=True)]
                for place, total in zip(places, totals, strict=True):
                    inputs = [lanes.load(b.gep(start, [place]), mask) for start in starts]
                    n = formula(lanes, *inputs, *scalars)
                    total.set(lanes.fma(lanes.load(b.gep(of_dz, [place]), mask), n, total.get()))
            for place, total in zip(places, totals, strict=True):
                lanes.store(total.get(), b.gep(sums, [place]), mask)

        done = b.mul(b.sdiv(cols, I64(OF_PRODUCTS * lanes.width)), I64(OF_PRODUCTS * lanes.width))
        with count_loop(b, I64(0), done, OF_PRODUCTS * lanes.width) as j:
            columns(j, OF_PRODUCTS, None)
        vector_loop(lanes, b.sub(cols, done), lambda j, mask: columns(b.add(done, j), 1, mask))
        return context.get_dummy_value()

    names = [name for i in range(reads) for name in (f"p{i}", f"ld{i}")]
    i64 = types.int64
    return make_intrinsic(
        formula.__name__,
        ["dz", "ld", *names, "saved", "rows", "cols", "sums", "more"],
        lambda p, *rest: types.void(p, i64, *[p, i64] * reads, p, i64, i64, p, i64),
        codegen,
    )
