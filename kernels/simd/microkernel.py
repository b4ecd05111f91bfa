"""The FMA micro-kernel: a tile of ``C = A @ B`` held in registers.

Every element of every product in this library is one chain of fused multiply-adds over k in rising order, from
zero: ``c = fma(a[i, k], b[k, j], c)``. A tile may stop, store C and go on later; storing rounds nothing, so the bits
do not depend on the shape of the tile, on blocking, on packing or on who computes it. That one rule is why results
do not depend on threads, and why the row of a prediction does not depend on its batch.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from .._numba import cgutils
from ..compile.records import unpacked
from .isa import isa
from .lanes import I64, Lanes, Variable, Vec, count_loop, make_intrinsic, opaque
from .modes import ACCUMULATE, BIAS, GATE, RECTIFY, ROOM, SCALE, TAKE

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


class _Tile:
    """Writes the code of one tile of `height` by `vectors` registers, from its first loads to its stores."""

    def __init__(self, lanes: Lanes, height: int, vectors: int, operands: _Operands) -> None:
        self.lanes, self.builder, self.width = lanes, lanes.builder, lanes.width
        self.height, self.vectors, self.given = height, vectors, operands
        b = self.builder
        self.edge = lanes.first_lanes(b.sub(operands.cols, I64((vectors - 1) * self.width)))
        self.last = b.sub(operands.rows, I64(1))
        full = b.icmp_signed("==", operands.cols, I64(vectors * self.width))
        self.whole = b.or_(full, self.asked(ROOM))  # whether no store needs a mask
        self.c_rows = [b.mul(operands.ldc, self.row(i)) for i in range(height)]
        zero = lanes.constant(0.0)
        self.sums = [[Variable(lanes, zero) for _ in range(vectors)] for _ in range(height)]

    def asked(self, flag: int) -> ir.Value:
        """Whether the mode has a flag."""
        return self.builder.icmp_signed("!=", self.builder.and_(self.given.mode, I64(flag)), I64(0))

    def row(self, i: int) -> ir.Value:
        """Row i; the rows past the last are copies of it, computed and stored once more."""
        return self.builder.select(self.builder.icmp_signed("<", I64(i), self.last), I64(i), self.last)

    def places(self) -> Iterator[tuple[int, int]]:
        """Yield the numbers of all registers, row by row."""
        return itertools.product(range(self.height), range(self.vectors))

    def mask(self, j: int, masked: bool) -> ir.Value | None:
        """Return the mask of the vectors of column j: where asked, the last is not whole."""
        return self.edge if masked and j == self.vectors - 1 else None

    def column(self, pointer: ir.Value, j: int, masked: bool) -> Vec:
        """Load vector j of a row."""
        return self.lanes.load(self.builder.gep(pointer, [I64(j * self.width)]), self.mask(j, masked))

    def place_in(self, matrix: ir.Value, i: int, j: int) -> ir.Value:
        """Return where vector (i, j) of C, or of what is laid out as C, stands."""
        return self.builder.gep(matrix, [self.builder.add(self.c_rows[i], I64(j * self.width))])

    def each(self, change: Callable[[int, int, Vec], Vec]) -> None:
        """Change all registers."""
        for i, j in self.places():
            self.sums[i][j].set(change(i, j, self.sums[i][j].get()))

    def emit(self) -> None:
        """Write all of it."""
        b = self.builder
        with cgutils.if_unlikely(b, self.asked(ACCUMULATE)):
            self.each(lambda i, j, _: self.column(b.gep(self.given.c, [self.c_rows[i]]), j, masked=True))
        self.look_ahead()
        self.grow_chains()
        with b.if_then(self.asked(BIAS)):
            addends = [self.column(self.given.bias, j, masked=False) for j in range(self.vectors)]
            self.each(lambda i, j, z: z + addends[j])
        with b.if_then(self.asked(RECTIFY)):
            self.each(lambda i, j, z: self.lanes.maximum(z, 0.0))
        with b.if_else(self.whole) as (then, otherwise):
            with then:
                self.finish(masked=False)
            with otherwise:
                self.finish(masked=True)

    def look_ahead(self) -> None:
        """While long chains grow, let there come what the next tile, the one below, will write to or go on from."""
        b, c = self.builder, self.given.c
        if self.height > 1:
            with b.if_then(b.icmp_signed(">=", self.given.depth, I64(LONG))):
                for i in range(self.height, 2 * self.height):
                    for j in range(self.vectors):
                        place = b.add(b.mul(self.given.ldc, I64(i)), I64(j * self.width))
                        self.lanes.prefetch(b.gep(c, [place]))
        if self.height == TILE_ROWS:  # the lower ones are few
            with b.if_then(self.asked(TAKE)):
                for i, j in self.places():
                    self.lanes.take(self.place_in(self.given.below, i, j))

    def grow_chains(self) -> None:
        """Add all links to the chains."""
        b, given = self.builder, self.given
        # One pointer walks along A, and the rows stand at fixed distances from it: addresses that cost no instruction.
        distances = [opaque(b, b.mul(given.row_stride, self.row(i))) for i in range(self.height)]
        a_now, b_now = cgutils.alloca_once_value(b, given.a), cgutils.alloca_once_value(b, given.b)

        def links(count: ir.Value, masked: bool) -> None:
            with count_loop(b, I64(0), count, 1):
                a_k, b_k = opaque(b, b.load(a_now)), b.load(b_now)
                if not masked:
                    ahead = b.gep(b_k, [b.mul(given.ldb, I64(ROWS_AHEAD))])
                    for line in range(0, self.vectors * isa().vector_bytes, 64):
                        self.lanes.prefetch(b.gep(ahead, [I64(line // (self.lanes.bits // 8))]))
                b_vectors = [self.column(b_k, j, masked) for j in range(self.vectors)]
                for i in range(self.height):
                    element = self.lanes.splat(b.load(b.gep(a_k, [distances[i]])))
                    for j in range(self.vectors):
                        total = self.sums[i][j]
                        total.set(self.lanes.fma(element, b_vectors[j], total.get()))
                b.store(b.gep(a_k, [given.k_stride]), a_now)
                b.store(b.gep(b_k, [given.ldb]), b_now)

        # A row of B may be read up to whole vectors while others follow it: what stands there is no lane of C. A mask
        # costs something on every CPU, so the last rows alone are read under one.
        links(b.sub(given.depth, given.exposed), masked=False)
        links(given.exposed, masked=True)

    def finish(self, masked: bool) -> None:
        """Do what takes C, or what is laid out as C, and store C."""

        def from_below(i: int, j: int) -> Vec:
            return self.column(self.builder.gep(self.given.below, [self.c_rows[i]]), j, masked)

        with self.builder.if_then(self.asked(GATE)):
            # A NaN lets the gradient through.
            self.each(lambda i, j, d: self.lanes.select(from_below(i, j) <= 0.0, 0.0, d))
        with self.builder.if_then(self.asked(SCALE)):
            self.each(lambda i, j, d: d * from_below(i, j))
        for i, j in self.places():
            self.lanes.store(self.sums[i][j].get(), self.place_in(self.given.c, i, j), self.mask(j, masked))


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
        _Tile(lanes, h, v, operands).emit()
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
