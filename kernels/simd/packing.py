"""Packing: a block of B copied into panels, where the micro-kernel reads it front to back.

A panel is ``depth`` rows of a few whole vectors, zero-padded. The transposed form reads B where it stands transposed
in memory, as the weights do in ``dX = dZ @ W``: squares of one vector by one vector are turned in registers.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from ..compile.outlined import outlined
from .isa import isa
from .lanes import I32, I64, Lanes, Vec, count_loop, make_intrinsic, vector_loop

TILE_VECTORS = isa().tile[1]


def _pack_codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    source, ld, depth, cols, panel, width = args
    lanes = Lanes(b, signature.args[0].dtype)

    def each_row(copy: Callable[[ir.Value, ir.Value], None]) -> None:
        with count_loop(b, I64(0), depth, 1) as k:
            copy(b.gep(source, [b.mul(k, ld)]), b.gep(panel, [b.mul(k, width)]))

    def few(vectors: int) -> None:
        # Most panels are as wide as a tile. Their few vectors are copied without a loop of their own.
        edge = lanes.first_lanes(b.sub(cols, I64((vectors - 1) * lanes.width)))

        def copy(row: ir.Value, target: ir.Value) -> None:
            for j in range(vectors):
                at = [I64(j * lanes.width)]
                lanes.store(lanes.load(b.gep(row, at), edge if j == vectors - 1 else None), b.gep(target, at))

        each_row(copy)

    def many() -> None:
        each_row(
            lambda row, target: vector_loop(
                lanes, cols, lambda j, mask: lanes.store(lanes.load(b.gep(row, [j]), mask), b.gep(target, [j]))
            )
        )

    end, otherwise = b.append_basic_block("pack.end"), b.append_basic_block("pack.many")
    switch = b.switch(b.sdiv(b.add(cols, I64(lanes.width - 1)), I64(lanes.width)), otherwise)
    for vectors in range(1, TILE_VECTORS + 1):
        block = b.append_basic_block(f"pack.{vectors}")
        switch.add_case(I64(vectors), block)
        b.position_at_end(block)
        few(vectors)
        b.branch(end)
    b.position_at_end(otherwise)
    many()
    b.branch(end)
    b.position_at_end(end)
    return context.get_dummy_value()


def transpose_squares(lanes: Lanes, rows: list[Vec]) -> list[Vec]:
    """Transpose every square of as many lanes as there are rows, a power of two, where it stands.

    Each round swaps, between rows `step` apart, the lanes `step` apart.
    """
    b, width = lanes.builder, lanes.width
    step = 1
    while step < len(rows):
        for i in range(len(rows)):
            if i & step:
                continue
            upper, lower = rows[i].value, rows[i + step].value
            order = range(width)
            first = [x if not x & step else width + x - step for x in order]
            second = [x + step if not x & step else width + x for x in order]
            for row, picks in ((i, first), (i + step, second)):
                mask = ir.Constant(ir.VectorType(I32, width), picks)
                rows[row] = lanes.wrap(b.shuffle_vector(upper, lower, mask))
        step *= 2
    return rows


def _joined(lanes: Lanes, pieces: list[Vec]) -> Vec:
    """Return a vector made of pieces, as many as fill it."""
    b = lanes.builder
    while len(pieces) > 1:
        size = 2 * pieces[0].lanes.width
        order = ir.Constant(ir.VectorType(I32, size), list(range(size)))
        wider = Lanes(b, lanes.dtype, size)
        pairs = zip(pieces[::2], pieces[1::2], strict=True)
        pieces = [wider.wrap(b.shuffle_vector(x.value, y.value, order)) for x, y in pairs]
    return pieces[0]


def _cut(lanes: Lanes, x: Vec, size: int) -> list[Vec]:
    """Return the pieces of `size` lanes that a vector is made of."""
    b, piece = lanes.builder, Lanes(lanes.builder, lanes.dtype, size)
    undefined = ir.Constant(lanes.vector, ir.Undefined)
    orders = [range(start, start + size) for start in range(0, lanes.width, size)]
    return [
        piece.wrap(b.shuffle_vector(x.value, undefined, ir.Constant(ir.VectorType(I32, size), list(order))))
        for order in orders
    ]


def rows_from(lanes: Lanes, matrix: ir.Value, ld: ir.Value, first: ir.Value, rows: ir.Value) -> list[ir.Value]:
    """Return where the next vector's worth of rows begin; those past the last are copies of it."""
    b = lanes.builder
    last = b.sub(rows, I64(1))
    starts = []
    for i in range(lanes.width):
        row = b.add(first, I64(i))
        row = b.select(b.icmp_signed("<", row, last), row, last)
        starts.append(b.gep(matrix, [b.mul(row, ld)]))
    return starts


