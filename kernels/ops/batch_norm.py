"""Batch normalization: ``A = (X - mean) / sqrt(var + eps) * w + b``, mean and variance of each column of a batch.

With ``r = 1 / sqrt(var + eps)`` and ``N = (X - mean) * r``, of a column of n rows:
``dX = w * r * (dZ - sum(dZ) / n - N * sum(dZ * N) / n)``, ``dw = sum(dZ * N)`` and ``db = sum(dZ)``.

Rows are coupled by sums alone. They are made of each block of rows, and those of the blocks are added up in their order
before the rows go on: forward ``sums of blocks | mean and variance | A``, back ``sums of blocks | their sum | dX``. An
op is called once with the whole batch, and shares out both passes itself.

All is computed in float64 and rounded once where it is stored. The sum of squares of a block is about a mean of it that
is known by then, less the square of what that mean is off; those of blocks are put together about the mean of all
(Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983). So numbers far from 0 lose no digits.
"""

import math
from typing import Any

from llvmlite import ir
from numba import carray, types

from ..compile.functions import kernel
from ..compile.pointers import address_of, at, doubles_at, pointer_to
from ..compile.region import shared
from ..linalg.tasks import share, worth
from ..run.frame import WORK
from ..run.plan import ADD, ATTRIBUTES, DEPTH, EFFORT, FLAGS, INPUT_GRADIENT, LAST, NOTHING, OUT, SAVED, SOURCE, A, D
from ..simd.lanes import I64, Vec, count_loop
from ..simd.strips import Strip, by_columns
from .call import FIRST, ROWS, op
from .kinds import batch_norm as _kind
from .kinds.batch_norm import (
    BATCHES,
    BLOCK_ROWS,
    MEAN,
    PROJECTION,
    RSTD,
    RUNNING_MEAN,
    RUNNING_VAR,
    SAVED_OF_COLUMNS,
    SUM,
    UNBIASED,
)
from .operands import (
    apply_slope_of,
    attribute_of,
    bias_of,
    buffer_of,
    input_gradient_of,
    input_of,
    rows_at,
    rows_of_piece,
    sums_of,
    wants_gradient,
    weights_of,
)

blocks_of = kernel(_kind.blocks_of)
# Flags of what is given: there are parameters; and a sum is added to what stands there
AFFINE, ADDED = 1, 2


def _scales(strip: Strip, flags: ir.Value, w: ir.Value, rstds: list[Vec]) -> list[Vec]:
    """Return ``w * rstd``."""
    weights = strip.read_if(flags, AFFINE, w, 1.0)
    return [weight * r for weight, r in zip(weights, rstds, strict=True)]


def _moments(strip: Strip, x: Any, rows: ir.Value, mean: ir.Value, squares: ir.Value) -> None:
    """Write the mean of rows, and the sum of squares about it."""
    wide, k, n = strip.wide, len(strip.places), strip.number(rows)

    def total(i: ir.Value, sums: list[Vec]) -> list[Vec]:
        return [s + v for s, v in zip(sums, strip.read(x(i)), strict=True)]

    near = [s / n for s in strip.sums(rows, total, k)]

    def about(i: ir.Value, sums: list[Vec]) -> list[Vec]:
        d = [v - m for v, m in zip(strip.read(x(i)), near, strict=True)]
        products = [wide.fma(e, e, s) for e, s in zip(d, sums[k:], strict=True)]
        return [s + e for s, e in zip(sums, d, strict=False)] + products

    found = strip.sums(rows, about, 2 * k)
    off = [s / n for s in found[:k]]
    strip.write_doubles([m + o for m, o in zip(near, off, strict=True)], mean)
    squared = [wide.maximum(s - d * o, 0.0) for s, d, o in zip(found[k:], found, off, strict=False)]
    strip.write_doubles(squared, squares)


def _projections(
    strip: Strip, dz: Any, x: Any, rows: ir.Value, sums: ir.Value, along: ir.Value, mean: ir.Value
) -> None:
    """Write the sums of dz and of ``dz * (x - mean)`` over rows."""
    wide, k, means = strip.wide, len(strip.places), strip.read_doubles(mean)

    def terms(i: ir.Value, sums: list[Vec]) -> list[Vec]:
        ds, xs = strip.read(dz(i)), strip.read(x(i))
        products = [wide.fma(d, v - m, s) for d, v, m, s in zip(ds, xs, means, sums[k:], strict=True)]
        return [s + d for s, d in zip(sums, ds, strict=False)] + products

    found = strip.sums(rows, terms, 2 * k)
    strip.write_doubles(found[:k], sums)
    strip.write_doubles(found[k:], along)


