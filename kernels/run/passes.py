"""The passes of a training step over a plan: over the rows of a batch, and over the weights.

A small network goes *by rows*. A task takes some rows through everything that concerns them alone: all ops forward,
the loss, and all dz backward. Then a task takes a block of each op's weight gradient. So a step is shared out twice,
not for each operation, and what a task reads in the first pass it has written itself.

The weights of a large network would not stay in a core's cache. There each operation is shared out, op after op,
and a layer's dz takes the place of the output above it.
"""

from numba import types

from ..compile.functions import kernel
from ..compile.records import INT, POINTER, record
from ..compile.region import shared
from ..linalg.product import PACK_ROWS
from ..linalg.tasks import TASK_WORK, share, worth
from ..ops.call import (
    BATCH,
    FIRST,
    GRADIENT,
    INTO,
    MODE,
    PART,
    PART_END,
    PARTS,
    PLACE,
    ROWS,
    UPDATES,
    call_row,
    members_of,
    new_span,
    row_at,
    run_row,
)
from ..simd.microkernel import TILE_ROWS
from ..simd.modes import ACCUMULATE, TAKE
from .batch import Batch, as_row_zero, couples, rows_of_batch
from .chunks import COUPLED_ROWS, ROWS_AT_ONCE
from .frame import LAYERS
from .gradients import add_chunks, blocks_of, chunks_of, gradient_chunks, gradient_of_chunks, is_summed
from .plan import (
    ACROSS,
    BATCH_ROWS,
    DEPTH,
    EFFORT,
    EXCHANGED,
    JOIN,
    NOTHING,
    SOURCE,
    SUMS_BACK,
    WEIGHT_GRADIENT,
)
from .segments import ALL, Segment, join_back, rows_through, run_input_gradient

# Fewer rows do not repay that each piece reads all weights.
FEWEST_ROWS = 2 * TILE_ROWS
# In the time that a number takes from one core's cache to another's, there and back, a core does so many operations. It
# comes in a line of sixteen, in three nanoseconds on one CPU and ten on another, most of them while it computes; who
# calls finds out whether one thread is faster after all (`fastbp._base.pace`).
EXCHANGE = 15


def _chunks_types(dtype):
    i = types.int64
    return types.void(Batch.of(dtype), types.CPointer(i), i, i, i)


@shared(_chunks_types)
def pass_over_chunks(batch, frame, chunks, pieces, piece):
    """One piece's chunks of a batch, where all ops sum their gradients `apart`: those sums are made here too.

    A few rows at a time use the same place in the workspace, and what they leave there stays in the caches.
    """
    begin, end = share(chunks, 1, pieces, piece), share(chunks, 1, pieces, piece + 1)
    span, first = new_span(frame), min(piece * ROWS_AT_ONCE, share(batch.rows, 1, chunks, begin))
    whole = Segment(batch.x, -1, frame[LAYERS], ALL)
    for chunk in range(begin, end):
        start = share(batch.rows, 1, chunks, chunk)
        chunk_rows = share(batch.rows, 1, chunks, chunk + 1) - start
        blocks = blocks_of(chunk_rows)
        for block in range(blocks):
            place = start + share(chunk_rows, 1, blocks, block)
            rows = start + share(chunk_rows, 1, blocks, block + 1) - place
            rows_through(batch, frame, whole, place, rows, first, 1)
            x = as_row_zero(rows_of_batch(batch, frame, place, first), batch, first)
            span[FIRST], span[ROWS], span[PLACE] = first, rows, place
            add_sums(x, frame, span, chunk, block)


@kernel
def add_sums(x, frame, span, chunk, block):
    """Add some rows' part of the sums of all weight gradients over a chunk; they are a block of its rows."""
    span[BATCH], span[PARTS], span[PART], span[PART_END] = span[ROWS], 1, 0, 1
    span[MODE], span[INTO], span[UPDATES] = ACCUMULATE if block > 0 else 0, chunk, 0
    for i in range(frame[LAYERS]):
        row = row_at(frame, i)
        if is_summed(row):
            call_row(WEIGHT_GRADIENT, x, frame, row, span, 1, 0)


def _sums_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, types.CPointer(i), i, i, i, i)


