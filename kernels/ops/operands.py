"""Operands of ops as matrices: what a row of the plan reads and writes, for the rows of a span."""

from ..compile.functions import kernel
from ..compile.pointers import address_of, at, doubles_at, pointer_to
from ..linalg.matrix import Finish, Matrix, through
from ..linalg.tasks import share
from ..run.frame import DX, GRADS, PARAMETERS, PARAMS, SETTINGS, STATE, UPDATE, WORK
from ..run.groups import bytes_alike, hyper_of
from ..run.plan import (
    ACROSS,
    APPLY_SLOPE,
    ATTRIBUTES,
    BATCH_ROWS,
    BUFFERS,
    DB,
    DEPTH,
    DW,
    FLAGS,
    IN,
    LD,
    OUT,
    PARTIALS,
    SLOPE,
    TURNED,
    A,
    B,
    D,
    W,
)
from .call import FIRST, GRADIENT, INTO, ROWS, row_at

# Rows that an op finishes, g' of the op below included, before it goes on to others: they are in the first-level cache.
AT_ONCE = 16


@kernel
def rows_at(x, frame, row, column, first, rows):
    """Return some rows of what stands in the workspace where `column` of a plan's row says: (rows, OUT)."""
    ld = row[LD]
    return Matrix(at(pointer_to(x, frame[WORK] + row[column]), first * ld), ld, rows, row[OUT], 0)


@kernel
def input_of(x, frame, row, source, first, rows):
    """Return some rows of what an op reads, the batch or the output of another row: (rows, IN)."""
    if row[source] == BATCH_ROWS:
        return Matrix(at(x, first * row[IN]), row[IN], rows, row[IN], 0)
    return rows_at(x, frame, row_at(frame, row[source]), A, first, rows)


@kernel
def input_gradient_of(x, frame, row, source, first, rows):
    """Return where the gradient of some rows of an op's input goes: (rows, IN)."""
    if row[source] == BATCH_ROWS:
        return Matrix(at(pointer_to(x, frame[DX]), first * row[IN]), row[IN], rows, row[IN], 0)
    return rows_at(x, frame, row_at(frame, row[source]), D, first, rows)


@kernel
def weights_of(x, frame, row):
    """Return an op's weights: (DEPTH, ACROSS), turned where they stand as (ACROSS, DEPTH)."""
    turned = 1 if row[FLAGS] & TURNED else 0
    ld = row[DEPTH] if turned else row[ACROSS]
    return Matrix(pointer_to(x, frame[PARAMS] + row[W]), ld, row[DEPTH], row[ACROSS], turned)


@kernel
def bias_of(x, frame, row):
    """Return an op's bias; any address without one."""
    return pointer_to(x, frame[PARAMS] + max(row[B], 0))


@kernel
def sums_of(x, frame, row, span):
    """Return where an op sums its weights' gradient, laid out as the weights, and that of its bias."""
    turned = 1 if row[FLAGS] & TURNED else 0
    ld = row[DEPTH] if turned else row[ACROSS]
    dw, db = pointer_to(x, frame[GRADS] + max(row[DW], 0)), pointer_to(x, frame[GRADS] + max(row[DB], 0))
    if span[INTO] != GRADIENT:
        size = row[DEPTH] * row[ACROSS]
        dw = at(pointer_to(x, frame[WORK] + row[PARTIALS]), span[INTO] * (size + row[ACROSS]))
        db = at(dw, size)
    return Matrix(dw, ld, row[DEPTH], row[ACROSS], turned), db


@kernel
def update_of(x, frame, place, mode, updates):
    """Return what finishes a gradient: the optimizer's update of the parameters at a place, or nothing."""
    after = pointer_to(frame, frame[SETTINGS])[UPDATE] if updates else 0
    params, state = pointer_to(x, frame[PARAMS] + place), pointer_to(x, frame[STATE] + place)
    return Finish(mode, params, after, params, state, hyper_of(frame, place), frame[PARAMETERS])


@kernel
def update_block(x, frame, place, first, block):
    """Update parameters from element `first` on of what stands at a place; `block` has their gradients, laid out alike.

    Several parameters may stand there, each with an optimizer's numbers of its own.
    """
    size = address_of(at(x, 1)) - address_of(x)
    start = place + first * size
    if bytes_alike(frame, start) >= ((block.rows - 1) * block.ld + block.cols) * size:
        update_of(x, frame, start, 0, True).run(block)
        return
    for i in range(block.rows):
        j = 0
        while j < block.cols:
            there = start + (i * block.ld + j) * size
            count = min(block.cols - j, bytes_alike(frame, there) // size)
            update_of(x, frame, there, 0, True).run(block.part(i, i + 1, j, j + count))
            j += count


@kernel
def rows_of_piece(span, pieces, piece):
    """Return which rows of the workspace a piece has, where each has some rows of a span: the first, and how many."""
    first, stop = share(span[ROWS], 1, pieces, piece), share(span[ROWS], 1, pieces, piece + 1)
    return span[FIRST] + first, stop - first


@kernel
def attribute_of(row, i):
    """Return one of an op's own numbers."""
    return doubles_at(address_of(at(row, ATTRIBUTES)))[i]


@kernel
def wants_gradient(frame, row, source):
    """Return whether the gradient of what an op reads is wanted; that of the batch may not be."""
    return row[source] != BATCH_ROWS or frame[DX] != 0


@kernel
def apply_slope_of(x, frame, row, source, first, rows):
    """Make ``dz = d * g'(z)`` of some rows of the finished gradient of an op's source, one without products."""
    if row[source] == BATCH_ROWS:
        return
    above = row_at(frame, row[source])
    d, a = rows_at(x, frame, above, D, first, rows), rows_at(x, frame, above, A, first, rows)
    through(above[APPLY_SLOPE], d, a.data, rows_at(x, frame, above, SLOPE, first, rows).data)


@kernel
def buffer_of(x, row, i):
    """Return an op's buffer number i."""
    return pointer_to(x, row[BUFFERS] + i * 8 * row[OUT])
