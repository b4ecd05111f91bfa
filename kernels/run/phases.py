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
from ..linalg.tasks import share
from ..ops.call import FIRST, PLACE, ROWS, new_span, row_at
from ..ops.operands import rows_at
from .frame import COUNTER, LAYERS, LAYOUT, SETTINGS
from .gradients import add_all_chunks, chunks_of
from .groups import begin_update
from .passes import (
    Chunks,
    backward_pass,
    copy_row,
    most_pieces,
    pass_over_weights,
    run_backward,
    run_forward,
    worth_sharing,
)
from .plan import APPLY_SLOPE, BY_ROWS, SLOPE, A, D
from .train import finish_step


@kernel
def is_by_rows(frame):
    """Return whether training goes by rows, see `passes`."""
    return pointer_to(frame, frame[LAYOUT])[BY_ROWS] != 0


def _types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, p, types.CPointer(i), i, i, i, i)


@shared(_types)
def forward_rows(x, out, frame, batch, tasks, pieces, piece):
    """One piece's rows of a batch through all ops, and a copy of the last one's output.

    tasks : into how many an operation is cut; 1 where the rows are shared out to several pieces
    """
    first, stop = share(batch, 1, pieces, piece), share(batch, 1, pieces, piece + 1)
    if first == stop:
        return
    span = new_span(frame)
    span[FIRST], span[ROWS], span[PLACE] = first, stop - first, first
    run_forward(x, frame, span, tasks)
    z = rows_at(x, frame, row_at(frame, frame[LAYERS] - 1), A, first, stop - first)
    for i in range(z.rows):
        copy_row(z.element(i, 0), at(out, (first + i) * z.cols), z.cols)


@shared(_types)
def backward_rows(x, dout, frame, batch, tasks, pieces, piece):
    """One piece's rows of a batch from the gradient of the output to dz of the last op, and, by rows, of all ops."""
    first, stop = share(batch, 1, pieces, piece), share(batch, 1, pieces, piece + 1)
    if first == stop:
        return
    row = row_at(frame, frame[LAYERS] - 1)
    d = rows_at(x, frame, row, D, first, stop - first)
    for i in range(d.rows):
        copy_row(at(dout, (first + i) * d.cols), d.element(i, 0), d.cols)
    a, slope = rows_at(x, frame, row, A, first, d.rows), rows_at(x, frame, row, SLOPE, first, d.rows)
    through(row[APPLY_SLOPE], d, a.data, slope.data)
    if is_by_rows(frame):
        span = new_span(frame)
        span[FIRST], span[ROWS], span[PLACE] = first, stop - first, first
        run_backward(x, frame, span, tasks)


def _phase_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, p, types.CPointer(i), i, i)


@outlined(_phase_types)
def forward_phase(x, out, frame, batch, tasks):
    """`forward_batch`, on pointers."""
    if is_by_rows(frame):
        pieces = most_pieces(batch, worth_sharing(frame, batch, False, tasks))
        forward_rows(x, out, frame, batch, 1, pieces, tasks)
    else:
        forward_rows(x, out, frame, batch, tasks, 1, 1)


@outlined(_phase_types)
def backward_phase(x, dout, frame, batch, tasks):
    """`backward_batch`, on pointers."""
    if not is_by_rows(frame):
        backward_rows(x, dout, frame, batch, tasks, 1, 1)
        backward_pass(x, frame, batch, False, tasks)
        return
    pieces = worth_sharing(frame, batch, False, tasks)
    backward_rows(x, dout, frame, batch, 1, most_pieces(batch, pieces), tasks)
    chunks = chunks_of(batch)
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
