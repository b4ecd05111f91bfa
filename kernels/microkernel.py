"""The FMA micro-kernel: a tile of ``C = A @ B`` held in registers.

Every element of every product in this library is one chain of fused multiply-adds over k in rising order, from
zero: ``c = fma(a[i, k], b[k, j], c)``. A tile may stop, store C and go on later; storing rounds nothing, so the bits
do not depend on the shape of the tile, on blocking, on packing or on who computes it. That one rule is why results
do not depend on threads, and why the row of a prediction does not depend on its batch.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .isa import isa
from .simd import I64, Lanes, Variable, Vec, count_loop, make_intrinsic

# Mode: where the chains begin (at zero, or at what C holds), and whether a bias is added where they end.
START, ACCUMULATE, BIAS = 0, 1, 2

TILE_ROWS, TILE_VECTORS = isa().tile
# A block of rows is cut into tiles of these heights, the largest first: no row is computed twice.
ROW_LADDER = (8, 4, 2, 1) if TILE_ROWS == 8 else (6, 4, 2, 1)


def _emit_tile(lanes: Lanes, rows: int, vectors: int, args: Sequence[ir.Value]) -> None:
    """Write the code of one tile of `rows` by `vectors` registers."""
    a, row_stride, k_stride, b, ldb, c, ldc, depth, cols, bias, mode = args
    builder, width = lanes.builder, lanes.width
    edge = lanes.first_lanes(builder.sub(cols, I64((vectors - 1) * width)))

    def column(pointer: ir.Value, j: int, masked: bool = True) -> Vec:
        mask = edge if masked and j == vectors - 1 else None
        return lanes.load(builder.gep(pointer, [I64(j * width)]), mask)

    def row_of_c(i: int) -> ir.Value:
        return builder.gep(c, [builder.mul(ldc, I64(i))])

    def asked(flag: int) -> ir.Value:
        return builder.icmp_signed("!=", builder.and_(mode, I64(flag)), I64(0))

    zero = lanes.constant(0.0)
    tile = [[Variable(lanes, zero) for _ in range(vectors)] for _ in range(rows)]
    with cgutils.if_unlikely(builder, asked(ACCUMULATE)):
        for i in range(rows):
            for j in range(vectors):
                tile[i][j].set(column(row_of_c(i), j))

    a_rows = [builder.gep(a, [builder.mul(row_stride, I64(i))]) for i in range(rows)]
    with count_loop(builder, I64(0), depth, 1) as k:
        b_row = builder.gep(b, [builder.mul(k, ldb)])
        b_vectors = [column(b_row, j, masked=isa().masks) for j in range(vectors)]
        a_offset = builder.mul(k, k_stride)
        for i in range(rows):
            element = lanes.splat(builder.load(builder.gep(a_rows[i], [a_offset])))
            for j in range(vectors):
                tile[i][j].set(lanes.fma(element, b_vectors[j], tile[i][j].get()))

    with cgutils.if_unlikely(builder, asked(BIAS)):
        for j in range(vectors):
            addend = column(bias, j)
            for i in range(rows):
                tile[i][j].set(tile[i][j].get() + addend)

    for i in range(rows):
        target = row_of_c(i)
        for j in range(vectors):
            mask = edge if j == vectors - 1 else None
            lanes.store(tile[i][j].get(), builder.gep(target, [I64(j * width)]), mask)


def _codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    rows, *tile_args = args
    lanes = Lanes(builder, signature.args[1].dtype)
    cols = tile_args[8]
    vectors = builder.sdiv(builder.add(cols, I64(lanes.width - 1)), I64(lanes.width))
    end = builder.append_basic_block("tile.end")
    switch = builder.switch(builder.add(builder.mul(rows, I64(8)), vectors), end)
    for r in ROW_LADDER:
        for v in range(1, TILE_VECTORS + 1):
            block = builder.append_basic_block(f"tile.{r}x{v}")
            switch.add_case(I64(8 * r + v), block)
            builder.position_at_end(block)
            _emit_tile(lanes, r, v, tile_args)
            builder.branch(end)
    builder.position_at_end(end)
    return context.get_dummy_value()


def _signature(rows: Any, p: Any, *rest: Any) -> Any:
    i = types.int64
    return types.void(i, p, i, i, p, i, p, i, i, i, p, i)


# tile(rows, a, row_stride, k_stride, b, ldb, c, ldc, depth, cols, bias, mode): `rows` is one of ROW_LADDER, `cols` at
# most TILE_VECTORS vectors. A's element (i, k) stands at a[i * row_stride + k * k_stride], B's at b[k * ldb + j], C's
# at c[i * ldc + j]. The last vector of a row is loaded and stored under a mask; where the hardware has no masks, B
# must be readable up to whole vectors.
tile = make_intrinsic(
    "tile",
    ["rows", "a", "row_stride", "k_stride", "b", "ldb", "c", "ldc", "depth", "cols", "bias", "mode"],
    _signature,
    _codegen,
)
