"""A chain of dense layers whose weights stand as PyTorch's do, (out, in) row by row, wherever the caller keeps them.

The ops are those of a network's plan, with weights that are TURNED. A plan is written for each call, at the beginning
of the workspace, because all places change from call to call: a table has what stays. All arrays are given by
addresses, because an array as an argument costs a quarter of a microsecond.
"""

from numba import types

from ..compile.functions import entry, kernel
from ..compile.outlined import outlined
from ..compile.pointers import at, pointer_to
from ..compile.records import INT, INTS, POINTER, record
from ..compile.region import shared
from ..compile.signature import Int, Ints, Ints2, Reals
from ..linalg.matrix import through
from ..linalg.tasks import MOVED, share, worth
from ..ops.call import FIRST, PLACE, ROWS, new_span, row_at, table_of
from ..ops.operands import rows_at
from .batch import copy_row
from .frame import DX, FRAME_SIZE, GRADS, LAYERS, PARAMS, PLAN, WORK
from .passes import backward_pass
from .plan import (
    ABSENT,
    APPLY_SLOPE,
    COLUMNS,
    DB,
    DW,
    INPUT_GRADIENT,
    NOTHING,
    OUT,
    PARTIALS,
    SLOPE,
    WEIGHT_GRADIENT,
    A,
    B,
    D,
    W,
)
from .segments import run_forward

new_frame = table_of(FRAME_SIZE)


# A call of PyTorch's: `table` is the plan of the chain, of `layers` rows; params, x, work and out are addresses; `like`
# is any pointer to elements of `size` bytes.
Call = record(
    "Call", like=POINTER, size=INT, table=INTS, layers=INT, params=INT, places=INTS, x=INT, batch=INT, work=INT, out=INT
)
# What the way back has besides: addresses, and the places of the gradients
Back = record("Back", like=POINTER, dout=INT, grads=INT, places=INTS, dx=INT, turns=INT, partials=INT)


@kernel
def start_chain(frame, call):
    """Write the plan of a call at the beginning of its workspace, and the frame."""
    frame[PLAN], frame[LAYERS], frame[PARAMS], frame[WORK] = call.work, call.layers, call.params, call.work
    frame[GRADS], frame[DX] = 0, 0
    begin, each = call.layers * COLUMNS * 8, call.batch * call.size
    for i in range(call.layers):
        row, kept = row_at(frame, i), at(call.table, i * COLUMNS)
        for column in range(COLUMNS):
            row[column] = kept[column]
        row[W], row[B] = call.places[2 * i], call.places[2 * i + 1]
        row[A], row[SLOPE] = begin + kept[A] * each, begin + kept[SLOPE] * each
    row_at(frame, call.layers - 1)[A] = call.out - call.work


def _slope_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, p, types.CPointer(i), i, i, i)


@shared(_slope_types)
def last_slope(da, out, frame, batch, tasks, task):
    """One task's rows of ``dZ = dA * g'`` of the last layer, of whose output the caller has both, without room."""
    start, stop = share(batch, 1, tasks, task), share(batch, 1, tasks, task + 1)
    row = row_at(frame, frame[LAYERS] - 1)
    dz, slope = rows_at(da, frame, row, D, start, stop - start), rows_at(da, frame, row, SLOPE, start, stop - start)
    c = start * dz.cols
    copy_row(at(da, c), dz.data, dz.rows * dz.cols)
    through(row[APPLY_SLOPE], dz, at(out, c), slope.data)


def _forward_types(dtype):
    return types.void(Call.of(dtype), types.int64)


@outlined(_forward_types)
def forward_of_chain(call, tasks):
    """`chain_forward`, on pointers."""
    frame, span = new_frame(call.table), new_span(call.table)
    start_chain(frame, call)
    span[FIRST], span[ROWS], span[PLACE] = 0, call.batch, 0
    run_forward(pointer_to(call.like, call.x), frame, -1, call.layers, span, tasks)