def _strips(lanes: Lanes, depth: ir.Value, body: Callable[[ir.Value, int, ir.Value | None], None]) -> None:
    """Run ``body(k, size, mask)`` over `depth` columns: strips of a whole vector first, then the rest under a mask.

    A rest of four columns or eight is a strip of that size, where a vector is longer: it takes less to turn.
    """
    b, width = lanes.builder, lanes.width
    whole = b.mul(b.sdiv(depth, I64(width)), I64(width))
    with count_loop(b, I64(0), whole, width) as k:
        body(k, width, None)
    rest = b.sub(depth, whole)

    def narrowest(size: int) -> None:
        def strip() -> None:
            body(whole, size, Lanes(b, lanes.dtype, size).first_lanes(rest))

        if size == width:
            strip()
            return
        with b.if_else(b.icmp_signed("<=", rest, I64(size))) as (fits, otherwise):
            with fits:
                strip()
            with otherwise:
                narrowest(2 * size)

    with b.if_then(b.icmp_signed(">", rest, I64(0))):
        narrowest(min(4, width))


def _turn_codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    source, ld, depth, cols, panel, width = args
    lanes = Lanes(b, signature.args[0].dtype)
    with count_loop(b, I64(0), cols, lanes.width) as j:
        columns = rows_from(lanes, source, ld, j, cols)

        def strip(k: ir.Value, size: int, mask: ir.Value | None, j: ir.Value = j, columns: list = columns) -> None:
            piece = Lanes(b, lanes.dtype, size)
            pieces = [piece.load(b.gep(c, [k]), mask) for c in columns]
            rows = [_joined(lanes, pieces[i::size]) for i in range(size)]
            for i, row in enumerate(transpose_squares(lanes, rows)):
                offset = b.add(b.mul(b.add(k, I64(i)), width), j)
                lanes.store(row, b.gep(panel, [offset]))

        _strips(lanes, depth, strip)
    return context.get_dummy_value()


def _turn_back_codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    target, ld, depth, cols, panel, width = args
    lanes = Lanes(b, signature.args[0].dtype)
    columns = rows_from(lanes, target, ld, I64(0), cols)

    def strip(k: ir.Value, size: int, mask: ir.Value | None) -> None:
        piece = Lanes(b, lanes.dtype, size)
        rows = [lanes.load(b.gep(panel, [b.mul(b.add(k, I64(i)), width)])) for i in range(size)]
        parts = [_cut(lanes, row, size) for row in transpose_squares(lanes, rows)]
        # From the last to the first: a copy of the last row is written before that row.
        for i in reversed(range(lanes.width)):
            piece.store(parts[i % size][i // size], b.gep(columns[i], [k]), mask)

    _strips(lanes, depth, strip)
    return context.get_dummy_value()


def _unpack_codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    target, ld, depth, cols, panel, width = args
    lanes = Lanes(b, signature.args[0].dtype)
    with count_loop(b, I64(0), depth, 1) as k:
        row, place = b.gep(target, [b.mul(k, ld)]), b.gep(panel, [b.mul(k, width)])
        vector_loop(lanes, cols, lambda j, mask: lanes.store(lanes.load(b.gep(place, [j])), b.gep(row, [j]), mask))
    return context.get_dummy_value()


def _signature(p: Any, *rest: Any) -> Any:
    i = types.int64
    return types.void(p, i, i, i, p, i)


_PARAMETERS = ["source", "ld", "depth", "cols", "panel", "width"]

# f(source, ld, depth, cols, panel, width): panel[k * width + j] = source[k * ld + j].
pack = make_intrinsic("pack", _PARAMETERS, _signature, _pack_codegen)
# The way back: target[k * ld + j] = panel[k * width + j]. The panel must be readable up to whole vectors.
unpack = make_intrinsic("unpack", ["target", *_PARAMETERS[1:]], _signature, _unpack_codegen)
# panel[k * width + j] = source[j * ld + k]; up to a vector's width of rows past `depth` may be written.
turn = make_intrinsic("turn", _PARAMETERS, _signature, _turn_codegen)
# The way back, of at most a vector of columns: target[j * ld + k] = panel[k * width + j]. The panel must be readable up
# to whole vectors, and as far as `turn` writes.
turn_back = make_intrinsic("turn_back", ["target", *_PARAMETERS[1:]], _signature, _turn_back_codegen)


def _types(dtype: types.Float) -> Any:
    return _signature(types.CPointer(dtype))


# The same as a call: many shuffles take long to compile, and where more is done than a few rows' turning, the call is
# nothing beside it.
@outlined(_types)
def pack_transposed(source, ld, depth, cols, panel, width):
    """`turn`."""
    turn(source, ld, depth, cols, panel, width)


@outlined(_types)
def unpack_transposed(target, ld, depth, cols, panel, width):
    """`turn_back`."""
    turn_back(target, ld, depth, cols, panel, width)
