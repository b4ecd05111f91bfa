"""Gradients by the input alone: of a network's output along one direction of each row, or along each output."""

from numba import carray, types

from ..compile.functions import entry, kernel
from ..compile.outlined import outlined
from ..compile.pointers import address_of, at
from ..compile.records import INT, POINTER, record
from ..compile.region import shared
from ..compile.signature import Int, Ints, Reals2
from ..linalg.matrix import through
from ..linalg.tasks import share, worth
from ..ops.call import FIRST, PLACE, ROWS, members_of, new_span, row_at, table_of
from ..ops.operands import rows_at
from .batch import copy_row
from .frame import DX, FRAME_SIZE, LAYERS
from .passes import most_pieces
from .phases import is_by_rows
from .plan import APPLY_SLOPE, EFFORT, SLOPE, A, D
from .segments import run_backward, run_forward

new_frame = table_of(FRAME_SIZE)

# What is wanted: of x, `rows` rows of `ins` numbers, the gradients dx, (directions, rows, ins). Where one direction is
# `given`, dout has it for each row; else direction k is output k.
Wanted = record("Wanted", x=POINTER, dout=POINTER, dx=POINTER, rows=INT, ins=INT, directions=INT, given=INT)


@kernel
def start_backward(wanted, frame, k, first, rows):
    """Write dz of the last op along direction k, of some rows."""
    row, members = row_at(frame, frame[LAYERS] - 1), members_of(frame)
    first, rows = first * members, rows * members
    d = rows_at(wanted.x, frame, row, D, first, rows)
    for i in range(rows):
        if wanted.given:
            copy_row(at(wanted.dout, (first + i) * d.cols), d.element(i, 0), d.cols)
        else:
            of_d = carray(d.element(i, 0), d.cols)
            of_d[:] = 0
            if i % members == k // d.cols:
                of_d[k % d.cols] = 1
    a, slope = rows_at(wanted.x, frame, row, A, first, rows), rows_at(wanted.x, frame, row, SLOPE, first, rows)
    through(row[APPLY_SLOPE], d, a.data, slope.data)


def _types(dtype):
    i = types.int64
    return types.void(Wanted.of(dtype), types.CPointer(i), i, i, i)


@shared(_types)
def derive_rows(wanted, frame, tasks, pieces, piece):
    """One piece's rows forward once, and back for each direction.

    tasks : into how many an operation is cut; 1 where the rows are shared out to several pieces
    """
    first, stop = share(wanted.rows, 1, pieces, piece), share(wanted.rows, 1, pieces, piece + 1)
    if first == stop:
        return
    own, span = new_frame(frame), new_span(frame)  # the place of dx is another for each direction
    for i in range(FRAME_SIZE):
        own[i] = frame[i]
    span[FIRST], span[ROWS], span[PLACE] = first, stop - first, first
    run_forward(wanted.x, own, -1, own[LAYERS], span, tasks)
    for k in range(wanted.directions):
        own[DX] = address_of(at(wanted.dx, k * wanted.rows * wanted.ins))
        start_backward(wanted, own, k, first, stop - first)
        run_backward(wanted.x, own, -1, own[LAYERS], span, tasks)


def _phase_types(dtype):
    i = types.int64
    return types.void(Wanted.of(dtype), types.CPointer(i), i)


@outlined(_phase_types)
def derive(wanted, frame, tasks):
    """`input_gradients`, on pointers."""
    effort = 0
    for i in range(frame[LAYERS]):
        effort += row_at(frame, i)[EFFORT]
    if is_by_rows(frame):
        pieces = most_pieces(frame, wanted.rows, worth((1 + wanted.directions) * wanted.rows * effort, tasks))
        derive_rows(wanted, frame, 1, pieces, tasks)
    else:
        derive_rows(wanted, frame, tasks, 1, 1)


@entry
def input_gradients(frame: Ints, x: Reals2, dout: Reals2, dx: Reals2, tasks: Int) -> None:
    """Write gradients by x, (rows, ins), to dx, (directions * rows, ins); those of parameters are not made.

    frame : ``Frame.addresses()`` of a plan that `keeps` outputs, with room for the rows
    dout : (rows, outs), the one direction; with no columns, direction k is output k

    One task owns some rows, or the blocks of each op.
    """
    rows, ins = x.shape
    wanted = Wanted(at(x, 0), at(dout, 0), at(dx, 0), rows, ins, dx.shape[0] // rows, dout.shape[1] > 0)
    derive(wanted, at(frame, 0), tasks)