def _normal(
    strip: Strip, x: Any, a: Any, rows: ir.Value, flags: ir.Value, w: ir.Value, b: ir.Value, *saved: ir.Value
) -> None:
    """Write ``a = (x - mean) * rstd * w + b`` of rows."""
    _apply(strip, x, a, rows, flags, w, b, *map(strip.read_doubles, saved))


def _predicted(
    strip: Strip, x: Any, a: Any, rows: ir.Value, flags: ir.Value, w: ir.Value, b: ir.Value, *running: ir.Value
) -> None:
    """Do the same with ``rstd = 1 / sqrt(variance + eps)``."""
    (mean, variance, eps), wide = running, strip.wide
    shift = wide.splat(strip.lanes.builder.load(eps))
    rstds = [1.0 / wide.sqrt(v + shift) for v in strip.read(variance)]
    _apply(strip, x, a, rows, flags, w, b, strip.read(mean), rstds)


def _apply(
    strip: Strip, x: Any, a: Any, rows: ir.Value, flags: ir.Value, w: ir.Value, b: ir.Value, means: list[Vec],
    rstds: list[Vec],
) -> None:  # fmt: skip
    scales, biases = _scales(strip, flags, w, rstds), strip.read_if(flags, AFFINE, b, 0.0)
    with count_loop(strip.lanes.builder, I64(0), rows, 1) as i:
        values = zip(strip.read(x(i)), means, scales, biases, strict=True)
        strip.write([strip.wide.fma(v - mean, scale, bias) for v, mean, scale, bias in values], a(i))


def _dx(strip: Strip, dz: Any, x: Any, dx: Any, rows: ir.Value, *rest: ir.Value) -> None:
    """Write ``dx = w * rstd * (dz - sum / n - (x - mean) * rstd * projection / n)`` of rows, or add it."""
    (batch, flags, w, *saved), b, wide = rest, strip.lanes.builder, strip.wide
    means, rstds, sums, projections = map(strip.read_doubles, saved)
    scales, n = _scales(strip, flags, w, rstds), strip.number(batch)
    apart = [-(scale * (s / n)) for scale, s in zip(scales, sums, strict=True)]
    along = [-(scale * (r * p / n)) for scale, r, p in zip(scales, rstds, projections, strict=True)]
    adds = strip.has(flags, ADDED)
    with count_loop(b, I64(0), rows, 1) as i:
        given = strip.read(dz(i)), strip.read(x(i)), strip.read(dx(i))
        found = []
        for d, v, before, mean, scale, one, other in zip(*given, means, scales, apart, along, strict=True):
            found.append(wide.select(adds, before, 0.0) + wide.fma(v - mean, other, wide.fma(d, scale, one)))
        strip.write(found, dx(i))


# moments_of(x; rows; ; mean, squares), of which the last two are written
moments_of = by_columns("moments_of", matrices=1, ints=1, pointers=0, doubles=2, formula=_moments)
# projections_of(dz, x; rows; ; sums, products, mean), of which the first two are written
projections_of = by_columns("projections_of", matrices=2, ints=1, pointers=0, doubles=3, formula=_projections)
# normal_of(x, a; rows, flags; w, b; mean, rstd)
normal_of = by_columns("normal_of", matrices=2, ints=2, pointers=2, doubles=2, formula=_normal)
# predicted_of(x, a; rows, flags; w, b, mean, variance; eps), of which the last is one for all columns
predicted_of = by_columns("predicted_of", matrices=2, ints=2, pointers=4, doubles=1, formula=_predicted)
# dx_of(dz, x, dx; rows, batch, flags; w; mean, rstd, sum, projection)
dx_of = by_columns("dx_of", matrices=3, ints=3, pointers=1, doubles=4, formula=_dx)


@kernel
def saved_of(frame, row, number):
    """Return where one of the numbers that are saved of columns stands."""
    return doubles_at(frame[WORK] + row[SAVED] + 8 * number * row[OUT])


