"""The passes of a training step over a plan: over the rows of a batch, and over the weights.

A small network goes *by rows*. A task takes some rows through everything that concerns them alone: all ops forward,
the loss, and all dz backward. Then a task takes a block of each op's weight gradient. So a step is shared out twice,
not for each operation, and what a task reads in the first pass it has written itself.

The weights of a large network would not stay in a core's cache. There each operation is shared out, op after op,
and a layer's dz takes the place of the output above it.
"""

from numba import carray, types

from ..compile.functions import kernel
from ..compile.outlined import outlined
from ..compile.pointers import address_of, at, doubles_at, pointer_to
from ..compile.records import INT, INTS, POINTER, record
from ..compile.region import shared
from ..inputs.call import Reading, read
from ..inputs.registry import READ
from ..linalg.product import PACK_ROWS
from ..linalg.tasks import TASK_WORK, share, worth
from ..losses.compiled import ELEMENT_WORK
from ..losses.registry import IGNORE_INDEX
from ..ops.call import (
    BATCH,
    FIRST,
    GRADIENT,
    INTO,
    LABELS,
    MODE,
    PART,
    PART_END,
    PARTS,
    PLACE,
    ROWS,
    UPDATES,
    WIDTH,
    call_op,
    new_span,
    row_at,
    run_op,
    run_row,
)
from ..ops.call import TARGETS as SPAN_TARGETS
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.microkernel import TILE_ROWS
from ..simd.modes import ACCUMULATE, TAKE
from .chunks import ROWS_AT_ONCE
from .frame import DX, LAYERS, LAYOUT, OPTIONS, RUN_LOSS, SETTINGS, TARGETS_INPUT, WORK, X_INPUT
from .gradients import add_chunks, blocks_of, chunks_of, gradient_chunks, gradient_of_chunks
from .plan import (
    ACROSS,
    BATCH_ROWS,
    BY_ROWS,
    COUPLES,
    DEPTH,
    EFFORT,
    EXCHANGED,
    FLAGS,
    FORWARD,
    INPUT_GRADIENT,
    NOTHING,
    OUT,
    SOURCE,
    SOURCE2,
    TARGETS,
    TRACK,
    WEIGHT_GRADIENT,
    WHOLE,
    X,
)

# Fewer rows do not repay that each piece reads all weights.
FEWEST_ROWS = 2 * TILE_ROWS
# In the time that a number takes from one core's cache to another's, there and back, a core does so many operations. It
# comes in a line of sixteen, in three nanoseconds on one CPU and ten on another, most of them while it computes; who
# calls finds out whether one thread is faster after all (`fastbp._base.pace`).
EXCHANGE = 15

# A batch of `rows` rows. x, targets: of the batch, or of all samples where it `gathers`: then `order` says which of
# them the batch is. x has `columns`, targets `width` numbers a row. labels: of the batch; `ignores` says whether one
# of them is ignored.
Batch = record(
    "Batch", x=POINTER, columns=INT, labels=INTS, targets=POINTER, width=INT, order=INTS, gathers=INT, ignores=INT,
    rows=INT,
)  # fmt: skip


def _copied(v: Lanes, x: Vec) -> Vec:
    return x


copy_row = lanewise(_copied, reads=1, writes=1)


@kernel
def gather(batch, x, source, width, start, rows, out):
    """Write some rows of a batch, `width` numbers each, to `out`.

    x, source : where they come from, an array or the address of an input, 0 for none. A batch as it stands is in x.
    """
    if batch.gathers and source != 0:
        table = pointer_to(batch.order, source)
        read(table[READ], Reading(out, width, batch.order, 1, start, rows), table)
        return
    for i in range(rows):
        row = batch.order[start + i] if batch.gathers else start + i
        copy_row(at(x, row * width), at(out, i * width), width)


@kernel
def blank_ignored(x, width, labels, ignore_index, rows):
    """Make zeros of the rows of x whose label is ignored: a NaN in one would be 0 * NaN in the weights' gradients."""
    for i in range(rows):
        if labels[i] == ignore_index:
            carray(at(x, i * width), width)[:] = 0


@kernel
def rows_of_batch(batch, frame, start, first):
    """Return where rows `start` on of a batch stand: in x, or where they are copied to, from row `first` on."""
    if batch.gathers or batch.ignores:
        place = pointer_to(frame, frame[LAYOUT])[X]
        return at(pointer_to(batch.x, frame[WORK] + place), first * batch.columns)
    return at(batch.x, start * batch.columns)


@kernel
def as_row_zero(x, batch, first):
    """Return the batch for ops, which find row `first` of the workspace there, when that row stands at x."""
    return at(x, -first * batch.columns)


@kernel
def run_forward(x, frame, span, tasks):
    """Run all ops of a plan forward."""
    for i in range(frame[LAYERS]):
        run_row(FORWARD, x, frame, i, span, tasks)


