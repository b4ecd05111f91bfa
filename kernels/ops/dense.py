"""The dense layer: ``Z = X @ W + b``, ``A = g(Z)`` forward; ``dX``, ``dW`` and ``db`` backward.

`W` is (in_features, out_features), the transpose of the lecture's. As PyTorch has it, (out_features, in_features), it
is `turned` in memory, and so is its gradient: the same products, with the operands the other way round.
"""

from ..compile.functions import kernel
from ..compile.pointers import at, doubles_at, lanes_of
from ..linalg.few_columns import few_columns, pays
from ..linalg.matrix import Finish
from ..linalg.product import product
from ..linalg.tasks import block_of, grid
from ..run.plan import (
    ACTIVATE,
    ADD,
    APPLY_SLOPE,
    BATCH_ROWS,
    DB,
    DIFFERENTIATE,
    DW,
    FINISH,
    FLAGS,
    LAST,
    ROOMY,
    SLOPE,
    SOURCE,
    A,
    B,
    D,
    W,
)
from ..simd.modes import ACCUMULATE, B_ROOM, BIAS, ROOM, TAKE
from .call import FIRST, MODE, ROWS, UPDATES, op, row_at
from .gradients import add_bias_gradient, rows_to_sum
from .operands import bias_of, input_gradient_of, input_of, rows_at, sums_of, update_of, weights_of


@op
def dense_forward(x, frame, row, span, pieces, piece):
    """``A = g(X @ W + b)``, and g'(Z) where the activation stores it. A piece is a block of A."""
    source = input_of(x, frame, row, SOURCE, span[FIRST], span[ROWS])
    a, w = rows_at(x, frame, row, A, span[FIRST], span[ROWS]), weights_of(x, frame, row)
    slope = rows_at(x, frame, row, SLOPE, span[FIRST], span[ROWS])
    mode = row[FINISH] | (BIAS if row[B] >= 0 else 0) | (ROOM if row[FLAGS] & ROOMY else 0)
    finish = Finish(mode, bias_of(x, frame, row), row[ACTIVATE], a.data, slope.data, doubles_at(0), 0)
    i0, i1, j0, j1 = block_of(a.rows, a.cols, a.data, pieces, piece, False)
    product(source.rows_of(i0, i1), w.cols_of(j0, j1), a.part(i0, i1, j0, j1), finish.moved(i0 * a.ld + j0, j0))


@op
def dense_input_gradient(x, frame, row, span, pieces, piece):
    """``dX = dZ @ W.T``, added to what other readers of the source have written; and g' where none comes after.

    A piece is a block of dX.
    """
    dz, w = rows_at(x, frame, row, D, span[FIRST], span[ROWS]), weights_of(x, frame, row)
    dx = input_gradient_of(x, frame, row, SOURCE, span[FIRST], span[ROWS])
    mode, after, below, beside = ACCUMULATE if row[FLAGS] & ADD else 0, 0, dx.data, dx.data
    if row[SOURCE] != BATCH_ROWS:
        source = row_at(frame, row[SOURCE])
        mode |= ROOM if source[FLAGS] & ROOMY else 0
        if row[FLAGS] & LAST:
            mode, after = mode | source[DIFFERENTIATE], 0 if source[DIFFERENTIATE] else source[APPLY_SLOPE]
            below = rows_at(x, frame, source, A, span[FIRST], span[ROWS]).data
            beside = rows_at(x, frame, source, SLOPE, span[FIRST], span[ROWS]).data
    finish = Finish(mode, dx.data, after, below, beside, doubles_at(0), 0)
    i0, i1, j0, j1 = block_of(dx.rows, dx.cols, dx.data, pieces, piece, False)
    w = w.transposed()
    product(dz.rows_of(i0, i1), w.cols_of(j0, j1), dx.part(i0, i1, j0, j1), finish.moved(i0 * dx.ld + j0, j0))


@kernel
def gradient(x, dz, dw, finish):
    """Compute ``dW = X.T @ dZ`` for one task."""
    if pays(dw.rows, dw.cols, lanes_of(x.data)):
        few_columns(x, dz, dw, finish)
    else:
        product(x.transposed(), dz, dw, finish)


@op
def dense_weight_gradient(x, frame, row, span, pieces, piece):
    """``dW = X.T @ dZ`` and ``db = dZ.sum(0)``, part after part of a batch, and the update where a span has UPDATES.

    A piece is a block of dW; those at its top sum their part of db.
    """
    rows = rows_to_sum(row, span)
    left, right = input_of(x, frame, row, SOURCE, span[FIRST], rows), rows_at(x, frame, row, D, span[FIRST], rows)
    dz, b_room = right, row[FLAGS] & ROOMY != 0
    dw, db = sums_of(x, frame, row, span)
    turned = dw.turned
    if turned:  # its transpose, dZ.T @ X, stands as it is
        left, right, dw = right, left, dw.transposed()
        b_room = row[SOURCE] != BATCH_ROWS and row_at(frame, row[SOURCE])[FLAGS] & ROOMY != 0
    i0, i1, j0, j1 = block_of(dw.rows, dw.cols, x, pieces, piece, True)
    if row[DW] >= 0:
        mode = span[MODE] & (ACCUMULATE | TAKE) | (B_ROOM if b_room else 0)
        finish = update_of(x, frame, row[W], mode, span[UPDATES])
        gradient(left.cols_of(i0, i1), right.cols_of(j0, j1), dw.part(i0, i1, j0, j1), finish.moved(i0 * dw.ld + j0, 0))
    across = grid(dw.rows, dw.cols, lanes_of(x), pieces, True)
    first, end, sums_bias = (i0, i1, piece % across == 0) if turned else (j0, j1, piece < across)
    if row[DB] >= 0 and sums_bias:
        add_bias_gradient(x, frame, row, span, dz.cols_of(first, end), at(db, first), first)
