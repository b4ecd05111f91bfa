"""The way of a batch's rows through a plan, forward and back, in segments that each task goes through on its own.

A row of the plan whose op couples the rows of a batch is a *joint*: it needs sums over all of them before one may go
on, forward and back. Joints cut the plan into segments; a plan without joints is one. Forward, a task takes its rows
through all ops of a segment and makes their part of the sums for the joint behind it. When all tasks have done so, the
caller joins these sums, and the next segment begins with the joint's op. The way back is the same from joint to joint.
"""

from numba import types

from ..compile.functions import kernel
from ..compile.outlined import outlined
from ..compile.pointers import address_of, at, doubles_at, pointer_to
from ..compile.records import INT, POINTER, record
from ..compile.region import one_piece, shared
from ..linalg.tasks import share
from ..losses.compiled import ELEMENT_WORK
from ..losses.registry import IGNORE_INDEX
from ..ops.call import (
    FIRST,
    GRADIENT,
    INTO,
    LABELS,
    PLACE,
    ROWS,
    WIDTH,
    call_op,
    new_span,
    row_at,
    run_op,
    run_row,
)
from ..ops.call import TARGETS as SPAN_TARGETS
from .batch import Batch, as_row_zero, blank_ignored, couples, gather, rows_of_batch
from .chunks import COUPLED_ROWS, ROWS_AT_ONCE
from .frame import DX, LAYERS, LAYOUT, OPTIONS, RUN_LOSS, SETTINGS, TARGETS_INPUT, WORK, X_INPUT
from .plan import (
    BATCH_ROWS,
    BY_ROWS,
    FIRST_JOINT,
    FORWARD,
    INPUT_GRADIENT,
    JOIN,
    JOIN_BACK,
    LAST_JOINT,
    NOTHING,
    OUT,
    SOURCE,
    SOURCE2,
    SUMS,
    SUMS_BACK,
    TARGETS,
    TRACK,
    WEIGHT_GRADIENT,
)

# What is done with a segment, a sum of these: its ops forward; the loss, behind the last one; and its dz
FORTH, LOSS, BACK = 1, 2, 4
ALL = FORTH | LOSS | BACK
# What is between two joints, `begin` and `end`: -1 at the beginning of the plan, LAYERS at its end. Forward its ops are
# those of rows `begin` to before `end`, back those of rows `end` to behind `begin`. like: any pointer to elements
Segment = record("Segment", like=POINTER, begin=INT, end=INT, ways=INT)


@kernel
def joint_above(frame, i):
    """Return the next joint of a plan above row i, the number of its rows if there is none."""
    i += 1
    while i < frame[LAYERS] and row_at(frame, i)[JOIN] == NOTHING:
        i += 1
    return i


@kernel
def joint_below(frame, i):
    """Return the next joint below row i, -1 if there is none."""
    i -= 1
    while i >= 0 and row_at(frame, i)[JOIN] == NOTHING:
        i -= 1
    return i


@kernel
def run_forward(x, frame, begin, end, span, tasks):
    """Run a segment's ops forward, and make the sums that the joint behind it needs."""
    for i in range(max(begin, 0), end):
        run_row(FORWARD, x, frame, i, span, tasks)
    if end < frame[LAYERS]:
        run_row(SUMS, x, frame, end, span, tasks)


@kernel
def run_backward(x, frame, begin, end, span, tasks):
    """Compute all dz of a segment from those above, and make the sums that the joint before it needs."""
    for i in range(min(end, frame[LAYERS] - 1), begin, -1):
        run_input_gradient(x, frame, i, span, tasks)
    if begin >= 0:
        run_row(SUMS_BACK, x, frame, begin, span, tasks)


@kernel
def run_input_gradient(x, frame, i, span, tasks):
    """Compute the gradients of what row i of the plan reads; that of the batch only where it is wanted."""
    row = row_at(frame, i)
    if max(row[SOURCE], row[SOURCE2]) != BATCH_ROWS or frame[DX] != 0:
        run_row(INPUT_GRADIENT, x, frame, i, span, tasks)


@kernel
def join(x, frame, i, rows):
    """Put together the sums that a joint has of all rows of a batch, on the way forward."""
    row, span = row_at(frame, i), new_span(frame)
    span[FIRST], span[ROWS], span[PLACE] = 0, rows, 0
    call_op(row[JOIN], x, frame, row, span, 1, 0)


@kernel
def join_back(x, frame, i, rows):
    """Put together those of the way back: the gradients of the joint's parameters among them.

    What its op has found of the batch is taken into its buffers: here the step is known to be made.
    """
    row, span = row_at(frame, i), new_span(frame)
    span[FIRST], span[ROWS], span[PLACE], span[INTO] = 0, rows, 0, GRADIENT
    call_op(row[JOIN_BACK], x, frame, row, span, 1, 0)
    for column in (WEIGHT_GRADIENT, TRACK):
        if row[column] != NOTHING:
            call_op(row[column], x, frame, row, span, 1, 0)


