"""The phases of a training step one by one, for a loss and gradients computed by hand: forward, backward, update.

They leave the same gradients, and parameters, as a step does, to the bit.
"""

from numba import types

from ..compile.functions import entry, kernel
from ..compile.outlined import outlined
from ..compile.pointers import at, pointer_to
from ..compile.region import shared
from ..compile.signature import Int, Ints, Reals, Reals2
from ..linalg.matrix import through
from ..ops.call import members_of, row_at
from ..ops.operands import rows_at
from .batch import Batch, as_it_stands, copy_row
from .frame import COUNTER, LAYERS, LAYOUT, SETTINGS
from .gradients import add_all_chunks, chunks_of
from .groups import begin_update
from .passes import Chunks, backward_pass, most_pieces, pass_over_weights, worth_sharing
from .plan import APPLY_SLOPE, BY_ROWS, LAST_JOINT, SLOPE, A, D
from .segments import (
    BACK,
    FORTH,
    Segment,
    backward_from_last,
    forward_to_last,
    piece_of_rows,
    task_of_rows,
)
from .train import finish_step


@kernel
def is_by_rows(frame):
    """Return whether training goes by rows, see `passes`."""
    return pointer_to(frame, frame[LAYOUT])[BY_ROWS] != 0


@kernel
def rows_of_members(frame, batch, pieces, piece):
    """Return which rows of the output a task has: the first, and where they end."""
    members, (first, stop) = members_of(frame), task_of_rows(frame, batch.rows, pieces, piece)
    return first * members, stop * members


def _types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(Batch.of(dtype), p, types.CPointer(i), i, i, i, i)


@shared(_types)
def forward_rows(batch, out, frame, begin, tasks, pieces, piece):
    """One piece's rows of a batch through the last segment, and a copy of the last op's output.

    begin : the joint that the segment begins with
    tasks : into how many an operation is cut; 1 where the rows are shared out to several pieces
    """
    piece_of_rows(batch, frame, Segment(batch.x, begin, frame[LAYERS], FORTH), 0, batch.rows, tasks, pieces, piece)
    first, stop = rows_of_members(frame, batch, pieces, piece)
    z = rows_at(batch.x, frame, row_at(frame, frame[LAYERS] - 1), A, first, stop - first)
    for i in range(z.rows):
        copy_row(z.element(i, 0), at(out, (first + i) * z.cols), z.cols)


@shared(_types)
def backward_rows(batch, dout, frame, begin, tasks, pieces, piece):
    """One piece's rows from the gradient of the output to dz of the last op, and, by rows, of the last segment."""
    first, stop = rows_of_members(frame, batch, pieces, piece)
    row = row_at(frame, frame[LAYERS] - 1)
    d = rows_at(batch.x, frame, row, D, first, stop - first)
    for i in range(d.rows):
        copy_row(at(dout, (first + i) * d.cols), d.element(i, 0), d.cols)
    a, slope = rows_at(batch.x, frame, row, A, first, d.rows), rows_at(batch.x, frame, row, SLOPE, first, d.rows)
    through(row[APPLY_SLOPE], d, a.data, slope.data)
    if is_by_rows(frame):
        piece_of_rows(batch, frame, Segment(batch.x, begin, frame[LAYERS], BACK), 0, batch.rows, tasks, pieces, piece)


def _phase_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, p, types.CPointer(i), i, i)


@kernel
def pieces_of(frame, batch, tasks):
    """Return how many pieces of the rows there are, into how many tasks each op of one is cut, and those of weights."""
    if not is_by_rows(frame):
        return 1, tasks, tasks
    pieces = worth_sharing(frame, batch, False, tasks)
    return most_pieces(frame, batch, pieces), 1, pieces


@outlined(_phase_types)
def forward_phase(x, out, frame, batch, tasks):
    """`forward_batch`, on pointers."""
    whole, (pieces, inner, _) = as_it_stands(x, frame, batch), pieces_of(frame, batch, tasks)
    begin = forward_to_last(whole, frame, 0, batch, inner, pieces, tasks)
    forward_rows(whole, out, frame, begin, inner, pieces, tasks)


@outlined(_phase_types)
def backward_phase(x, dout, frame, batch, tasks):
    """`backward_batch`, on pointers."""
    whole, (row_pieces, inner, pieces) = as_it_stands(x, frame, batch), pieces_of(frame, batch, tasks)
    backward_rows(whole, dout, frame, pointer_to(frame, frame[LAYOUT])[LAST_JOINT], inner, row_pieces, tasks)
    if not is_by_rows(frame):
        backward_pass(x, frame, batch, False, tasks)
        return
    backward_from_last(whole, frame, 0, batch, inner, row_pieces, tasks)
    chunks = chunks_of(batch * members_of(frame))
    pass_over_weights(Chunks(x, batch, chunks, 0, chunks, 0), frame, pieces, tasks)
    add_all_chunks(x, frame, batch, False)


def _update_types(dtype):
    return types.void(types.CPointer(dtype), types.CPointer(types.int64), types.int64)


@outlined(_update_types)
def update_phase(like, frame, tasks):
    """`update_parameters`, on pointers."""
    begin_update(frame)
    finish_step(like, frame, tasks)
    pointer_to(frame, frame[SETTINGS])[COUNTER] += 1


@entry
def forward_batch(frame: Ints, x: Reals2, out: Reals2, tasks: Int) -> None:
    """Run all ops on x, (batch, in_features), and keep what the way back needs; out, (batch, out_features), is written.

    frame : ``Frame.addresses()``, with room for the batch
    """
    forward_phase(at(x, 0), at(out, 0), at(frame, 0), x.shape[0], tasks)


@entry
def backward_batch(frame: Ints, x: Reals2, dout: Reals2, tasks: Int) -> None:
    """Write all gradients from that of the output, (batch, out_features), after `forward_batch` of the same x.

    frame : with DX, the gradient of x is written there
    """
    backward_phase(at(x, 0), at(dout, 0), at(frame, 0), x.shape[0], tasks)


@entry
def update_parameters(frame: Ints, params: Reals, tasks: Int) -> None:
    """Run the hook and the optimizer's update of all parameters from their gradients."""
    update_phase(at(params, 0), at(frame, 0), tasks)
