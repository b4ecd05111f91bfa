"""A row times a matrix that stands transposed in memory, without a copy of it: ``c = a @ B`` where B is turned.

Squares of B, one vector by one vector, are turned in registers, and each of their rows is a link of the chains that
`microkernel` grows, in its order: the bits are the same. A copy, as products of more rows make it, is written and read
again, which takes as long as all the rest where each element of B is met once.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from .._numba import cgutils
from ..compile.outlined import outlined
from .isa import isa
from .lanes import I64, Lanes, count_loop, make_intrinsic
from .packing import rows_from, transpose_squares

# Vectors of chains that grow by turns. A link waits four cycles for the one before, so that two vectors take as long as
# one. More would be read from more rows than the first-level cache has lines for where rows are a power of two apart.
ABREAST = 2


def _grow_codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    a, matrix, ld, depth, cols, c, goes_on = args
    lanes = Lanes(b, signature.args[0].dtype)
    width = lanes.width
    whole = b.mul(b.sdiv(depth, I64(width)), I64(width))
    rest, last = b.sub(depth, whole), b.sub(depth, I64(1))
    # The chains, and where their rows of B begin: in memory, so that the code of one vector is that of all.
    sums = cgutils.alloca_once(b, lanes.scalar, ABREAST * width)
    sums.align = isa().vector_bytes
    starts = cgutils.alloca_once(b, matrix.type, ABREAST * width)

    def add_links(v: ir.Value, k: ir.Value, count: ir.Value | None) -> None:
        """Add a vector's worth of links from k on, or only so many, to the chains of the vector at v."""
        mask = None if count is None else lanes.first_lanes(count)
        rows = [b.load(b.gep(starts, [b.add(v, I64(i))])) for i in range(width)]
        square = transpose_squares(lanes, [lanes.load(b.gep(row, [k]), mask) for row in rows])
        place = b.gep(sums, [v])
        chains = lanes.load(place)
        for i, links in enumerate(square):
            there = b.add(k, I64(i))
            if count is None:
                chains = lanes.fma(lanes.splat(b.load(b.gep(a, [there]))), links, chains)
                continue
            there = b.select(b.icmp_signed("<", there, last), there, last)
            longer = lanes.fma(lanes.splat(b.load(b.gep(a, [there]))), links, chains)
            chains = lanes.select(b.icmp_signed("<", I64(i), count), longer, chains)
        lanes.store(chains, place)

    with count_loop(b, I64(0), cols, ABREAST * width) as j:
        left = b.sub(cols, j)
        stop = b.select(b.icmp_signed("<", left, I64(ABREAST * width)), left, I64(ABREAST * width))
        with count_loop(b, I64(0), stop, width) as v:
            for i, start in enumerate(rows_from(lanes, matrix, ld, b.add(j, v), cols)):
                b.store(start, b.gep(starts, [b.add(v, I64(i))]))
            begun = b.select(b.icmp_signed("!=", goes_on, I64(0)), b.sub(left, v), I64(0))
            lanes.store(lanes.load(b.gep(c, [b.add(j, v)]), lanes.first_lanes(begun)), b.gep(sums, [v]))
        with count_loop(b, I64(0), whole, width) as k, count_loop(b, I64(0), stop, width) as v:
            add_links(v, k, None)
        with b.if_then(b.icmp_signed(">", rest, I64(0))), count_loop(b, I64(0), stop, width) as v:
            add_links(v, whole, rest)
        with count_loop(b, I64(0), stop, width) as v:
            mask = lanes.first_lanes(b.sub(left, v))
            lanes.store(lanes.load(b.gep(sums, [v])), b.gep(c, [b.add(j, v)]), mask)
    return context.get_dummy_value()


def _signature(p: Any, *rest: Any) -> Any:
    i = types.int64
    return types.void(p, p, i, i, i, p, i)


_PARAMETERS = ["a", "matrix", "ld", "depth", "cols", "c", "goes_on"]
_grow = make_intrinsic("grow_turned_row", _PARAMETERS, _signature, _grow_codegen)


def _types(dtype: types.Float) -> Any:
    return _signature(types.CPointer(dtype))


@outlined(_types)
def grow_turned_row(a, matrix, ld, depth, cols, c, goes_on):
    """Grow the chains ``c[j] = sum over k of a[k] * matrix[j * ld + k]``, from zero or, if it `goes_on`, from c."""
    _grow(a, matrix, ld, depth, cols, c, goes_on)
