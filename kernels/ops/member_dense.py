"""A dense layer of its own for each member: row m of k has ``A = X @ W[m] + b[m]``, the heads of TabM-mini.

The rows of a member stand k rows apart, so each of its products is that of a dense layer on matrices with k times the
distance between rows.
"""

from ..compile.functions import kernel
from ..compile.pointers import doubles_at
from ..linalg.matrix import Finish, Matrix
from ..linalg.product import product
from ..linalg.tasks import share
from ..run.plan import ADD, FLAGS, IN, LAST, MEMBERS, OUT, SOURCE, A, D, W
from ..simd.modes import ACCUMULATE, BIAS
from .call import BATCH, FIRST, MODE, UPDATES, op
from .dense import gradient
from .gradients import add_parts, rows_to_sum
from .members import sources_of_piece
from .operands import (
    apply_slope_of,
    input_gradient_of,
    input_of,
    rows_at,
    sums_of,
    update_block,
    wants_gradient,
    weights_of,
)


@kernel
def of_member(matrix, m, members):
    """Return the rows of member m of a matrix of all members' rows."""
    return Matrix(matrix.element(m, 0), matrix.ld * members, matrix.rows // members, matrix.cols, 0)


@kernel
def weights_of_member(row, w, m):
    """Return W[m] and b[m] of a matrix like W, a pointer the latter."""
    ins = row[IN]
    return w.rows_of(m * ins, (m + 1) * ins), w.element(row[MEMBERS] * ins + m, 0)


@op
def member_dense_forward(x, frame, row, span, pieces, piece):
    """``A = X @ W[m] + b[m]``. A piece is some rows of the batch, of all members."""
    start, rows = sources_of_piece(row, span, pieces, piece)
    members, weights = row[MEMBERS], weights_of(x, frame, row)
    source = input_of(x, frame, row, SOURCE, start * members, rows * members)
    a = rows_at(x, frame, row, A, start * members, rows * members)
    for m in range(members):
        own, (w, b) = of_member(a, m, members), weights_of_member(row, weights, m)
        finish = Finish(BIAS, b, 0, own.data, own.data, doubles_at(0), 0)
        product(of_member(source, m, members), w, own, finish)


@op
def member_dense_input_gradient(x, frame, row, span, pieces, piece):
    """``dX = dZ @ W[m].T``, added to what other readers of the source have written; and g' where none comes after.

    A piece is some rows of the batch, of all members.
    """
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = sources_of_piece(row, span, pieces, piece)
    members, weights = row[MEMBERS], weights_of(x, frame, row)
    dz = rows_at(x, frame, row, D, start * members, rows * members)
    dx = input_gradient_of(x, frame, row, SOURCE, start * members, rows * members)
    for m in range(members):
        own, (w, _) = of_member(dx, m, members), weights_of_member(row, weights, m)
        finish = Finish(ACCUMULATE if row[FLAGS] & ADD else 0, own.data, 0, own.data, own.data, doubles_at(0), 0)
        product(of_member(dz, m, members), w.transposed(), own, finish)
    if row[FLAGS] & LAST:
        apply_slope_of(x, frame, row, SOURCE, start * members, rows * members)


@op
def member_dense_weight_gradient(x, frame, row, span, pieces, piece):
    """``dW[m] = X.T @ dZ`` and ``db[m] = dZ.sum(0)`` of each member's rows, part after part of a batch.

    The parameters are updated where a span has UPDATES. A piece is some members.
    """
    members, rows = row[MEMBERS], rows_to_sum(row, span)
    source, dz = input_of(x, frame, row, SOURCE, span[FIRST], rows), rows_at(x, frame, row, D, span[FIRST], rows)
    sums, _ = sums_of(x, frame, row, span)
    for m in range(share(members, 1, pieces, piece), share(members, 1, pieces, piece + 1)):
        of_dz, (dw, db) = of_member(dz, m, members), weights_of_member(row, sums, m)
        finish = Finish(span[MODE] & ACCUMULATE, dw.data, 0, dw.data, dw.data, doubles_at(0), 0)
        gradient(of_member(source, m, members), of_dz, dw, finish)
        add_parts(span, span[BATCH] // members, 1, of_dz, db)
        if span[UPDATES]:
            update_block(x, frame, row[W], m * row[IN] * row[OUT], dw)
            update_block(x, frame, row[W], (members * row[IN] + m) * row[OUT], Matrix(db, dw.ld, 1, dw.cols, 0))
