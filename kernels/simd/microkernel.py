"""The FMA micro-kernel: a tile of ``C = A @ B`` held in registers.

Every element of every product in this library is one chain of fused multiply-adds over k in rising order, from
zero: ``c = fma(a[i, k], b[k, j], c)``. A tile may stop, store C and go on later; storing rounds nothing, so the bits
do not depend on the shape of the tile, on blocking, on packing or on who computes it. That one rule is why results
do not depend on threads, and why the row of a prediction does not depend on its batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from .._numba import cgutils
from ..compile.records import unpacked
from .isa import isa
from .lanes import I64, Lanes, Variable, Vec, count_loop, make_intrinsic, opaque

# Mode, a sum of flags. The chains begin at zero, or at what C holds (ACCUMULATE). Where they end, a bias is added
# (BIAS), relu is applied (RECTIFY), or a gradient passes where relu's output, in `below`, is not zero (GATE), or is
# multiplied by a slope that stands there (SCALE). C, and what is laid out as C, may have ROOM up to whole vectors: then
# no store needs a mask. So may B (B_ROOM). What stands in `below` may be this task's, to be written soon after (TAKE):
# its lines are taken from other cores meanwhile.
START, ACCUMULATE, BIAS, RECTIFY, GATE, ROOM, B_ROOM, TAKE, SCALE = 0, 1, 2, 4, 8, 16, 32, 64, 128

TILE_ROWS, TILE_VECTORS = isa().tile
# A lower tile ends a block of rows; of two vectors or more it still has the eight accumulators that keep two FMA units
# of four cycles busy.
LOW_ROWS = 4
# A single row is a tile of many vectors instead.
ROW_VECTORS = 8
# Rows of B are fetched so many turns ahead. A single row meets each of them once, and would wait for it. Tiles find
# them in the second-level cache, which is slow to answer while another process uses it too.
ROWS_AHEAD = 16
# Chains of so many links outlast a line's way from the memory.
LONG = 32


def _tile_shapes() -> list[tuple[int, int]]:
    """Return the (rows, vectors) of the tiles that there are."""
    shapes = [(rows, vectors) for rows in (TILE_ROWS, LOW_ROWS) for vectors in range(1, TILE_VECTORS + 1)]
    return shapes + [(1, vectors) for vectors in range(1, ROW_VECTORS + 1)]


class _Operands(NamedTuple):
    """A tile's operands as values: see `tile`."""

    rows: ir.Value
    depth: ir.Value
    cols: ir.Value
    a: ir.Value
    row_stride: ir.Value
    k_stride: ir.Value
    b: ir.Value
    ldb: ir.Value
    exposed: ir.Value
    c: ir.Value
    ldc: ir.Value
    bias: ir.Value
    below: ir.Value
    mode: ir.Value