def _backward_types(dtype):
    return types.void(Call.of(dtype), Back.of(dtype), types.int64)


@outlined(_backward_types)
def backward_of_chain(call, back, tasks):
    """`chain_backward`, on pointers."""
    frame, last = new_frame(call.table), call.layers - 1
    start_chain(frame, call)
    frame[GRADS], frame[DX] = back.grads, back.dx
    for i in range(call.layers):
        row = row_at(frame, i)
        row[DW], row[DB] = back.places[2 * i], back.places[2 * i + 1]
        row[PARTIALS] = back.partials - call.work
        row[D] = back.turns - call.work + call.table[i * COLUMNS + D] * call.batch * call.size
        if row[DW] == ABSENT and row[DB] == ABSENT:
            row[WEIGHT_GRADIENT] = NOTHING
    if back.dx == 0:  # no need to go below the first layer of which a gradient is wanted
        i = 0
        while i < last and row_at(frame, i)[WEIGHT_GRADIENT] == NOTHING:
            row_at(frame, i)[INPUT_GRADIENT] = NOTHING
            i += 1
        row_at(frame, i)[INPUT_GRADIENT] = NOTHING
    row = row_at(frame, last)
    if row[APPLY_SLOPE] == 0:
        row[D] = back.dout - call.work
    else:
        dout, out = pointer_to(call.like, back.dout), pointer_to(call.like, call.out)
        last_slope(dout, out, frame, call.batch, worth(MOVED * call.batch * row[OUT], tasks), tasks)
    backward_pass(pointer_to(call.like, call.x), frame, call.batch, False, tasks)


@entry
def chain_forward(  # addresses as PyTorch has them
    table: Ints2, like: Reals, params: Int, places: Ints, x: Int, batch: Int, work: Int, out: Int, tasks: Int
) -> None:
    """Run a chain: ``A = g(X @ W.T + b)``, layer by layer.

    table : (layers, COLUMNS) int64, read: one of the plans of `chain_plan.make_chain`
    like : any array of the element type
    params : address from which `places` are counted, read
    places : (2 * layers) int64, read: where each layer's W and b are, ABSENT for no b
    x : address of (batch, in_features), read
    work : address of room for a plan, and for what is kept or the two buffers, of each row; written
    out : address of (batch, out_features), written

    One task owns a block of a layer's output.
    """
    layers = table.shape[0]
    call = Call(at(like, 0), like.itemsize, at(table, 0), layers, params, at(places, 0), x, batch, work, out)
    forward_of_chain(call, tasks)


@entry
def chain_backward(  # addresses as PyTorch has them
    table: Ints2,
    like: Reals,
    params: Int,
    places: Ints,
    x: Int,
    batch: Int,
    work: Int,
    out: Int,
    dout: Int,
    grads: Int,
    grad_places: Ints,
    dx: Int,
    turns: Int,
    partials: Int,
    tasks: Int,
) -> None:
    """Compute a chain's gradients: ``dW = dZ.T @ X``, ``db = dZ.sum(0)``, ``dX = dZ @ W``, from the last layer down.

    table : the plan that is kept
    like, params, places, x, batch, work, out : as `chain_forward` had them, and left them
    dout : address of the gradient of the output, (batch, out_features), read
    grads, grad_places : the same for the gradients, written: dW as W, db as b; ABSENT where one is not wanted
    dx : address of (batch, in_features), written; 0 where it is not wanted
    turns : address of room for the two buffers, of each row, written
    partials : address of room for `chain_plan.chain_partials` elements, written

    One task owns a block of dX or of dW. A small dW over a large batch is summed in fixed chunks of the batch.
    """
    layers = table.shape[0]
    call = Call(at(like, 0), like.itemsize, at(table, 0), layers, params, at(places, 0), x, batch, work, out)
    backward_of_chain(call, Back(at(like, 0), dout, grads, at(grad_places, 0), dx, turns, partials), tasks)
