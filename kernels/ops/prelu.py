"""A rectifier with a slope for each feature: ``A = X`` above zero, ``w * X`` below.

``dX = dZ`` above zero, ``w * dZ`` below; ``dw = sum(dZ * X)`` over the rows in which X is below.
"""

from ..run.plan import ADD, DW, FLAGS, LAST, SOURCE, A, D
from ..simd.columns import products_summed
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.modes import ACCUMULATE
from .call import FIRST, MODE, op
from .gradients import columns_of_piece, rows_to_sum, update_features
from .operands import (
    apply_slope_of,
    input_gradient_of,
    input_of,
    rows_at,
    rows_of_piece,
    sums_of,
    wants_gradient,
    weights_of,
)


def _rectified(v: Lanes, x: Vec, w: Vec) -> Vec:
    return v.select(x > 0.0, x, x * w)


def _dx(v: Lanes, dz: Vec, w: Vec, x: Vec) -> Vec:
    return v.select(x > 0.0, dz, dz * w)


def _dx_added(v: Lanes, dz: Vec, w: Vec, x: Vec, d: Vec) -> Vec:
    return d + _dx(v, dz, w, x)


def _below(v: Lanes, x: Vec) -> Vec:
    return v.select(x > 0.0, 0.0, x)


rectified = lanewise(_rectified, reads=2, writes=1)
dx_of = lanewise(_dx, reads=3, writes=1)
dx_added = lanewise(_dx_added, reads=4, writes=1)
dw_of = products_summed(_below, reads=1)


@op
def prelu_forward(x, frame, row, span, pieces, piece):
    """``A = X`` above zero, ``w * X`` below. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    w = weights_of(x, frame, row).data
    for i in range(rows):
        rectified(source.element(i, 0), w, a.element(i, 0), a.cols)


@op
def prelu_input_gradient(x, frame, row, span, pieces, piece):
    """``dX``, added to what other readers of the source have written; and g' where none comes after.

    A piece is some rows.
    """
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = rows_of_piece(span, pieces, piece)
    source, dz = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, D, start, rows)
    dx, w = input_gradient_of(x, frame, row, SOURCE, start, rows), weights_of(x, frame, row).data
    for i in range(rows):
        of_dz, of_x, d = dz.element(i, 0), source.element(i, 0), dx.element(i, 0)
        if row[FLAGS] & ADD:
            dx_added(of_dz, w, of_x, d, d, dx.cols)
        else:
            dx_of(of_dz, w, of_x, d, dx.cols)
    if row[FLAGS] & LAST:
        apply_slope_of(x, frame, row, SOURCE, start, rows)


@op
def prelu_weight_gradient(x, frame, row, span, pieces, piece):
    """``dw``, part after part of a batch, and the update where a span has UPDATES. A piece is some columns."""
    if row[DW] < 0:
        return
    rows = rows_to_sum(span)
    j0, j1 = columns_of_piece(x, row, pieces, piece)
    source = input_of(x, frame, row, SOURCE, span[FIRST], rows).cols_of(j0, j1)
    dz = rows_at(x, frame, row, D, span[FIRST], rows).cols_of(j0, j1)
    sums = sums_of(x, frame, row, span)[0].element(0, j0)
    dw_of(dz.data, dz.ld, source.data, source.ld, sums, rows, dz.cols, sums, span[MODE] & ACCUMULATE)
    update_features(x, frame, row, span, sums, j0, dz.cols)
