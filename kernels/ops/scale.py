"""A factor for each feature: ``A = X * w``. ``dX = dZ * w``, ``dw = sum(dZ * X)`` over the rows."""

from ..run.plan import ADD, DW, FLAGS, LAST, SOURCE, A, D
from ..simd.columns import products_summed
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.modes import ACCUMULATE
from .call import MODE, op
from .gradients import columns_to_sum, update_features
from .operands import (
    AT_ONCE,
    apply_slope_of,
    input_gradient_of,
    input_of,
    rows_at,
    rows_of_piece,
    wants_gradient,
    weights_of,
)


def _scaled(v: Lanes, x: Vec, w: Vec) -> Vec:
    return x * w


def _scaled_and_added(v: Lanes, x: Vec, w: Vec, d: Vec) -> Vec:
    return v.fma(x, w, d)


def _itself(v: Lanes, x: Vec) -> Vec:
    return x


scaled = lanewise(_scaled, reads=2, writes=1)
scaled_and_added = lanewise(_scaled_and_added, reads=3, writes=1)
dw_of = products_summed(_itself, reads=1)


@op
def scale_forward(x, frame, row, span, pieces, piece):
    """``A = X * w``. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    w = weights_of(x, frame, row).data
    for i in range(rows):
        scaled(source.element(i, 0), w, a.element(i, 0), a.cols)


@op
def scale_input_gradient(x, frame, row, span, pieces, piece):
    """``dX = dZ * w``, added to what other readers of the source have written; and g' where none comes after.

    A piece is some rows.
    """
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = rows_of_piece(span, pieces, piece)
    dz, dx = rows_at(x, frame, row, D, start, rows), input_gradient_of(x, frame, row, SOURCE, start, rows)
    w = weights_of(x, frame, row).data
    for block in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - block)
        for i in range(block, block + count):
            if row[FLAGS] & ADD:
                scaled_and_added(dz.element(i, 0), w, dx.element(i, 0), dx.element(i, 0), dx.cols)
            else:
                scaled(dz.element(i, 0), w, dx.element(i, 0), dx.cols)
        if row[FLAGS] & LAST:
            apply_slope_of(x, frame, row, SOURCE, start + block, count)


@op
def scale_weight_gradient(x, frame, row, span, pieces, piece):
    """``dw``, part after part of a batch, and the update where a span has UPDATES. A piece is some columns."""
    if row[DW] < 0:
        return
    source, dz, sums, j0 = columns_to_sum(x, frame, row, span, pieces, piece)
    dw_of(dz.data, dz.ld, source.data, source.ld, sums, dz.rows, dz.cols, sums, span[MODE] & ACCUMULATE)
    update_features(x, frame, row, span, sums, j0, dz.cols)
