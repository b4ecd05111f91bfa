"""Normalization by the root of the mean square: ``A = X * r * w``, ``r = 1 / sqrt(mean(X**2) + eps)`` of each row.

With ``G = dZ * w``, of a row with n features: ``dX = r * G - X * r**3 * sum(G * X) / n``, and ``dw = sum(dZ * X * r)``
over the rows.

Sums come before what needs them, for some rows at a time, as those of `layer_norm` do.
"""

from numba import carray

from ..compile.functions import kernel
from ..compile.pointers import address_of, at, doubles_at, pointer_to, stack_block
from ..run.frame import WORK
from ..run.plan import ADD, DW, FLAGS, LAST, OUT, SAVED, SOURCE, A, D
from ..simd.columns import products_summed
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.modes import ACCUMULATE
from ..simd.rows import summed
from .call import FIRST, MODE, op
from .gradients import columns_to_sum, update_features
from .operands import (
    AT_ONCE,
    apply_slope_of,
    attribute_of,
    input_gradient_of,
    input_of,
    rows_at,
    rows_of_piece,
    wants_gradient,
    weights_of,
)


def _squared(v: Lanes, x: Vec) -> tuple[Vec]:
    wide = v.widen(x)
    return (wide * wide,)


def _inverse_root(v: Lanes, square: Vec, share: Vec, eps: Vec) -> Vec:
    return 1.0 / v.sqrt(v.fma(square, share, eps))


def _normal(v: Lanes, x: Vec, w: Vec, r: Vec) -> Vec:
    return x * r * w


def _projection(v: Lanes, dz: Vec, w: Vec, x: Vec) -> tuple[Vec]:
    return (dz * w * x,)


def _normalized(v: Lanes, x: Vec, r: Vec) -> Vec:
    return x * r


def _dx(v: Lanes, dz: Vec, w: Vec, x: Vec, r: Vec, along: Vec) -> Vec:
    return v.fma(x, along, dz * w * r)


def _dx_added(v: Lanes, dz: Vec, w: Vec, x: Vec, d: Vec, r: Vec, along: Vec) -> Vec:
    return d + _dx(v, dz, w, x, r, along)


squares = summed(_squared, reads=1, writes=0)
inverse_roots = lanewise(_inverse_root, reads=1, writes=1, numbers=2)
normal = lanewise(_normal, reads=2, writes=1, numbers=1)
projection = summed(_projection, reads=3, writes=0, in_float64=False)
dx_of = lanewise(_dx, reads=3, writes=1, numbers=2)
dx_added = lanewise(_dx_added, reads=4, writes=1, numbers=2)
dw_of = products_summed(_normalized, reads=1, numbers=1)
# A number of AT_ONCE rows
scratch = stack_block(AT_ONCE * 8)


@kernel
def saved_of(x, frame, row, first):
    """Return where r of the rows from `first` on stand."""
    return at(pointer_to(x, frame[WORK] + row[SAVED]), first)


@op
def rms_norm_forward(x, frame, row, span, pieces, piece):
    """``A = X * r * w``. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    n = row[OUT]
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    w, eps = weights_of(x, frame, row).data, attribute_of(row, 0)
    saved, real = carray(saved_of(x, frame, row, start), rows), carray(x, 1).dtype.type
    sums = carray(doubles_at(address_of(scratch(x))), AT_ONCE)
    for block in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - block)
        for i in range(count):
            sums[i] = squares(source.element(block + i, 0), n)
        inverse_roots(at(sums, 0), at(sums, 0), 1.0 / n, eps, count)
        for i in range(count):
            saved[block + i] = real(sums[i])
            normal(source.element(block + i, 0), w, a.element(block + i, 0), saved[block + i], n)


@op
def rms_norm_input_gradient(x, frame, row, span, pieces, piece):
    """``dX``, added to what other readers of the source have written; and g' where none comes after.

    A piece is some rows.
    """
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = rows_of_piece(span, pieces, piece)
    n = row[OUT]
    source, dz = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, D, start, rows)
    dx, w = input_gradient_of(x, frame, row, SOURCE, start, rows), weights_of(x, frame, row).data
    saved, real = carray(saved_of(x, frame, row, start), rows), carray(x, 1).dtype.type
    sums, share_of_one = carray(scratch(x), AT_ONCE), real(1.0 / n)
    for block in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - block)
        for i in range(count):
            sums[i] = projection(dz.element(block + i, 0), w, source.element(block + i, 0), n)
        for i in range(count):
            r = saved[block + i]
            along = -r * r * (r * sums[i] * share_of_one)
            of_dz, of_x, d = dz.element(block + i, 0), source.element(block + i, 0), dx.element(block + i, 0)
            if row[FLAGS] & ADD:
                dx_added(of_dz, w, of_x, d, d, r, along, n)
            else:
                dx_of(of_dz, w, of_x, d, r, along, n)
        if row[FLAGS] & LAST:
            apply_slope_of(x, frame, row, SOURCE, start + block, count)


@op
def rms_norm_weight_gradient(x, frame, row, span, pieces, piece):
    """``dw``, part after part of a batch, and the update where a span has UPDATES. A piece is some columns."""
    if row[DW] < 0:
        return
    source, dz, sums, j0 = columns_to_sum(x, frame, row, span, pieces, piece)
    saved = saved_of(x, frame, row, span[FIRST])
    dw_of(dz.data, dz.ld, source.data, source.ld, saved, dz.rows, dz.cols, sums, span[MODE] & ACCUMULATE)
    update_features(x, frame, row, span, sums, j0, dz.cols)
