"""A rectifier with a slope for each feature, or one for all: ``A = X`` above zero, ``w * X`` below.

``dX = dZ`` above zero, ``w * dZ`` below; ``dw = sum(dZ * X)`` over the rows in which X is below, and for one over all
features.
"""

from numba import carray

from ..compile.functions import kernel
from ..run.plan import ACROSS, ADD, DW, FLAGS, LAST, OUT, SOURCE, A, D
from ..simd.columns import products_summed
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.modes import ACCUMULATE
from ..simd.rows import summed
from .call import FIRST, MODE, op
from .gradients import columns_to_sum, rows_to_sum, update_features
from .operands import (
    AT_ONCE,
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


def _dx_by(v: Lanes, dz: Vec, x: Vec, w: Vec) -> Vec:
    return _dx(v, dz, w, x)


def _dx_by_added(v: Lanes, dz: Vec, x: Vec, d: Vec, w: Vec) -> Vec:
    return d + _dx(v, dz, w, x)


def _product_below(v: Lanes, dz: Vec, x: Vec) -> tuple[Vec]:
    return (v.widen(dz) * v.widen(_below(v, x)),)


rectified = lanewise(_rectified, reads=2, writes=1)
dx_of = lanewise(_dx, reads=3, writes=1)
dx_added = lanewise(_dx_added, reads=4, writes=1)
dw_of = products_summed(_below, reads=1)
# The same with one slope, a number
rectified_by = lanewise(_rectified, reads=1, writes=1, numbers=1)
dx_by = lanewise(_dx_by, reads=2, writes=1, numbers=1)
dx_by_added = lanewise(_dx_by_added, reads=3, writes=1, numbers=1)
product_below = summed(_product_below, reads=2, writes=0)


@kernel
def is_shared(row):
    """Return whether there is one slope for all features."""
    return row[ACROSS] < row[OUT]


@op
def prelu_forward(x, frame, row, span, pieces, piece):
    """``A = X`` above zero, ``w * X`` below. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    w = weights_of(x, frame, row).data
    for i in range(rows):
        if is_shared(row):
            rectified_by(source.element(i, 0), a.element(i, 0), carray(w, 1)[0], a.cols)
        else:
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
    for block in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - block)
        for i in range(block, block + count):
            of_dz, of_x, d = dz.element(i, 0), source.element(i, 0), dx.element(i, 0)
            if is_shared(row):
                if row[FLAGS] & ADD:
                    dx_by_added(of_dz, of_x, d, d, carray(w, 1)[0], dx.cols)
                else:
                    dx_by(of_dz, of_x, d, carray(w, 1)[0], dx.cols)
            elif row[FLAGS] & ADD:
                dx_added(of_dz, w, of_x, d, d, dx.cols)
            else:
                dx_of(of_dz, w, of_x, d, dx.cols)
        if row[FLAGS] & LAST:
            apply_slope_of(x, frame, row, SOURCE, start + block, count)


@kernel
def gradient_of_one(x, frame, row, span):
    """Sum the gradient of the one slope over rows and features, in float64 for some rows at a time, and update it."""
    rows = rows_to_sum(row, span)
    source, dz = input_of(x, frame, row, SOURCE, span[FIRST], rows), rows_at(x, frame, row, D, span[FIRST], rows)
    total = 0.0
    for i in range(rows):
        total += product_below(dz.element(i, 0), source.element(i, 0), dz.cols)
    place = sums_of(x, frame, row, span)[0].data
    sums = carray(place, 1)
    sums[0] = sums.dtype.type(total + sums[0] if span[MODE] & ACCUMULATE else total)
    update_features(x, frame, row, span, place, 0, 1)


@op
def prelu_weight_gradient(x, frame, row, span, pieces, piece):
    """``dw``, part after part of a batch, and the update where a span has UPDATES.

    A piece is some columns; with one slope the first is all of them.
    """
    if row[DW] < 0:
        return
    if is_shared(row):
        if piece == 0:
            gradient_of_one(x, frame, row, span)
        return
    source, dz, sums, j0 = columns_to_sum(x, frame, row, span, pieces, piece)
    dw_of(dz.data, dz.ld, source.data, source.ld, sums, dz.rows, dz.cols, sums, span[MODE] & ACCUMULATE)
    update_features(x, frame, row, span, sums, j0, dz.cols)
