"""Batch normalization: ``A = (X - mean) / sqrt(var + eps) * w + b``, mean and variance of each column of a batch.

With ``r = 1 / sqrt(var + eps)`` and ``N = (X - mean) * r``, of a column of n rows:
``dX = w * r * (dZ - sum(dZ) / n - N * sum(dZ * N) / n)``, ``dw = sum(dZ * N)`` and ``db = sum(dZ)``.

Rows are coupled by sums alone. They are made of each block of rows, and those of the blocks are added up in their order
before the rows go on.

All is computed in float64 and rounded once where it is stored. The sum of squares of a block is about a mean of it that
is known by then, less the square of what that mean is off; those of blocks are put together about the mean of all
(Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983). So numbers far from 0 lose no digits.
"""

from typing import Any

from llvmlite import ir
from numba import carray

from ..compile.functions import kernel
from ..compile.pointers import address_of, at, doubles_at, pointer_to
from ..linalg.tasks import share
from ..run.frame import WORK
from ..run.plan import (
    ADD,
    ATTRIBUTES,
    DEPTH,
    FLAGS,
    INPUT_GRADIENT,
    LAST,
    NOTHING,
    OUT,
    SAVED,
    SOURCE,
    WEIGHT_GRADIENT,
    A,
    D,
)
from ..simd.lanes import I64, Variable, Vec, count_loop
from ..simd.strips import Strip, by_columns
from .call import FIRST, ROWS, op
from .kinds import batch_norm as _kind
from .kinds.batch_norm import (
    ALONG,
    APART,
    BATCHES,
    BLOCK_ROWS,
    MEAN,
    PROJECTION,
    RSTD,
    RUNNING_MEAN,
    RUNNING_VAR,
    SAVED_OF_COLUMNS,
    SCALE,
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


def _joined(
    strip: Strip, cols: ir.Value, rows: ir.Value, flags: ir.Value, w: ir.Value, eps: ir.Value, means: ir.Value,
    squares: ir.Value, *saved: ir.Value,
) -> None:  # fmt: skip
    """Write mean, ``1 / sqrt(var + eps)``, that times w and the unbiased variance of the batch from those of blocks."""
    b, wide = strip.lanes.builder, strip.wide
    n, k = strip.number(rows), len(strip.places)

    def of_block(block: ir.Value) -> Vec:
        left = b.sub(rows, b.mul(block, I64(BLOCK_ROWS)))
        return strip.number(b.select(b.icmp_signed("<", left, I64(BLOCK_ROWS)), left, I64(BLOCK_ROWS)))

    def weighted(block: ir.Value, sums: list[Vec]) -> list[Vec]:
        share_of_block = of_block(block) / n
        return [s + share_of_block * m for s, m in zip(sums, read_block(strip, means, block, cols), strict=True)]

    mean = over_blocks(strip, rows, k, weighted)

    def about(block: ir.Value, sums: list[Vec]) -> list[Vec]:
        count, found = of_block(block), read_block(strip, squares, block, cols)
        apart = [v - m for v, m in zip(read_block(strip, means, block, cols), mean, strict=True)]
        return [s + (square + count * d * d) for s, square, d in zip(sums, found, apart, strict=True)]

    total = over_blocks(strip, rows, k, about)
    shift = wide.splat(b.load(eps))
    rstd = [1.0 / wide.sqrt(s / n + shift) for s in total]
    scale = [weight * r for weight, r in zip(strip.read_if(flags, AFFINE, w, 1.0), rstd, strict=True)]
    unbiased = [s / (n - 1.0) for s in total]
    for numbers, place in zip((mean, rstd, scale, unbiased), saved, strict=True):
        strip.write_doubles(numbers, place)


def _joined_back(
    strip: Strip, cols: ir.Value, rows: ir.Value, sums: ir.Value, products: ir.Value, rstds: ir.Value, scales: ir.Value,
    *saved: ir.Value,
) -> None:  # fmt: skip
    """Write the sums over the batch of dZ and of ``dZ * N``, and the numbers of `_dx` that they make."""
    n, k = strip.number(rows), len(strip.places)

    def added(block: ir.Value, totals: list[Vec]) -> list[Vec]:
        found = [*read_block(strip, sums, block, cols), *read_block(strip, products, block, cols)]
        return [s + v for s, v in zip(totals, found, strict=True)]

    found, rstd, scale = over_blocks(strip, rows, 2 * k, added), strip.read_doubles(rstds), strip.read_doubles(scales)
    total, projection = found[:k], [s * r for s, r in zip(found[k:], rstd, strict=True)]
    apart = [-(f * (s / n)) for f, s in zip(scale, total, strict=True)]
    along = [-(f * (r * p / n)) for f, r, p in zip(scale, rstd, projection, strict=True)]
    for numbers, place in zip((total, projection, apart, along), saved, strict=True):
        strip.write_doubles(numbers, place)


def read_block(strip: Strip, first: ir.Value, block: ir.Value, cols: ir.Value) -> list[Vec]:
    """Read one of the two sums of a block; `first` is that of the first block."""
    b = strip.lanes.builder
    return strip.read_doubles(b.gep(first, [b.mul(block, b.mul(I64(2), cols))]))


def over_blocks(strip: Strip, rows: ir.Value, count: int, terms: Any) -> list[Vec]:
    """Return so many sums over the blocks of a batch, in their order: ``terms(block, sums)`` adds what one has."""
    b, wide = strip.lanes.builder, strip.wide
    totals = [Variable(wide, wide.constant(0.0)) for _ in range(count)]
    blocks = b.sdiv(b.add(rows, I64(BLOCK_ROWS - 1)), I64(BLOCK_ROWS))
    with count_loop(b, I64(0), blocks, 1) as block:
        for variable, value in zip(totals, terms(block, [variable.get() for variable in totals]), strict=True):
            variable.set(value)
    return [variable.get() for variable in totals]


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
    strip: Strip, x: Any, a: Any, rows: ir.Value, flags: ir.Value, b: ir.Value, mean: ir.Value, scale: ir.Value
) -> None:
    """Write ``a = (x - mean) * scale + b`` of rows, ``scale = rstd * w``."""
    _apply(strip, x, a, rows, flags, b, strip.read_doubles(mean), strip.read_doubles(scale))