@kernel
def run_backward(x, frame, span, tasks):
    """From dz of the last op of a plan to those of all others."""
    for i in range(frame[LAYERS] - 1, -1, -1):
        run_input_gradient(x, frame, i, span, tasks)


@kernel
def run_input_gradient(x, frame, i, span, tasks):
    """Compute the gradients of what row i of the plan reads; that of the batch only where it is wanted."""
    row = row_at(frame, i)
    if max(row[SOURCE], row[SOURCE2]) != BATCH_ROWS or frame[DX] != 0:
        run_row(INPUT_GRADIENT, x, frame, i, span, tasks)


def _rows_types(dtype):
    i = types.int64
    return types.void(Batch.of(dtype), types.CPointer(i), i, i, i, i)


@outlined(_rows_types)
def rows_through(batch, frame, start, rows, first, tasks):
    """Take some rows of a batch through all that concerns them alone; see `pass_over_rows`.

    start, rows, first : rows `start` on of the batch are rows `first` on of the workspace
    """
    layout, settings = pointer_to(frame, frame[LAYOUT]), pointer_to(frame, frame[SETTINGS])
    last = frame[LAYERS] - 1
    source, labels, targets = rows_of_batch(batch, frame, start, first), at(batch.labels, start), batch.targets
    if batch.gathers or batch.ignores:
        gather(batch, batch.x, frame[X_INPUT], batch.columns, start, rows, source)
        if batch.ignores and layout[COUPLES] == 0:
            blank_ignored(source, batch.columns, labels, doubles_at(frame[OPTIONS])[IGNORE_INDEX], rows)
    if batch.gathers and batch.width > 0:
        targets = at(pointer_to(batch.x, frame[WORK] + layout[TARGETS]), first * batch.width)
        gather(batch, batch.targets, frame[TARGETS_INPUT], batch.width, start, rows, targets)
    else:
        targets = at(targets, start * batch.width)
    x, span = as_row_zero(source, batch, first), new_span(frame)
    span[FIRST], span[ROWS], span[PLACE] = first, rows, start
    span[LABELS], span[SPAN_TARGETS], span[WIDTH] = address_of(labels), address_of(targets), batch.width
    run_forward(x, frame, span, tasks)
    row = row_at(frame, last)
    run_op(settings[RUN_LOSS], x, frame, row, span, ELEMENT_WORK * rows * row[OUT], tasks)
    if layout[BY_ROWS]:
        run_backward(x, frame, span, tasks)


def _pass_types(dtype):
    i = types.int64
    return types.void(Batch.of(dtype), types.CPointer(i), i, i, i, i, i)


@shared(_pass_types)
def pass_over_rows(batch, frame, start, rows, tasks, pieces, piece):
    """One piece's share of some rows of a batch: gathered, forward through all ops, their losses, and, by rows, dz.

    start, rows : which rows of the batch; in the workspace they begin with the first
    tasks : into how many an operation is cut; 1 where the rows are shared out to several pieces
    """
    first, stop = share(rows, 1, pieces, piece), share(rows, 1, pieces, piece + 1)
    if first < stop:
        rows_through(batch, frame, start + first, stop - first, first, tasks)


def _chunks_types(dtype):
    i = types.int64
    return types.void(Batch.of(dtype), types.CPointer(i), i, i, i)


@shared(_chunks_types)
def pass_over_chunks(batch, frame, chunks, pieces, piece):
    """One piece's chunks of a batch, where all ops sum their gradients `apart`: those sums are made here too.

    A few rows at a time use the same place in the workspace, and what they leave there stays in the caches.
    """
    span, first = new_span(frame), piece * ROWS_AT_ONCE
    for chunk in range(share(chunks, 1, pieces, piece), share(chunks, 1, pieces, piece + 1)):
        start = share(batch.rows, 1, chunks, chunk)
        chunk_rows = share(batch.rows, 1, chunks, chunk + 1) - start
        blocks = blocks_of(chunk_rows)
        for block in range(blocks):
            place = start + share(chunk_rows, 1, blocks, block)
            rows = start + share(chunk_rows, 1, blocks, block + 1) - place
            rows_through(batch, frame, place, rows, first, 1)
            x = as_row_zero(rows_of_batch(batch, frame, place, first), batch, first)
            span[FIRST], span[ROWS], span[PLACE] = first, rows, place
            span[BATCH], span[PARTS], span[PART], span[PART_END] = rows, 1, 0, 1
            span[MODE], span[INTO], span[UPDATES] = ACCUMULATE if block > 0 else 0, chunk, 0
            for i in range(frame[LAYERS]):
                row = row_at(frame, i)
                if row[WEIGHT_GRADIENT] != NOTHING:
                    call_op(row[WEIGHT_GRADIENT], x, frame, row, span, 1, 0)


# The chunks from `first` to before `last` of a batch of `rows` rows in so many: x has their rows. `updates`: whether
# parameters are updated once the last chunk is summed.
Chunks = record("Chunks", x=POINTER, rows=INT, count=INT, first=INT, last=INT, updates=INT)


