"""Layer normalization: ``A = (X - mean) / sqrt(var + eps) * w + b``, mean and variance of each row.

With ``r = 1 / sqrt(var + eps)``, ``N = (X - mean) * r`` and ``G = dZ * w``, of a row with n features:
``dX = r * (G - sum(G) / n - N * sum(G * N) / n)``, ``dw = sum(dZ * N)`` and ``db = sum(dZ)`` over the rows.

Sums come before what needs them, for some rows at a time: a sum over the lanes of a vector takes long to come through,
and those of several rows do not wait for each other.
"""

from numba import carray

from ..compile.functions import kernel
from ..compile.pointers import address_of, at, doubles_at, pointer_to, stack_block
from ..run.frame import WORK
from ..run.plan import ADD, DB, DW, FLAGS, LAST, OUT, SAVED, SOURCE, A, B, D
from ..simd.columns import products_summed
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.modes import ACCUMULATE
from ..simd.rows import summed
from .call import FIRST, MODE, op
from .gradients import add_bias_gradient, columns_of_piece, rows_to_sum, update_features
from .operands import (
    AT_ONCE,
    apply_slope_of,
    attribute_of,
    bias_of,
    input_gradient_of,
    input_of,
    rows_at,
    rows_of_piece,
    sums_of,
    wants_gradient,
    weights_of,
)


def _moments(v: Lanes, x: Vec, first: Vec) -> tuple[Vec, Vec]:
    d = v.widen(x) - v.widen(first)
    return d, d * d


def _statistics(v: Lanes, first: Vec, s1: Vec, s2: Vec, share: Vec, eps: Vec) -> tuple[Vec, Vec]:
    """Mean and 1 / sqrt(var + eps), of sums and squares about a row's first number."""
    mean = s1 * share
    variance = v.maximum(s2 * share - mean * mean, 0.0)
    return first + mean, 1.0 / v.sqrt(variance + eps)


def _normal(v: Lanes, x: Vec, w: Vec, b: Vec, mean: Vec, rstd: Vec) -> Vec:
    return v.fma((x - mean) * rstd, w, b)


def _normal_without_bias(v: Lanes, x: Vec, w: Vec, mean: Vec, rstd: Vec) -> Vec:
    return (x - mean) * rstd * w


def _projections(v: Lanes, dz: Vec, w: Vec, x: Vec, mean: Vec, rstd: Vec) -> tuple[Vec, Vec]:
    g = dz * w
    return g, g * ((x - mean) * rstd)


def _normalized(v: Lanes, x: Vec, mean: Vec, rstd: Vec) -> Vec:
    return (x - mean) * rstd


def _dx(v: Lanes, dz: Vec, w: Vec, x: Vec, mean: Vec, rstd: Vec, along: Vec, apart: Vec) -> Vec:
    return v.fma(x - mean, along, v.fma(dz * w, rstd, apart))


def _dx_added(v: Lanes, dz: Vec, w: Vec, x: Vec, d: Vec, mean: Vec, rstd: Vec, along: Vec, apart: Vec) -> Vec:
    return d + _dx(v, dz, w, x, mean, rstd, along, apart)


moments = summed(_moments, reads=1, writes=0, numbers=1, sums=2)
statistics = lanewise(_statistics, reads=3, writes=2, numbers=2)
normal = lanewise(_normal, reads=3, writes=1, numbers=2)
normal_without_bias = lanewise(_normal_without_bias, reads=2, writes=1, numbers=2)
projections = summed(_projections, reads=3, writes=0, numbers=2, sums=2, in_float64=False)
dx_of = lanewise(_dx, reads=3, writes=1, numbers=4)
dx_added = lanewise(_dx_added, reads=4, writes=1, numbers=4)
dw_of = products_summed(_normalized, reads=1, numbers=2)
# Three numbers, or two, of AT_ONCE rows
scratch = stack_block(3 * AT_ONCE * 8)


@kernel
def saved_of(x, frame, row, first):
    """Return where mean and ``1 / sqrt(var + eps)`` of the rows from `first` on stand, two numbers a row."""
    return at(pointer_to(x, frame[WORK] + row[SAVED]), 2 * first)


