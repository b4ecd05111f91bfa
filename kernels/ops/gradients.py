"""The gradient of a bias, which weight gradients of several kinds end with."""

from ..compile.functions import kernel
from ..linalg.matrix import Matrix
from ..linalg.tasks import share
from ..run.plan import OUT, B
from ..simd.columns import column_sums
from ..simd.modes import ACCUMULATE
from .call import BATCH, MODE, PART, PART_END, PARTS, UPDATES
from .operands import update_of


@kernel
def add_bias_gradient(x, frame, row, span, dz, db, first):
    """Sum ``db = dZ.sum(0)``, part after part of a batch, for columns from `first` on; and update the bias."""
    batch, parts = span[BATCH], span[PARTS]
    start = share(batch, 1, parts, span[PART])
    for part in range(span[PART], span[PART_END]):
        rows = dz.rows_of(share(batch, 1, parts, part) - start, share(batch, 1, parts, part + 1) - start)
        column_sums(rows.data, rows.ld, rows.rows, rows.cols, db, part > span[PART] or span[MODE] & ACCUMULATE != 0)
    if span[UPDATES]:
        update = update_of(x, frame, row[B], 0, True).moved(first, 0)
        update.run(Matrix(db, row[OUT], 1, dz.cols, 0))
