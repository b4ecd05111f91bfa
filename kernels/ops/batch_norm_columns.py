"""What `batch_norm` computes column by column, in float64, and rounded once where it is stored.

The sum of squares of a block is about a mean of it that is known by then, less the square of what that mean is off;
those of blocks are put together about the mean of all (Chan, Golub and LeVeque, "Algorithms for computing the sample
variance", 1983). So numbers far from 0 lose no digits.
"""

from typing import Any

from llvmlite import ir

from ..simd.lanes import I64, Variable, Vec, count_loop
from ..simd.strips import Strip, by_columns
from .kinds.batch_norm import BLOCK_ROWS

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
    mean, variance, eps = running
    _apply(strip, x, a, rows, flags, b, strip.read(mean), _scales(strip, flags, w, variance, eps))


def _scales(strip: Strip, flags: ir.Value, w: ir.Value, variance: ir.Value, eps: ir.Value) -> list[Vec]:
    """Return ``w / sqrt(variance + eps)``."""
    shift = strip.wide.splat(strip.lanes.builder.load(eps))
    rstds = [1.0 / strip.wide.sqrt(v + shift) for v in strip.read(variance)]
    return [weight * r for weight, r in zip(strip.read_if(flags, AFFINE, w, 1.0), rstds, strict=True)]


def _apply(
    strip: Strip, x: Any, a: Any, rows: ir.Value, flags: ir.Value, b: ir.Value, means: list[Vec], scales: list[Vec]
) -> None:
    biases = strip.read_if(flags, AFFINE, b, 0.0)
    with count_loop(strip.lanes.builder, I64(0), rows, 1) as i:
        values = zip(strip.read(x(i)), means, scales, biases, strict=True)
        strip.write([strip.wide.fma(v - mean, scale, bias) for v, mean, scale, bias in values], a(i))


def _dx(strip: Strip, dz: Any, x: Any, dx: Any, rows: ir.Value, flags: ir.Value, *saved: ir.Value) -> None:
    """Write ``dx = dz * scale + (x - mean) * along + apart`` of rows, or add it."""
    numbers, fma = [strip.read_doubles(place) for place in saved], strip.wide.fma

    def of_row(i: ir.Value) -> list[Vec]:
        each = zip(strip.read(dz(i)), strip.read(x(i)), *numbers, strict=True)
        return [fma(v - mean, along, fma(d, scale, apart)) for d, v, mean, scale, apart, along in each]

    _write_or_add(strip, dx, rows, flags, of_row)


def _predicted_dx(
    strip: Strip, dz: Any, dx: Any, rows: ir.Value, flags: ir.Value, w: ir.Value, variance: ir.Value, eps: ir.Value
) -> None:
    """Write ``dx = dz * w / sqrt(variance + eps)`` of rows, or add it."""
    scales = _scales(strip, flags, w, variance, eps)
    _write_or_add(strip, dx, rows, flags, lambda i: [d * f for d, f in zip(strip.read(dz(i)), scales, strict=True)])


def _write_or_add(strip: Strip, dx: Any, rows: ir.Value, flags: ir.Value, of_row: Any) -> None:
    b, zeros = strip.lanes.builder, [strip.wide.constant(0.0)] * len(strip.places)
    with b.if_else(strip.has(flags, ADDED)) as branches:
        for branch, before in zip(branches, (lambda i: strip.read(dx(i)), lambda i: zeros), strict=True):
            with branch, count_loop(b, I64(0), rows, 1) as i:
                strip.write([s + v for s, v in zip(before(i), of_row(i), strict=True)], dx(i))


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


# predicted_dx_of(dz, dx; rows, flags; w, variance; eps)
predicted_dx_of = by_columns("predicted_dx_of", matrices=2, ints=2, pointers=2, doubles=1, formula=_predicted_dx)
