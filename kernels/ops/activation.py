"""An activation on its own: ``A = g(X)``. Who writes its dz has applied g', so that ``dX = dZ``."""

from ..linalg.matrix import through
from ..run.plan import ACTIVATE, ADD, FINISH, LAST, SLOPE, SOURCE, A
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.modes import RECTIFY
from .call import op
from .operands import input_of, rows_at, rows_of_piece
from .residual import copied, pass_gradient


def _rectified(v: Lanes, x: Vec) -> Vec:
    return v.maximum(x, 0.0)


rectified = lanewise(_rectified, reads=1, writes=1)


@op
def activation_forward(x, frame, row, span, pieces, piece):
    """``A = g(X)``, and g'(X) where the activation stores it. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    for i in range(rows):
        if row[FINISH] & RECTIFY:
            rectified(source.element(i, 0), a.element(i, 0), a.cols)
        else:
            copied(source.element(i, 0), a.element(i, 0), a.cols)
    through(row[ACTIVATE], a, a.data, rows_at(x, frame, row, SLOPE, start, rows).data)


@op
def activation_input_gradient(x, frame, row, span, pieces, piece):
    """``dX = dZ``, added to what other readers have written, and g' of the source. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    pass_gradient(x, frame, row, start, rows, SOURCE, ADD, LAST)
