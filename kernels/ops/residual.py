"""The sum of two outputs, ``A = X1 + X2``. On the way back both get its dz."""

from ..compile.functions import kernel
from ..run.plan import ADD, ADD2, FLAGS, LAST, LAST2, SOURCE, SOURCE2, A, D
from ..simd.lanes import Lanes, Vec, lanewise
from .call import op
from .operands import apply_slope_of, input_gradient_of, input_of, rows_at, rows_of_piece, wants_gradient


def _added(v: Lanes, x: Vec, y: Vec) -> Vec:
    return x + y


def _same(v: Lanes, x: Vec) -> Vec:
    return x


added = lanewise(_added, reads=2, writes=1)
copied = lanewise(_same, reads=1, writes=1)


@op
def residual_forward(x, frame, row, span, pieces, piece):
    """``A = X1 + X2``. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    one, two = input_of(x, frame, row, SOURCE, start, rows), input_of(x, frame, row, SOURCE2, start, rows)
    a = rows_at(x, frame, row, A, start, rows)
    for i in range(rows):
        added(one.element(i, 0), two.element(i, 0), a.element(i, 0), a.cols)


@op
def residual_input_gradient(x, frame, row, span, pieces, piece):
    """``dX1 = dX2 = dZ``, each added to what other readers have written, and g' of it. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    pass_gradient(x, frame, row, start, rows, SOURCE, ADD, LAST)
    pass_gradient(x, frame, row, start, rows, SOURCE2, ADD2, LAST2)


@kernel
def pass_gradient(x, frame, row, start, rows, source, add, last):  # which of two sources, and its flags
    """Give some rows of dz to a source."""
    if not wants_gradient(frame, row, source):
        return
    dz, dx = rows_at(x, frame, row, D, start, rows), input_gradient_of(x, frame, row, source, start, rows)
    for i in range(rows):
        if row[FLAGS] & add:
            added(dz.element(i, 0), dx.element(i, 0), dx.element(i, 0), dx.cols)
        else:
            copied(dz.element(i, 0), dx.element(i, 0), dx.cols)
    if row[FLAGS] & last:
        apply_slope_of(x, frame, row, source, start, rows)