def _rows_types(dtype):
    i = types.int64
    return types.void(Batch.of(dtype), types.CPointer(i), Segment.of(dtype), i, i, i, i)


@outlined(_rows_types)
def rows_through(batch, frame, segment, start, rows, first, tasks):
    """Take some rows of a batch through a segment.

    start, rows, first : rows `start` on of the batch are rows `first` on of the workspace
    """
    layout, settings = pointer_to(frame, frame[LAYOUT]), pointer_to(frame, frame[SETTINGS])
    source, labels, targets = rows_of_batch(batch, frame, start, first), at(batch.labels, start), batch.targets
    if segment.ways & FORTH and segment.begin < 0 and (batch.gathers or batch.ignores):
        gather(batch, batch.x, frame[X_INPUT], batch.columns, start, rows, source)
        if batch.ignores and not couples(frame):
            blank_ignored(source, batch.columns, labels, doubles_at(frame[OPTIONS])[IGNORE_INDEX], rows)
    x, span = as_row_zero(source, batch, first), new_span(frame)
    span[FIRST], span[ROWS], span[PLACE] = first, rows, start
    if segment.ways & FORTH:
        run_forward(x, frame, segment.begin, segment.end, span, tasks)
    if segment.ways & LOSS:
        if batch.gathers and batch.width > 0:
            targets = at(pointer_to(batch.x, frame[WORK] + layout[TARGETS]), first * batch.width)
            gather(batch, batch.targets, frame[TARGETS_INPUT], batch.width, start, rows, targets)
        else:
            targets = at(targets, start * batch.width)
        span[LABELS], span[SPAN_TARGETS], span[WIDTH] = address_of(labels), address_of(targets), batch.width
        row = row_at(frame, frame[LAYERS] - 1)
        run_op(settings[RUN_LOSS], x, frame, row, span, ELEMENT_WORK * rows * row[OUT], tasks)
    if segment.ways & BACK:
        run_backward(x, frame, segment.begin, segment.end, span, tasks)


@kernel
def task_of_rows(frame, rows, pieces, piece):
    """Return which rows a task has, the first and where they end: whole blocks where the network couples them."""
    unit = COUPLED_ROWS if couples(frame) else 1
    return share(rows, unit, pieces, piece), share(rows, unit, pieces, piece + 1)


@kernel
def rows_at_once(frame, rows):
    """Return how many of a task's rows go through a segment at a time: all, unless the whole batch waits at joints."""
    return ROWS_AT_ONCE if couples(frame) and pointer_to(frame, frame[LAYOUT])[BY_ROWS] else rows


def _pass_types(dtype):
    i = types.int64
    return types.void(Batch.of(dtype), types.CPointer(i), Segment.of(dtype), i, i, i, i, i)


@shared(_pass_types)
def pass_over_rows(batch, frame, segment, start, rows, tasks, pieces, piece):
    """One piece's share of some rows of a batch through a segment.

    start, rows : which rows of the batch; in the workspace they begin with the first
    tasks : into how many an operation is cut; 1 where the rows are shared out to several pieces
    """
    first, stop = task_of_rows(frame, rows, pieces, piece)
    while first < stop:
        count = min(stop - first, rows_at_once(frame, rows))
        rows_through(batch, frame, segment, start + first, count, first, tasks)
        first += count


# The same as one piece of a task that has more to do with them
piece_of_rows = one_piece(pass_over_rows)


@kernel
def forward_to_last(batch, frame, start, rows, tasks, pieces, threads):
    """Take some rows of a batch through all segments but the last; return the joint that the last begins with."""
    begin, end = -1, pointer_to(frame, frame[LAYOUT])[FIRST_JOINT]
    while end < frame[LAYERS]:
        pass_over_rows(batch, frame, Segment(batch.x, begin, end, FORTH), start, rows, tasks, pieces, threads)
        join(batch.x, frame, end, rows)
        begin, end = end, joint_above(frame, end)
    return begin


@kernel
def backward_from_last(batch, frame, start, rows, tasks, pieces, threads):
    """Take some rows back through all segments but the last."""
    end = pointer_to(frame, frame[LAYOUT])[LAST_JOINT]
    while end >= 0:
        join_back(batch.x, frame, end, rows)
        begin = joint_below(frame, end)
        pass_over_rows(batch, frame, Segment(batch.x, begin, end, BACK), start, rows, tasks, pieces, threads)
        end = begin