@shared(_sums_types)
def pass_over_sums(x, frame, batch, chunks, pieces, piece):
    """One piece's chunks of a batch all of whose dz stand in the workspace: their sums of all weight gradients."""
    span = new_span(frame)
    for chunk in range(share(chunks, 1, pieces, piece), share(chunks, 1, pieces, piece + 1)):
        start, end = share(batch, 1, chunks, chunk), share(batch, 1, chunks, chunk + 1)
        blocks = blocks_of(end - start)
        for block in range(blocks):
            first = start + share(end - start, 1, blocks, block)
            span[FIRST], span[PLACE] = first, first
            span[ROWS] = start + share(end - start, 1, blocks, block + 1) - first
            add_sums(x, frame, span, chunk, block)


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
        if not is_summed(row):
            continue
        if gradient_chunks(batch * members_of(frame), row[DEPTH], row[ACROSS]) == 1:
            span[FIRST], span[ROWS], span[PLACE] = 0, share(batch, 1, chunks, last) - begin, begin
            span[BATCH], span[PARTS], span[PART], span[PART_END] = batch, chunks, first, last
            span[MODE] = (ACCUMULATE if first > 0 else 0) | (TAKE if updates else 0)
            span[INTO], span[UPDATES] = GRADIENT, updates
            call_row(WEIGHT_GRADIENT, x, frame, row, span, pieces, piece)
        else:
            for chunk in range(first, last):
                start = share(batch, 1, chunks, chunk)
                rows = share(batch, 1, chunks, chunk + 1) - start
                span[FIRST], span[ROWS], span[PLACE] = start - begin, rows, start
                span[BATCH], span[PARTS], span[PART], span[PART_END] = rows, blocks_of(rows), 0, blocks_of(rows)
                span[MODE], span[INTO], span[UPDATES] = 0, chunk, 0
                call_row(WEIGHT_GRADIENT, x, frame, row, span, pieces, piece)


@kernel
def backward_pass(x, frame, batch, updates, tasks):
    """From the dz of the last op: all gradients, and updates where asked, op after op.

    A layer's weights are read for the dz of the layer below before they change.
    """
    span, parts = new_span(frame), chunks_of(batch * members_of(frame))
    span[FIRST], span[ROWS], span[PLACE] = 0, batch, 0
    span[BATCH], span[PARTS], span[PART], span[PART_END] = batch, parts, 0, parts
    span[MODE], span[INTO], span[UPDATES] = 0, GRADIENT, updates
    for i in range(frame[LAYERS] - 1, -1, -1):
        row = row_at(frame, i)
        if row[JOIN] != NOTHING:
            run_row(SUMS_BACK, x, frame, i, span, tasks)
            join_back(x, frame, i, batch)
        run_input_gradient(x, frame, i, span, tasks)
        if not is_summed(row):
            continue
        chunks = gradient_chunks(batch * members_of(frame), row[DEPTH], row[ACROSS])
        if chunks == 1:
            run_row(WEIGHT_GRADIENT, x, frame, i, span, tasks)
        else:
            pieces = worth(batch * row[EFFORT], tasks)
            gradient_of_chunks(x, frame, row, batch, chunks, tasks if pieces > 1 else 1)
            add_chunks(x, frame, row, chunks, updates)


@kernel
def chunks_at_once(batch, chunks, pieces):
    """Return how many chunks go through a step together, so that each piece has rows enough to copy weights for.

    batch : counts the rows of all members
    """
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
    return gradient_chunks(batch * members_of(frame), largest, 1) > 1


@kernel
def worth_sharing(frame, batch, rows_apart, tasks):
    """Return into how many pieces, at most `tasks`, the work of a step by rows is cut.

    What is saved has to repay what the cores take from each other: every piece reads weights that others have updated,
    and in the second pass rows that others have written, unless these stay apart.
    """
    work, exchanged, regions = 0, 0, 2
    for i in range(frame[LAYERS]):
        row = row_at(frame, i)
        regions += 2 if row[JOIN] != NOTHING else 0
        work += (3 if row[SOURCE] != BATCH_ROWS else 2) * batch * row[EFFORT]
        exchanged += row[DEPTH] * row[ACROSS]
        if not rows_apart:
            exchanged += batch * row[EXCHANGED]
    pieces = max(1, min(tasks, work // (regions * TASK_WORK)))
    return pieces if work - work // pieces > EXCHANGE * exchanged else 1


@kernel
def most_pieces(frame, rows, pieces):
    """Return into how many of at most `pieces` pieces a pass over rows is cut."""
    fewest = COUPLED_ROWS if couples(frame) else FEWEST_ROWS
    return pieces if rows * members_of(frame) >= fewest * pieces else 1
