"""Members of each row: ``A[i * k + m] = X[i] * w[m]``, the adapter of TabM-mini (Gorishniy et al. 2025).

``dX[i] = sum_m dZ[i * k + m] * w[m]``, ``dw[m] = sum_i dZ[i * k + m] * X[i]``. The span of the ops counts rows of A.
"""

from ..compile.functions import kernel
from ..linalg.tasks import share
from ..run.plan import ADD, FLAGS, LAST, MEMBERS, OUT, SOURCE, A, D, W
from ..simd.modes import ACCUMULATE
from .call import FIRST, MODE, ROWS, UPDATES, op
from .gradients import rows_to_sum
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
from .scale import dw_of, scaled, scaled_and_added


@kernel
def sources_of_piece(row, span, pieces, piece):
    """Return which rows of X a piece has, where each has some: the first, and how many."""
    rows = span[ROWS] // row[MEMBERS]
    first, stop = share(rows, 1, pieces, piece), share(rows, 1, pieces, piece + 1)
    return span[FIRST] // row[MEMBERS] + first, stop - first


@op
def members_forward(x, frame, row, span, pieces, piece):
    """``A[i * k + m] = X[i] * w[m]``. A piece is some rows of X."""
    start, rows = sources_of_piece(row, span, pieces, piece)
    members, w = row[MEMBERS], weights_of(x, frame, row)
    source = input_of(x, frame, row, SOURCE, start, rows)
    a = rows_at(x, frame, row, A, start * members, rows * members)
    for i in range(rows):
        for m in range(members):
            scaled(source.element(i, 0), w.element(m, 0), a.element(i * members + m, 0), a.cols)


@op
def members_input_gradient(x, frame, row, span, pieces, piece):
    """``dX[i] = sum_m dZ[i * k + m] * w[m]``, added to what other readers of the source have written; and g'.

    A piece is some rows of X.
    """
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = sources_of_piece(row, span, pieces, piece)
    members, w = row[MEMBERS], weights_of(x, frame, row)
    dz = rows_at(x, frame, row, D, start * members, rows * members)
    dx = input_gradient_of(x, frame, row, SOURCE, start, rows)
    for i in range(rows):
        d = dx.element(i, 0)
        for m in range(members):
            of_dz, of_w = dz.element(i * members + m, 0), w.element(m, 0)
            if m > 0 or row[FLAGS] & ADD:
                scaled_and_added(of_dz, of_w, d, d, dx.cols)
            else:
                scaled(of_dz, of_w, d, dx.cols)
    if row[FLAGS] & LAST:
        apply_slope_of(x, frame, row, SOURCE, start, rows)


@op
def members_weight_gradient(x, frame, row, span, pieces, piece):
    """``dw``, part after part of a batch, and the update where a span has UPDATES. A piece is some members."""
    members, rows = row[MEMBERS], rows_to_sum(row, span)
    source = input_of(x, frame, row, SOURCE, span[FIRST] // members, rows // members)
    dz, (dw, _) = rows_at(x, frame, row, D, span[FIRST], rows), sums_of(x, frame, row, span)
    m0, m1 = share(members, 1, pieces, piece), share(members, 1, pieces, piece + 1)
    for m in range(m0, m1):
        sums, more = dw.element(m, 0), span[MODE] & ACCUMULATE
        dw_of(dz.element(m, 0), members * dz.ld, source.data, source.ld, sums, source.rows, dz.cols, sums, more)
    if span[UPDATES]:
        update_block(x, frame, row[W], m0 * row[OUT], dw.rows_of(m0, m1))