def _predicted(
    strip: Strip, x: Any, a: Any, rows: ir.Value, flags: ir.Value, w: ir.Value, b: ir.Value, *running: ir.Value
) -> None:
    """Do the same with ``rstd = 1 / sqrt(variance + eps)``."""
    (mean, variance, eps), wide = running, strip.wide
    shift = wide.splat(strip.lanes.builder.load(eps))
    rstds = [1.0 / wide.sqrt(v + shift) for v in strip.read(variance)]
    scales = [weight * r for weight, r in zip(strip.read_if(flags, AFFINE, w, 1.0), rstds, strict=True)]
    _apply(strip, x, a, rows, flags, b, strip.read(mean), scales)


def _apply(
    strip: Strip, x: Any, a: Any, rows: ir.Value, flags: ir.Value, b: ir.Value, means: list[Vec], scales: list[Vec]
) -> None:
    biases = strip.read_if(flags, AFFINE, b, 0.0)
    with count_loop(strip.lanes.builder, I64(0), rows, 1) as i:
        values = zip(strip.read(x(i)), means, scales, biases, strict=True)
        strip.write([strip.wide.fma(v - mean, scale, bias) for v, mean, scale, bias in values], a(i))


def _dx(strip: Strip, dz: Any, x: Any, dx: Any, rows: ir.Value, flags: ir.Value, *saved: ir.Value) -> None:
    """Write ``dx = dz * scale + (x - mean) * along + apart`` of rows, or add it."""
    b, wide, numbers = strip.lanes.builder, strip.wide, [strip.read_doubles(place) for place in saved]

    def each_row(before: Any) -> None:
        with count_loop(b, I64(0), rows, 1) as i:
            found = []
            for d, v, s, mean, scale, apart, along in zip(
                strip.read(dz(i)), strip.read(x(i)), before(i), *numbers, strict=True
            ):
                found.append(s + wide.fma(v - mean, along, wide.fma(d, scale, apart)))
            strip.write(found, dx(i))

    with b.if_else(strip.has(flags, ADDED)) as (adds, sets):
        with adds:
            each_row(lambda i: strip.read(dx(i)))
        with sets:
            each_row(lambda i: [wide.constant(0.0)] * len(strip.places))