@kernel
def block_of(frame, row, block):
    """Return where the two sums of a block of rows stand."""
    first = SAVED_OF_COLUMNS + 2 * block
    return saved_of(frame, row, first), saved_of(frame, row, first + 1)


@kernel
def flags_of(row, adds):
    """Return whether there are parameters, and whether a sum is added to what stands there."""
    return (AFFINE if row[DEPTH] > 0 else 0) | (ADDED if adds else 0)


def _part_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    ints = types.CPointer(i)
    return types.void(p, ints, ints, ints, i, i)


@shared(_part_types)
def moments_part(x, frame, row, span, pieces, piece):
    """Mean and sum of squares about it, of one piece's blocks of rows."""
    blocks = blocks_of(span[ROWS])
    source = input_of(x, frame, row, SOURCE, span[FIRST], span[ROWS])
    for block in range(share(blocks, 1, pieces, piece), share(blocks, 1, pieces, piece + 1)):
        first = block * BLOCK_ROWS
        mean, squares = block_of(frame, row, block)
        rows = min(BLOCK_ROWS, span[ROWS] - first)
        moments_of(source.element(first, 0), source.ld, row[OUT], rows, mean, squares)


@shared(_part_types)
def normal_part(x, frame, row, span, pieces, piece):
    """``A`` of one piece's rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    w, b = weights_of(x, frame, row).data, bias_of(x, frame, row)
    mean, rstd = saved_of(frame, row, MEAN), saved_of(frame, row, RSTD)
    normal_of(source.data, source.ld, a.data, a.ld, row[OUT], rows, flags_of(row, 0), w, b, mean, rstd)


@shared(_part_types)
def projections_part(x, frame, row, span, pieces, piece):
    """The sums of dZ and ``dZ * (X - mean)`` over one piece's blocks of rows."""
    blocks = blocks_of(span[ROWS])
    source = input_of(x, frame, row, SOURCE, span[FIRST], span[ROWS])
    dz = rows_at(x, frame, row, D, span[FIRST], span[ROWS])
    for block in range(share(blocks, 1, pieces, piece), share(blocks, 1, pieces, piece + 1)):
        first = block * BLOCK_ROWS
        sums, products = block_of(frame, row, block)
        rows = min(BLOCK_ROWS, span[ROWS] - first)
        of_x, of_dz, mean = source.element(first, 0), dz.element(first, 0), saved_of(frame, row, MEAN)
        projections_of(of_dz, dz.ld, of_x, source.ld, row[OUT], rows, sums, products, mean)