def _weights_types(dtype):
    i = types.int64
    return types.void(Chunks.of(dtype), types.CPointer(i), i, i)


@shared(_weights_types)
def pass_over_weights(part, frame, pieces, piece):
    """One piece's block of every op's weight gradient over some chunks of a batch, and after the last its update.

    The dz of all ops, for the rows of these chunks, stand in the workspace.
    """
    span, x, batch, chunks, first, last = new_span(frame), part.x, part.rows, part.count, part.first, part.last
    begin = share(batch, 1, chunks, first)
    updates = last == chunks and part.updates != 0
    for i in range(frame[LAYERS] - 1, -1, -1):
        row = row_at(frame, i)
        if row[WEIGHT_GRADIENT] == NOTHING:
            continue
        if gradient_chunks(batch, row[DEPTH], row[ACROSS]) == 1:
            span[FIRST], span[ROWS], span[PLACE] = 0, share(batch, 1, chunks, last) - begin, begin
            span[BATCH], span[PARTS], span[PART], span[PART_END] = batch, chunks, first, last
            span[MODE] = (ACCUMULATE if first > 0 else 0) | (TAKE if updates else 0)
            span[INTO], span[UPDATES] = GRADIENT, updates
            call_op(row[WEIGHT_GRADIENT], x, frame, row, span, pieces, piece)
        else:
            for chunk in range(first, last):
                start = share(batch, 1, chunks, chunk)
                rows = share(batch, 1, chunks, chunk + 1) - start
                span[FIRST], span[ROWS], span[PLACE] = start - begin, rows, start
                span[BATCH], span[PARTS], span[PART], span[PART_END] = rows, blocks_of(rows), 0, blocks_of(rows)
                span[MODE], span[INTO], span[UPDATES] = 0, chunk, 0
                call_op(row[WEIGHT_GRADIENT], x, frame, row, span, pieces, piece)


@kernel
def backward_pass(x, frame, batch, updates, tasks):
    """From the dz of the last op: all gradients, and updates where asked, op after op.

    A layer's weights are read for the dz of the layer below before they change. What an op has found of the batch it
    takes into its buffers: here the step is known to be made.
    """
    span, parts = new_span(frame), chunks_of(batch)
    span[FIRST], span[ROWS], span[PLACE] = 0, batch, 0
    span[BATCH], span[PARTS], span[PART], span[PART_END] = batch, parts, 0, parts
    span[MODE], span[INTO], span[UPDATES] = 0, GRADIENT, updates
    for i in range(frame[LAYERS] - 1, -1, -1):
        run_input_gradient(x, frame, i, span, tasks)
        row = row_at(frame, i)
        if row[TRACK] != NOTHING:
            call_op(row[TRACK], x, frame, row, span, 1, 0)
        if row[WEIGHT_GRADIENT] == NOTHING:
            continue
        chunks = gradient_chunks(batch, row[DEPTH], row[ACROSS])
        if chunks == 1 or row[FLAGS] & WHOLE:
            run_row(WEIGHT_GRADIENT, x, frame, i, span, tasks)
        else:
            pieces = worth(batch * row[EFFORT], tasks)
            gradient_of_chunks(x, frame, row, batch, chunks, tasks if pieces > 1 else 1)
            add_chunks(x, frame, row, chunks, updates)


@kernel
def chunks_at_once(batch, chunks, pieces):
    """Return how many chunks go through a step together, so that each piece has rows enough to copy weights for."""
    together = 1
    while together < chunks and batch // chunks * together < PACK_ROWS * pieces:
        together *= 2
    return together


@kernel
def sums_apart(frame, batch):
    """Return whether all ops sum their gradients over each chunk of the batch apart."""
    largest = 0
    for i in range(frame[LAYERS]):
        row = row_at(frame, i)
        largest = max(largest, row[DEPTH] * row[ACROSS])
    return gradient_chunks(batch, largest, 1) > 1


@kernel
def worth_sharing(frame, batch, rows_apart, tasks):
    """Return into how many pieces, at most `tasks`, the work of a step by rows is cut.

    What is saved has to repay what the cores take from each other: every piece reads weights that others have updated,
    and in the second pass rows that others have written, unless these stay apart.
    """
    work, exchanged = 0, 0
    for i in range(frame[LAYERS]):
        row = row_at(frame, i)
        work += (3 if row[SOURCE] != BATCH_ROWS else 2) * batch * row[EFFORT]
        exchanged += row[DEPTH] * row[ACROSS]
        if not rows_apart:
            exchanged += batch * row[EXCHANGED]
    pieces = max(1, min(tasks, work // (2 * TASK_WORK)))
    return pieces if work - work // pieces > EXCHANGE * exchanged else 1


@kernel
def most_pieces(rows, pieces):
    """Return into how many of at most `pieces` pieces a pass over rows is cut."""
    return pieces if rows >= FEWEST_ROWS * pieces else 1