# moments_of(x; rows; ; mean, squares), of which the last two are written
moments_of = by_columns("moments_of", matrices=1, ints=1, pointers=0, doubles=2, formula=_moments)
# projections_of(dz, x; rows; ; sums, products, mean), of which the first two are written
projections_of = by_columns("projections_of", matrices=2, ints=1, pointers=0, doubles=3, formula=_projections)
# joined(; cols, rows, flags; w; eps, mean, squares; mean, rstd, scale, unbiased), of which the last four are written
joined = by_columns("joined", matrices=0, ints=3, pointers=1, doubles=7, formula=_joined)
# joined_back(; cols, rows; ; sums, products, rstd, scale; sum, projection, apart, along), likewise
joined_back = by_columns("joined_back", matrices=0, ints=2, pointers=0, doubles=8, formula=_joined_back)
# normal_of(x, a; rows, flags; b; mean, scale)
normal_of = by_columns("normal_of", matrices=2, ints=2, pointers=1, doubles=2, formula=_normal)
# predicted_of(x, a; rows, flags; w, b, mean, variance; eps), of which the last is one for all columns
predicted_of = by_columns("predicted_of", matrices=2, ints=2, pointers=4, doubles=1, formula=_predicted)
# dx_of(dz, x, dx; rows, flags; ; mean, scale, apart, along)
dx_of = by_columns("dx_of", matrices=3, ints=2, pointers=0, doubles=4, formula=_dx)


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


@kernel
def blocks_of_piece(span, pieces, piece):
    """Return which blocks of the batch's rows a piece of a span has: the first, and where they end."""
    first, blocks = span[FIRST] // BLOCK_ROWS, blocks_of(span[ROWS])
    return first + share(blocks, 1, pieces, piece), first + share(blocks, 1, pieces, piece + 1)


@kernel
def rows_of_block(span, block):
    """Return how many rows of a span a block has: BLOCK_ROWS, or what is left of the batch."""
    return min(BLOCK_ROWS, span[FIRST] + span[ROWS] - block * BLOCK_ROWS)


@kernel
def wants_sums(frame, row):
    """Return whether anything is made of the sums on the way back."""
    return row[WEIGHT_GRADIENT] != NOTHING or (row[INPUT_GRADIENT] != NOTHING and wants_gradient(frame, row, SOURCE))


@op
def batch_norm_sums(x, frame, row, span, pieces, piece):
    """Mean and sum of squares about it, of blocks of rows. A piece is some blocks."""
    first, stop = blocks_of_piece(span, pieces, piece)
    for block in range(first, stop):
        rows = rows_of_block(span, block)
        source = input_of(x, frame, row, SOURCE, block * BLOCK_ROWS, rows)
        mean, squares = block_of(frame, row, block)
        moments_of(source.data, source.ld, row[OUT], rows, mean, squares)


