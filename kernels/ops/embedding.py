"""Embedding: ``A = [other columns of X, W_1[code_1], W_2[code_2], ...]``; the codes of each row are numbers in X.

``dW_k[c]`` is the sum of the rows of dZ, at the columns of table k, whose code is c: a chain in the order of the batch.
A code has no gradient; dX is 0 there. Codes were looked at before (`run.codes`), and the way back takes them as the way
forward has found them.
"""

from numba import carray

from ..compile.functions import kernel
from ..compile.pointers import at, pointer_to
from ..linalg.matrix import Matrix
from ..linalg.tasks import share
from ..run.frame import WORK
from ..run.plan import ADD, FLAGS, LAST, SAVED, SOURCE, TABLE, A, D, W
from ..simd.modes import ACCUMULATE
from .call import BATCH, FIRST, MODE, PART, PART_END, PARTS, UPDATES, op
from .kinds.embedding import (
    CARDINALITY,
    CODED,
    CODED_SIZE,
    COLUMN,
    DIM,
    FIRST_CODED,
    KEPT,
    PLACE,
    RUNS,
    TABLE_ROWS,
)
from .operands import (
    apply_slope_of,
    input_gradient_of,
    input_of,
    rows_at,
    rows_of_piece,
    sums_of,
    update_block,
    wants_gradient,
    weights_of,
)
from .residual import added, copied


@kernel
def coded_at(table, k):
    """Return the numbers of the k-th column of codes."""
    return at(table, FIRST_CODED + k * CODED_SIZE)


@kernel
def run_at(table, r):
    """Return first column and length of a stretch of other columns."""
    return at(table, FIRST_CODED + table[CODED] * CODED_SIZE + 2 * r)


@kernel
def codes_of(x, frame, row, first, rows):
    """Return the codes of the rows from `first` on, (rows, CODED), as elements of the model."""
    coded = pointer_to(frame, row[TABLE])[CODED]
    return carray(at(pointer_to(x, frame[WORK] + row[SAVED]), first * coded), (rows, coded))


@op
def embedding_forward(x, frame, row, span, pieces, piece):
    """``A = [other columns of X, W_1[code_1], ...]``. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    table, w = pointer_to(frame, row[TABLE]), weights_of(x, frame, row).data
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    codes = codes_of(x, frame, row, start, rows)
    for i in range(rows):
        of_x, to = source.element(i, 0), a.element(i, 0)
        for r in range(table[RUNS]):
            run = run_at(table, r)
            copied(at(of_x, run[0]), to, run[1])
            to = at(to, run[1])
        for k in range(table[CODED]):
            coded = coded_at(table, k)
            codes[i, k] = of_x[coded[COLUMN]]
            copied(at(w, coded[PLACE] + int(codes[i, k]) * coded[DIM]), to, coded[DIM])
            to = at(to, coded[DIM])


@op
def embedding_input_gradient(x, frame, row, span, pieces, piece):
    """dX: dZ of the other columns, added to what other readers of the source have written, and 0 of the codes.

    A piece is some rows.
    """
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = rows_of_piece(span, pieces, piece)
    table, adds = pointer_to(frame, row[TABLE]), row[FLAGS] & ADD
    dz, dx = rows_at(x, frame, row, D, start, rows), input_gradient_of(x, frame, row, SOURCE, start, rows)
    for i in range(rows):
        of_dz, d = dz.element(i, 0), dx.element(i, 0)
        if not adds:
            carray(d, dx.cols)[:] = 0
        for r in range(table[RUNS]):
            run = run_at(table, r)
            added(of_dz, at(d, run[0]), at(d, run[0]), run[1])
            of_dz = at(of_dz, run[1])
    if row[FLAGS] & LAST:
        apply_slope_of(x, frame, row, SOURCE, start, rows)


@kernel
def add_rows_of_codes(codes, k, dz, low, high, dw):
    """Add each row of dz, (rows, DIM), to the row of a table that its code names, if that is `low` to before `high`."""
    for i in range(dz.rows):
        code = int(codes[i, k])
        if low <= code < high:
            to = at(dw, code * dz.cols)
            added(dz.element(i, 0), to, to, dz.cols)


@op
def embedding_weight_gradient(x, frame, row, span, pieces, piece):
    """dW, part after part of a batch, and the update where a span has UPDATES.

    A piece is some rows of the tables; of the batch it looks at all codes of these tables.
    """
    begin = share(span[BATCH], 1, span[PARTS], span[PART])
    rows = share(span[BATCH], 1, span[PARTS], span[PART_END]) - begin
    table, (sums, _) = pointer_to(frame, row[TABLE]), sums_of(x, frame, row, span)
    dz, codes = rows_at(x, frame, row, D, span[FIRST], rows), codes_of(x, frame, row, span[FIRST], rows)
    first, stop = share(table[TABLE_ROWS], 1, pieces, piece), share(table[TABLE_ROWS], 1, pieces, piece + 1)
    j = table[KEPT]
    for k in range(table[CODED]):
        coded = coded_at(table, k)
        low, high, dim = max(first, 0), min(stop, coded[CARDINALITY]), coded[DIM]
        if low < high:
            dw, n = sums.element(0, coded[PLACE]), (high - low) * dim
            own = at(dw, low * dim)
            if span[MODE] & ACCUMULATE == 0:
                carray(own, n)[:] = 0
            add_rows_of_codes(codes, k, dz.cols_of(j, j + dim), low, high, dw)
            if span[UPDATES]:
                update_block(x, frame, row[W], coded[PLACE] + low * dim, Matrix(own, n, 1, n, 0))
        first, stop, j = first - coded[CARDINALITY], stop - coded[CARDINALITY], j + dim
