"""A mixture of two outputs, a share for each feature: ``A = w * X1 + (1 - w) * X2``.

``dX1 = w * dZ``, ``dX2 = (1 - w) * dZ``, ``dw = sum(dZ * (X1 - X2))`` over the rows.
"""

from ..compile.functions import kernel
from ..run.plan import ADD, ADD2, DW, FLAGS, LAST, LAST2, SOURCE, SOURCE2, A, D
from ..simd.columns import products_summed
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.modes import ACCUMULATE
from .call import FIRST, MODE, op
from .gradients import columns_of_piece, rows_to_sum, update_features
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


def _blended(v: Lanes, one: Vec, two: Vec, w: Vec) -> Vec:
    return v.fma(w, one, (1.0 - w) * two)


def _share(v: Lanes, dz: Vec, w: Vec, second: Vec) -> Vec:
    return dz * v.select(second > 0.0, 1.0 - w, w)


def _share_added(v: Lanes, dz: Vec, w: Vec, d: Vec, second: Vec) -> Vec:
    return d + _share(v, dz, w, second)


def _difference(v: Lanes, one: Vec, two: Vec) -> Vec:
    return one - two


blended = lanewise(_blended, reads=3, writes=1)
share_of = lanewise(_share, reads=2, writes=1, numbers=1)
share_added = lanewise(_share_added, reads=3, writes=1, numbers=1)
dw_of = products_summed(_difference, reads=2)


@op
def blend_forward(x, frame, row, span, pieces, piece):
    """``A = w * X1 + (1 - w) * X2``. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    one, two = input_of(x, frame, row, SOURCE, start, rows), input_of(x, frame, row, SOURCE2, start, rows)
    a, w = rows_at(x, frame, row, A, start, rows), weights_of(x, frame, row).data
    for i in range(rows):
        blended(one.element(i, 0), two.element(i, 0), w, a.element(i, 0), a.cols)


@op
def blend_input_gradient(x, frame, row, span, pieces, piece):
    """``dX1`` and ``dX2``, each added to what other readers have written, and g' of it. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    pass_share(x, frame, row, start, rows, SOURCE, ADD, LAST)
    pass_share(x, frame, row, start, rows, SOURCE2, ADD2, LAST2)


@kernel
def pass_share(x, frame, row, start, rows, source, add, last):  # which of two sources, and its flags
    """Give some rows of dz, times its share, to a source."""
    if not wants_gradient(frame, row, source):
        return
    dz, dx = rows_at(x, frame, row, D, start, rows), input_gradient_of(x, frame, row, source, start, rows)
    w, second = weights_of(x, frame, row).data, 1.0 if source == SOURCE2 else 0.0
    for block in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - block)
        for i in range(block, block + count):
            if row[FLAGS] & add:
                share_added(dz.element(i, 0), w, dx.element(i, 0), dx.element(i, 0), second, dx.cols)
            else:
                share_of(dz.element(i, 0), w, dx.element(i, 0), second, dx.cols)
        if row[FLAGS] & last:
            apply_slope_of(x, frame, row, source, start + block, count)


@op
def blend_weight_gradient(x, frame, row, span, pieces, piece):
    """``dw``, part after part of a batch, and the update where a span has UPDATES. A piece is some columns."""
    if row[DW] < 0:
        return
    first, rows = span[FIRST], rows_to_sum(row, span)
    j0, j1 = columns_of_piece(x, row, pieces, piece)
    one = input_of(x, frame, row, SOURCE, first, rows).cols_of(j0, j1)
    two = input_of(x, frame, row, SOURCE2, first, rows).cols_of(j0, j1)
    dz = rows_at(x, frame, row, D, first, rows).cols_of(j0, j1)
    sums = sums_of(x, frame, row, span)[0].element(0, j0)
    more = span[MODE] & ACCUMULATE
    dw_of(dz.data, dz.ld, one.data, one.ld, two.data, two.ld, sums, rows, dz.cols, sums, more)
    update_features(x, frame, row, span, sums, j0, dz.cols)
