"""The dense layer on a sparse batch: ``A = g(X @ W + b)`` forward, ``dW = X.T @ dZ`` and ``db`` backward.

X is read by its stored numbers alone (see `run.stored`), and each element is the chain that the dense layer has of
them. So the results are the dense layer's to the bit where W and dZ are finite; a number that is not stored is no
factor of anything, where a dense layer's 0 times an infinity or NaN is NaN. There is no gradient of X.
"""

from ..compile.functions import kernel
from ..compile.pointers import at, int32s_at, lanes_of, pointer_to
from ..linalg.matrix import Matrix, through
from ..linalg.product import ROW_BLOCK, panel_of
from ..linalg.tasks import share
from ..run.frame import STORED
from ..run.plan import ACTIVATE, DB, FINISH, FLAGS, ROOMY, SLOPE, A, B, D, W
from ..run.stored import DATA, INDICES, ROWS, STEP
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.modes import ACCUMULATE, BIAS, ROOM
from ..simd.stored import ROW_VECTORS, stored_strip
from .call import BATCH, FIRST, MODE, PART, PART_END, PARTS, PLACE, UPDATES, op, table_of
from .gradients import add_bias_gradient
from .operands import bias_of, rows_at, rows_of_piece, sums_of, update_of, weights_of

# So many elements of dW are summed, and updated, while they are in a cache.
BLOCK = 1 << 14
# So many rows of the batch at a time are walked along side by side.
ABREAST = 2048
new_cursors = table_of(ABREAST)


@kernel
def first_of_row(frame, i):
    """Return the place of the first stored number of row i of the batch."""
    stored = pointer_to(frame, frame[STORED])
    return pointer_to(frame, stored[ROWS])[i * stored[STEP]]


@kernel
def end_of_row(frame, i):
    """Return the place behind the last stored number of row i of the batch."""
    stored = pointer_to(frame, frame[STORED])
    return pointer_to(frame, stored[ROWS])[i * stored[STEP] + 1]


@kernel
def numbers_of_batch(x, frame):
    """Return the stored numbers, and the column of each."""
    stored = pointer_to(frame, frame[STORED])
    return pointer_to(x, stored[DATA]), int32s_at(stored[INDICES])


@op
def sparse_dense_forward(x, frame, row, span, pieces, piece):
    """``A = g(X @ W + b)``, and g'(Z) where the activation stores it. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    place = span[PLACE] + start - span[FIRST]  # of the first of them in the batch
    a, w, bias = rows_at(x, frame, row, A, start, rows), weights_of(x, frame, row), bias_of(x, frame, row)
    slope = rows_at(x, frame, row, SLOPE, start, rows)
    data, indices = numbers_of_batch(x, frame)
    mode = row[FINISH] | (BIAS if row[B] >= 0 else 0) | (ROOM if row[FLAGS] & ROOMY else 0)
    width = lanes_of(x)
    vectors = (a.cols + width - 1) // width
    strips = (vectors + ROW_VECTORS - 1) // ROW_VECTORS
    for i0 in range(0, rows, ROW_BLOCK):
        i1 = min(rows, i0 + ROW_BLOCK)
        for i in range(i0, i1):
            first, end = first_of_row(frame, place + i), end_of_row(frame, place + i)
            for strip in range(strips):
                j, cols = panel_of(vectors, strips, strip, width)
                cols = min(cols, a.cols - j)
                stored_strip(data, indices, first, end, at(w.data, j), w.ld, cols, at(bias, j), a.element(i, j), mode)
        written = vectors * width if row[FLAGS] & ROOMY else a.cols
        done = Matrix(a.element(i0, 0), a.ld, i1 - i0, written, 0)
        through(row[ACTIVATE], done, done.data, slope.element(i0, 0))


def _added(v: Lanes, dz: Vec, dw: Vec, number: Vec) -> Vec:
    return v.fma(number, dz, dw)


def _zero(v: Lanes, dw: Vec) -> Vec:
    return v.constant(0.0)


add_multiple = lanewise(_added, reads=2, writes=1, numbers=1)
make_zero = lanewise(_zero, reads=1, writes=1)


@kernel
def first_from(indices, first, end, k):
    """Return the place of the first of a row's stored numbers whose column is k or later; `end` without one."""
    while first < end:
        middle = (first + end) // 2
        if indices[middle] < k:
            first = middle + 1
        else:
            end = middle
    return first


@kernel
def add_columns(x, frame, place, dz, cursors, stop, dw):
    """Add to dW what the batch's columns before `stop` give, from where each row's cursor is; dz has the rows' dz."""
    data, indices = numbers_of_batch(x, frame)
    for i in range(dz.rows):
        s, end = cursors[i], end_of_row(frame, place + i)
        while s < end and indices[s] < stop:
            of_column = at(dw.data, indices[s] * dw.ld)
            add_multiple(dz.element(i, 0), of_column, of_column, data[s], dz.cols)
            s += 1
        cursors[i] = s


@kernel
def add_weight_gradient(x, frame, row, span, dz, dw, k0, k1):
    """Sum ``dW = X.T @ dZ`` for the rows k0 to before k1 of dW, block after block of them; and update those of W."""
    _, indices = numbers_of_batch(x, frame)
    cursors, update = new_cursors(frame), update_of(x, frame, row[W], 0, span[UPDATES])
    height = max(1, BLOCK // dw.ld)
    for first in range(0, dz.rows, ABREAST):
        end = min(dz.rows, first + ABREAST)
        place = span[PLACE] + first
        for i in range(end - first):
            cursors[i] = first_from(indices, first_of_row(frame, place + i), end_of_row(frame, place + i), k0)
        for k in range(k0, k1, height):
            block = dw.rows_of(k, min(k1, k + height))
            if first == 0 and span[MODE] & ACCUMULATE == 0:
                make_zero(block.data, block.data, block.rows * block.ld)
            add_columns(x, frame, place, dz.rows_of(first, end), cursors, k + block.rows, dw)
            if end == dz.rows:
                update.moved(k * dw.ld, 0).run(block)


@op
def sparse_dense_weight_gradient(x, frame, row, span, pieces, piece):
    """``dW = X.T @ dZ`` and ``db = dZ.sum(0)``, part after part of a batch, and the update where a span has UPDATES.

    A piece is some rows of dW, so some columns of X, and some columns of db.
    """
    start = share(span[BATCH], 1, span[PARTS], span[PART])
    rows = share(span[BATCH], 1, span[PARTS], span[PART_END]) - start
    dz = rows_at(x, frame, row, D, span[FIRST], rows)
    dw, db = sums_of(x, frame, row, span)
    add_weight_gradient(
        x, frame, row, span, dz, dw, share(dw.rows, 1, pieces, piece), share(dw.rows, 1, pieces, piece + 1)
    )
    j0, j1 = share(dw.cols, lanes_of(x), pieces, piece), share(dw.cols, lanes_of(x), pieces, piece + 1)
    if row[DB] >= 0 and j0 < j1:
        add_bias_gradient(x, frame, row, span, dz.cols_of(j0, j1), at(db, j0), j0)