@shared(_part_types)
def dx_part(x, frame, row, span, pieces, piece):
    """``dX`` of one piece's rows, and g' where no other reader of the source comes after."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, dz = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, D, start, rows)
    dx, w = input_gradient_of(x, frame, row, SOURCE, start, rows), weights_of(x, frame, row).data
    mean, rstd = saved_of(frame, row, MEAN), saved_of(frame, row, RSTD)
    total, projection = saved_of(frame, row, SUM), saved_of(frame, row, PROJECTION)
    given = flags_of(row, row[FLAGS] & ADD)
    dx_of(
        dz.data, dz.ld, source.data, source.ld, dx.data, dx.ld, row[OUT], rows, span[ROWS], given, w, mean, rstd, total,
        projection,
    )  # fmt: skip
    if row[FLAGS] & LAST:
        apply_slope_of(x, frame, row, SOURCE, start, rows)


@kernel
def combine_moments(frame, row, rows):
    """Make mean, ``1 / sqrt(var + eps)`` and the unbiased variance of the batch from those of blocks."""
    n, eps = row[OUT], attribute_of(row, 0)
    mean, rstd = carray(saved_of(frame, row, MEAN), n), carray(saved_of(frame, row, RSTD), n)
    unbiased = carray(saved_of(frame, row, UNBIASED), n)
    mean[:], unbiased[:] = 0.0, 0.0
    for block in range(blocks_of(rows)):
        part, share_of_block = (
            carray(block_of(frame, row, block)[0], n),
            min(BLOCK_ROWS, rows - block * BLOCK_ROWS) / rows,
        )
        for j in range(n):
            mean[j] += share_of_block * part[j]
    for block in range(blocks_of(rows)):
        part, squares = block_of(frame, row, block)
        part, squares = carray(part, n), carray(squares, n)
        count = float(min(BLOCK_ROWS, rows - block * BLOCK_ROWS))
        for j in range(n):
            d = part[j] - mean[j]
            unbiased[j] += squares[j] + count * d * d
    for j in range(n):
        rstd[j] = 1.0 / math.sqrt(unbiased[j] / rows + eps)
        unbiased[j] /= rows - 1.0


@kernel
def sum_gradient(x, frame, row, span, tasks):
    """Write the sums over the batch of dZ and of ``dZ * N``, N what is multiplied by w."""
    n = row[OUT]
    projections_part(x, frame, row, span, worth(span[ROWS] * row[EFFORT], tasks), tasks)
    total, projection = carray(saved_of(frame, row, SUM), n), carray(saved_of(frame, row, PROJECTION), n)
    rstd = carray(saved_of(frame, row, RSTD), n)
    total[:], projection[:] = 0.0, 0.0
    for block in range(blocks_of(span[ROWS])):
        sums, products = block_of(frame, row, block)
        sums, products = carray(sums, n), carray(products, n)
        for j in range(n):
            total[j] += sums[j]
            projection[j] += products[j]
    for j in range(n):
        projection[j] *= rstd[j]


@op
def batch_norm_forward(x, frame, row, span, pieces, piece):
    """``A = (X - mean) / sqrt(var + eps) * w + b``, of the batch's mean and variance."""
    tasks = worth(span[ROWS] * row[EFFORT], pieces)
    moments_part(x, frame, row, span, tasks, pieces)
    combine_moments(frame, row, span[ROWS])
    normal_part(x, frame, row, span, tasks, pieces)


@op
def batch_norm_prediction(x, frame, row, span, pieces, piece):
    """``A = (X - running_mean) / sqrt(running_var + eps) * w + b``. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    w, b = weights_of(x, frame, row).data, bias_of(x, frame, row)
    mean, variance = buffer_of(x, row, RUNNING_MEAN), buffer_of(x, row, RUNNING_VAR)
    given, eps = flags_of(row, 0), doubles_at(address_of(at(row, ATTRIBUTES)))
    predicted_of(source.data, source.ld, a.data, a.ld, row[OUT], rows, given, w, b, mean, variance, eps)


@op
def batch_norm_input_gradient(x, frame, row, span, pieces, piece):
    """``dX``, added to what other readers of the source have written; and g' where none comes after."""
    if wants_gradient(frame, row, SOURCE):
        sum_gradient(x, frame, row, span, pieces)
        dx_part(x, frame, row, span, worth(span[ROWS] * row[EFFORT], pieces), pieces)


@op
def batch_norm_weight_gradient(x, frame, row, span, pieces, piece):
    """``dw`` and ``db``, which the input gradient has summed already where there is one."""
    if row[INPUT_GRADIENT] == NOTHING or not wants_gradient(frame, row, SOURCE):
        sum_gradient(x, frame, row, span, pieces)
    n, real = row[OUT], carray(x, 1).dtype.type
    dw, db = sums_of(x, frame, row, span)
    dw, db = carray(dw.data, n), carray(db, n)
    total, projection = carray(saved_of(frame, row, SUM), n), carray(saved_of(frame, row, PROJECTION), n)
    for j in range(n):
        dw[j], db[j] = real(projection[j]), real(total[j])


@op
def batch_norm_track(x, frame, row, span, pieces, piece):
    """``running = (1 - momentum) * running + momentum * found``, of the mean and the unbiased variance."""
    n, real = row[OUT], carray(x, 1).dtype.type
    batches = carray(pointer_to(row, address_of(buffer_of(x, row, BATCHES))), 1)
    batches[0] += 1
    momentum = attribute_of(row, 1)
    if momentum < 0.0:
        momentum = 1.0 / batches[0]
    for number, buffer in ((MEAN, RUNNING_MEAN), (UNBIASED, RUNNING_VAR)):
        found, running = carray(saved_of(frame, row, number), n), carray(buffer_of(x, row, buffer), n)
        for j in range(n):
            running[j] = real((1.0 - momentum) * running[j] + momentum * found[j])