def _emit_tile(lanes: Lanes, height: int, vectors: int, operands: _Operands) -> None:
    """Write the code of one tile of `height` by `vectors` registers."""
    rows, depth, cols, a, row_stride, k_stride, b, ldb, exposed, c, ldc, bias, below, mode = operands
    builder, width = lanes.builder, lanes.width
    edge = lanes.first_lanes(builder.sub(cols, I64((vectors - 1) * width)))
    last = builder.sub(rows, I64(1))

    def asked(flag: int) -> ir.Value:
        return builder.icmp_signed("!=", builder.and_(mode, I64(flag)), I64(0))

    whole = builder.or_(builder.icmp_signed("==", cols, I64(vectors * width)), asked(ROOM))

    def row(i: int) -> ir.Value:
        """Row i; the rows past the last are copies of it, computed and stored once more."""
        return builder.select(builder.icmp_signed("<", I64(i), last), I64(i), last)

    def column(pointer: ir.Value, j: int, masked: bool) -> Vec:
        return lanes.load(builder.gep(pointer, [I64(j * width)]), edge if masked and j == vectors - 1 else None)

    def each(change: Callable[[int, int, Vec], Vec]) -> None:
        for i in range(height):
            for j in range(vectors):
                tile[i][j].set(change(i, j, tile[i][j].get()))

    c_rows = [builder.mul(ldc, row(i)) for i in range(height)]
    zero = lanes.constant(0.0)
    tile = [[Variable(lanes, zero) for _ in range(vectors)] for _ in range(height)]
    with cgutils.if_unlikely(builder, asked(ACCUMULATE)):
        each(lambda i, j, _: column(builder.gep(c, [c_rows[i]]), j, masked=True))

    # While long chains grow, there comes what the next tile, the one below, will write to or go on from.
    if height > 1:
        with builder.if_then(builder.icmp_signed(">=", depth, I64(LONG))):
            for i in range(height, 2 * height):
                for j in range(vectors):
                    lanes.prefetch(builder.gep(c, [builder.add(builder.mul(ldc, I64(i)), I64(j * width))]))
    if height == TILE_ROWS:  # the lower ones are few
        with builder.if_then(asked(TAKE)):
            for i in range(height):
                for j in range(vectors):
                    lanes.take(builder.gep(below, [builder.add(c_rows[i], I64(j * width))]))

    # One pointer walks along A, and the rows stand at fixed distances from it: addresses that cost no instruction.
    distances = [opaque(builder, builder.mul(row_stride, row(i))) for i in range(height)]
    a_now, b_now = cgutils.alloca_once_value(builder, a), cgutils.alloca_once_value(builder, b)

    def links(count: ir.Value, masked: bool) -> None:
        """Add so many links to each chain."""
        with count_loop(builder, I64(0), count, 1):
            a_k, b_k = opaque(builder, builder.load(a_now)), builder.load(b_now)
            if not masked:
                ahead = builder.gep(b_k, [builder.mul(ldb, I64(ROWS_AHEAD))])
                for line in range(0, vectors * isa().vector_bytes, 64):
                    lanes.prefetch(builder.gep(ahead, [I64(line // (lanes.bits // 8))]))
            b_vectors = [column(b_k, j, masked) for j in range(vectors)]
            for i in range(height):
                element = lanes.splat(builder.load(builder.gep(a_k, [distances[i]])))
                for j in range(vectors):
                    tile[i][j].set(lanes.fma(element, b_vectors[j], tile[i][j].get()))
            builder.store(builder.gep(a_k, [k_stride]), a_now)
            builder.store(builder.gep(b_k, [ldb]), b_now)

    # A row of B may be read up to whole vectors while others follow it: what stands there is no lane of C. A mask
    # costs something on every CPU, so the last rows alone are read under one.
    links(builder.sub(depth, exposed), masked=False)
    links(exposed, masked=True)

    with builder.if_then(asked(BIAS)):
        addends = [column(bias, j, masked=False) for j in range(vectors)]
        each(lambda i, j, z: z + addends[j])
    with builder.if_then(asked(RECTIFY)):
        each(lambda i, j, z: lanes.maximum(z, 0.0))

    def finish(masked: bool) -> None:
        def from_below(i: int, j: int) -> Vec:
            return column(builder.gep(below, [c_rows[i]]), j, masked)

        with builder.if_then(asked(GATE)):
            # A NaN lets the gradient through.
            each(lambda i, j, d: lanes.select(from_below(i, j) <= 0.0, 0.0, d))
        with builder.if_then(asked(SCALE)):
            each(lambda i, j, d: d * from_below(i, j))
        for i in range(height):
            for j in range(vectors):
                mask = edge if masked and j == vectors - 1 else None
                lanes.store(tile[i][j].get(), builder.gep(c, [builder.add(c_rows[i], I64(j * width))]), mask)

    with builder.if_else(whole) as (then, otherwise):
        with then:
            finish(masked=False)
        with otherwise:
            finish(masked=True)


def _codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    height, a, b, exposed, c, bias, below, mode = args
    lanes = Lanes(builder, signature.args[1].dtype)
    a, b, c = (unpacked(builder, value, signature.args[place]) for value, place in ((a, 1), (b, 2), (c, 4)))
    turned, one = builder.icmp_signed("!=", a.turned, I64(0)), I64(1)
    row_stride, k_stride = builder.select(turned, one, a.ld), builder.select(turned, a.ld, one)
    operands = _Operands(
        a.rows, a.cols, c.cols, a.data, row_stride, k_stride, b.data, b.ld, exposed, c.data, c.ld, bias, below, mode
    )
    vectors = builder.sdiv(builder.add(c.cols, I64(lanes.width - 1)), I64(lanes.width))
    end = builder.append_basic_block("tile.end")
    switch = builder.switch(builder.add(builder.mul(height, I64(16)), vectors), end)
    for h, v in _tile_shapes():
        block = builder.append_basic_block(f"tile.{h}x{v}")
        switch.add_case(I64(16 * h + v), block)
        builder.position_at_end(block)
        _emit_tile(lanes, h, v, operands)
        builder.branch(end)
    builder.position_at_end(end)
    return context.get_dummy_value()


def _signature(height: Any, a: Any, b: Any, exposed: Any, c: Any, bias: Any, *rest: Any) -> Any:
    i = types.int64
    return types.void(i, a, b, i, c, bias, bias, i)


# tile(height, a, b, exposed, c, bias, below, mode): C = A @ B for matrices of `linalg.matrix`, A's rows by A's columns
# by C's columns. `height` is TILE_ROWS or LOW_ROWS, and A has at most as many rows; or both are 1. C has at most
# TILE_VECTORS vectors of columns, ROW_VECTORS for a single row. B and C are not turned. B must be readable up to whole
# vectors but for its last `exposed` rows, whose last vector is loaded under a mask. So is C's, and it is stored so
# without ROOM.
tile = make_intrinsic("tile", ["height", "a", "b", "exposed", "c", "bias", "below", "mode"], _signature, _codegen)