@op
def batch_norm_join(x, frame, row, span, pieces, piece):
    """Mean, ``1 / sqrt(var + eps)``, that times w and the unbiased variance, of a batch."""
    w, eps, (means, squares) = weights_of(x, frame, row).data, eps_of(row), block_of(frame, row, 0)
    mean, rstd = saved_of(frame, row, MEAN), saved_of(frame, row, RSTD)
    scale, unbiased = saved_of(frame, row, SCALE), saved_of(frame, row, UNBIASED)
    n, given = row[OUT], flags_of(row, 0)
    joined(n, n, span[ROWS], given, w, eps, means, squares, mean, rstd, scale, unbiased)


@op
def batch_norm_forward(x, frame, row, span, pieces, piece):
    """``A = (X - mean) / sqrt(var + eps) * w + b``, of the batch's mean and variance. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    b, mean, scale = bias_of(x, frame, row), saved_of(frame, row, MEAN), saved_of(frame, row, SCALE)
    normal_of(source.data, source.ld, a.data, a.ld, row[OUT], rows, flags_of(row, 0), b, mean, scale)


@kernel
def eps_of(row):
    """Return where eps stands."""
    return doubles_at(address_of(at(row, ATTRIBUTES)))


@op
def batch_norm_prediction(x, frame, row, span, pieces, piece):
    """``A = (X - running_mean) / sqrt(running_var + eps) * w + b``. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    w, b, given = weights_of(x, frame, row).data, bias_of(x, frame, row), flags_of(row, 0)
    mean, variance = buffer_of(x, row, RUNNING_MEAN), buffer_of(x, row, RUNNING_VAR)
    predicted_of(source.data, source.ld, a.data, a.ld, row[OUT], rows, given, w, b, mean, variance, eps_of(row))


@op
def batch_norm_sums_back(x, frame, row, span, pieces, piece):
    """The sums of dZ and ``dZ * (X - mean)`` over blocks of rows. A piece is some blocks."""
    if not wants_sums(frame, row):
        return
    first, stop = blocks_of_piece(span, pieces, piece)
    for block in range(first, stop):
        start, rows = block * BLOCK_ROWS, rows_of_block(span, block)
        source, dz = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, D, start, rows)
        (sums, products), mean = block_of(frame, row, block), saved_of(frame, row, MEAN)
        projections_of(dz.data, dz.ld, source.data, source.ld, row[OUT], rows, sums, products, mean)


@op
def batch_norm_join_back(x, frame, row, span, pieces, piece):
    """The sums over the batch of dZ and of ``dZ * N``, and what they make of dX."""
    if not wants_sums(frame, row):
        return
    (sums, products), rstd, scale = block_of(frame, row, 0), saved_of(frame, row, RSTD), saved_of(frame, row, SCALE)
    total, projection = saved_of(frame, row, SUM), saved_of(frame, row, PROJECTION)
    apart, along = saved_of(frame, row, APART), saved_of(frame, row, ALONG)
    n = row[OUT]
    joined_back(n, n, span[ROWS], sums, products, rstd, scale, total, projection, apart, along)


@op
def batch_norm_input_gradient(x, frame, row, span, pieces, piece):
    """``dX``, added to what other readers of the source have written; and g' where none comes after.

    A piece is some rows.
    """
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = rows_of_piece(span, pieces, piece)
    source, dz = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, D, start, rows)
    dx, given = input_gradient_of(x, frame, row, SOURCE, start, rows), flags_of(row, row[FLAGS] & ADD)
    mean, scale = saved_of(frame, row, MEAN), saved_of(frame, row, SCALE)
    apart, along = saved_of(frame, row, APART), saved_of(frame, row, ALONG)
    dx_of(
        dz.data, dz.ld, source.data, source.ld, dx.data, dx.ld, row[OUT], rows, given, mean, scale, apart, along
    )  # fmt: skip
    if row[FLAGS] & LAST:
        apply_slope_of(x, frame, row, SOURCE, start, rows)


@op
def batch_norm_weight_gradient(x, frame, row, span, pieces, piece):
    """``dw`` and ``db``, which are sums that are joined."""
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
