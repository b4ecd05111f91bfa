"""What weight gradients of several kinds have in common: that of a bias, and weights that each feature has one of."""

from ..compile.functions import kernel
from ..compile.pointers import lanes_of
from ..linalg.matrix import Matrix
from ..linalg.tasks import share
from ..run.plan import MEMBERS, OUT, SOURCE, B, D, W
from ..simd.columns import column_sums
from ..simd.modes import ACCUMULATE
from .call import BATCH, FIRST, MODE, PART, PART_END, PARTS, UPDATES
from .operands import input_of, rows_at, sums_of, update_of


@kernel
def add_parts(span, batch, unit, dz, db):
    """Sum ``db = dZ.sum(0)``, part after part of a batch that is cut at multiples of `unit` rows."""
    start = share(batch, unit, span[PARTS], span[PART])
    for part in range(span[PART], span[PART_END]):
        begin, end = share(batch, unit, span[PARTS], part), share(batch, unit, span[PARTS], part + 1)
        rows = dz.rows_of(begin - start, end - start)
        column_sums(rows.data, rows.ld, rows.rows, rows.cols, db, part > span[PART] or span[MODE] & ACCUMULATE != 0)


@kernel
def add_bias_gradient(x, frame, row, span, dz, db, first):
    """Sum ``db = dZ.sum(0)``, part after part of a batch, for columns from `first` on; and update the bias."""
    add_parts(span, span[BATCH], row[MEMBERS], dz, db)
    if span[UPDATES]:
        update = update_of(x, frame, row[B], 0, True).moved(first, 0)
        update.run(Matrix(db, row[OUT], 1, dz.cols, 0))


@kernel
def rows_to_sum(row, span):
    """Return how many rows of the workspace, from span[FIRST] on, a weight gradient is summed over."""
    begin = share(span[BATCH], row[MEMBERS], span[PARTS], span[PART])
    return share(span[BATCH], row[MEMBERS], span[PARTS], span[PART_END]) - begin


@kernel
def columns_of_piece(x, row, pieces, piece):
    """Return which columns a piece has, where each has some: the first, and where they end."""
    return share(row[OUT], lanes_of(x), pieces, piece), share(row[OUT], lanes_of(x), pieces, piece + 1)


@kernel
def columns_to_sum(x, frame, row, span, pieces, piece):
    """Return a piece's columns of X and of dZ, where the sums of their products go, and the first column."""
    rows, (j0, j1) = rows_to_sum(row, span), columns_of_piece(x, row, pieces, piece)
    source = input_of(x, frame, row, SOURCE, span[FIRST], rows).cols_of(j0, j1)
    dz = rows_at(x, frame, row, D, span[FIRST], rows).cols_of(j0, j1)
    return source, dz, sums_of(x, frame, row, span)[0].element(0, j0), j0


@kernel
def update_features(x, frame, row, span, sums, first, count):
    """Update the weights of some features, of which there is one each, from their gradients, if a span has UPDATES."""
    if span[UPDATES]:
        update = update_of(x, frame, row[W], 0, True).moved(first, 0)
        update.run(Matrix(sums, row[OUT], 1, count, 0))
