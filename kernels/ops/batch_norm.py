"""Batch normalization: ``A = (X - mean) / sqrt(var + eps) * w + b``, mean and variance of each column of a batch.

With ``r = 1 / sqrt(var + eps)`` and ``N = (X - mean) * r``, of a column of n rows:
``dX = w * r * (dZ - sum(dZ) / n - N * sum(dZ * N) / n)``, ``dw = sum(dZ * N)`` and ``db = sum(dZ)``.

Rows are coupled by sums alone. They are made of each block of rows, and those of the blocks are added up in their order
before the rows go on. In a prediction mean and variance are those of the running statistics.
"""

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
from .batch_norm_columns import (
    ADDED,
    AFFINE,
    dx_of,
    joined,
    joined_back,
    moments_of,
    normal_of,
    predicted_dx_of,
    predicted_of,
    projections_of,
)
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
def batch_norm_prediction_gradient(x, frame, row, span, pieces, piece):
    """``dX = dZ * w / sqrt(running_var + eps)`` of a prediction, added to what others have written; and g'.

    A piece is some rows.
    """
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = rows_of_piece(span, pieces, piece)
    dz, dx = rows_at(x, frame, row, D, start, rows), input_gradient_of(x, frame, row, SOURCE, start, rows)
    w, variance, given = weights_of(x, frame, row).data, buffer_of(x, row, RUNNING_VAR), flags_of(row, row[FLAGS] & ADD)
    predicted_dx_of(dz.data, dz.ld, dx.data, dx.ld, row[OUT], rows, given, w, variance, eps_of(row))
    if row[FLAGS] & LAST:
        apply_slope_of(x, frame, row, SOURCE, start, rows)


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