@op
def layer_norm_forward(x, frame, row, span, pieces, piece):
    """``A = (X - mean) / sqrt(var + eps) * w + b``. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    n = row[OUT]
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    w, b, eps = weights_of(x, frame, row).data, bias_of(x, frame, row), attribute_of(row, 0)
    saved, real = carray(saved_of(x, frame, row, start), (rows, 2)), carray(x, 1).dtype.type
    sums = carray(doubles_at(address_of(scratch(x))), (3, AT_ONCE))
    first, s1, s2 = at(sums, 0), at(sums, AT_ONCE), at(sums, 2 * AT_ONCE)
    for block in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - block)
        for i in range(count):
            of_x = source.element(block + i, 0)
            sums[0, i] = of_x[0]
            sums[1, i], sums[2, i] = moments(of_x, of_x[0], n)
        statistics(first, s1, s2, s1, s2, 1.0 / n, eps, count)
        for i in range(count):
            mean, rstd = real(sums[1, i]), real(sums[2, i])
            saved[block + i, 0], saved[block + i, 1] = mean, rstd
            of_x, of_a = source.element(block + i, 0), a.element(block + i, 0)
            if row[B] >= 0:
                normal(of_x, w, b, of_a, mean, rstd, n)
            else:
                normal_without_bias(of_x, w, of_a, mean, rstd, n)


@op
def layer_norm_input_gradient(x, frame, row, span, pieces, piece):
    """``dX``, added to what other readers of the source have written; and g' where none comes after.

    A piece is some rows.
    """
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = rows_of_piece(span, pieces, piece)
    n = row[OUT]
    source, dz = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, D, start, rows)
    dx, w = input_gradient_of(x, frame, row, SOURCE, start, rows), weights_of(x, frame, row).data
    saved, real = carray(saved_of(x, frame, row, start), (rows, 2)), carray(x, 1).dtype.type
    sums = carray(scratch(x), (AT_ONCE, 2))
    share_of_one = real(1.0 / n)
    for block in range(0, rows, AT_ONCE):
        count = min(AT_ONCE, rows - block)
        for i in range(count):
            of_dz, of_x = dz.element(block + i, 0), source.element(block + i, 0)
            sums[i, 0], sums[i, 1] = projections(of_dz, w, of_x, saved[block + i, 0], saved[block + i, 1], n)
        for i in range(count):
            mean, rstd = saved[block + i, 0], saved[block + i, 1]
            apart, along = -rstd * sums[i, 0] * share_of_one, -rstd * rstd * sums[i, 1] * share_of_one
            of_dz, of_x, d = dz.element(block + i, 0), source.element(block + i, 0), dx.element(block + i, 0)
            if row[FLAGS] & ADD:
                dx_added(of_dz, w, of_x, d, d, mean, rstd, along, apart, n)
            else:
                dx_of(of_dz, w, of_x, d, mean, rstd, along, apart, n)
        if row[FLAGS] & LAST:
            apply_slope_of(x, frame, row, SOURCE, start + block, count)


@op
def layer_norm_weight_gradient(x, frame, row, span, pieces, piece):
    """``dw`` and ``db``, part after part of a batch, and the update where a span has UPDATES.

    A piece is some columns.
    """
    rows = rows_to_sum(row, span)
    j0, j1 = columns_of_piece(x, row, pieces, piece)
    source = input_of(x, frame, row, SOURCE, span[FIRST], rows).cols_of(j0, j1)
    dz = rows_at(x, frame, row, D, span[FIRST], rows).cols_of(j0, j1)
    dw, db = sums_of(x, frame, row, span)
    if row[DW] >= 0:
        saved, sums = saved_of(x, frame, row, span[FIRST]), dw.element(0, j0)
        dw_of(dz.data, dz.ld, source.data, source.ld, saved, rows, dz.cols, sums, span[MODE] & ACCUMULATE)
        update_features(x, frame, row, span, sums, j0, dz.cols)
    if row[DB] >= 0:
        add_bias_gradient(x, frame, row, span, dz, at(db, j0), j0)
