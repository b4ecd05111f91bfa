"""Weight gradients of small matrices over large batches, summed in chunks of rows; and the update of all parameters."""

from numba import carray, types

from ..compile.functions import kernel
from ..compile.outlined import outlined
from ..compile.pointers import at, doubles_at, lanes_of, pointer_to
from ..compile.region import shared
from ..linalg.matrix import Matrix
from ..linalg.tasks import block_of, grid, share
from ..ops.call import (
    BATCH,
    FIRST,
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
)
from ..ops.operands import update_block
from ..optimizers.registry import FACTOR
from ..simd.columns import column_sums
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.modes import ACCUMULATE
from . import chunks as _chunks
from .frame import GRADS, HYPER, LAYERS, WORK
from .plan import ACROSS, DB, DEPTH, DW, JOIN, NOTHING, PARTIALS, WEIGHT_GRADIENT, B, W

chunks_of = kernel(_chunks.chunks_of)
is_chunked = kernel(_chunks.is_chunked)
blocks_of = kernel(_chunks.blocks_of)
# So many gradients are scaled, and their parameters updated, while they are in a cache.
UPDATE_BLOCK = 1 << 12


@kernel
def gradient_chunks(batch, depth, across):
    """Return how many partial sums make a weight gradient; `batch` counts the rows of all members."""
    return chunks_of(batch) if is_chunked(depth, across) else 1


@kernel
def is_summed(row):
    """Return whether an op's weight gradient is a sum over rows; that of a joint is made where it is joined."""
    return row[WEIGHT_GRADIENT] != NOTHING and row[JOIN] == NOTHING


@kernel
def rows_of_chunk(batch, chunk, chunks):
    """Return how many rows a chunk of a batch has."""
    return share(batch, 1, chunks, chunk + 1) - share(batch, 1, chunks, chunk)


def _types(dtype):
    p, i = types.CPointer(dtype), types.int64
    ints = types.CPointer(i)
    return types.void(p, ints, ints, i, i, i)


@outlined(_types)
def gradient_of_rows(x, frame, row, first, rows, chunk):
    """Sum an op's weight gradient over some rows of the workspace, which are those of a chunk from the first on."""
    span = new_span(frame)
    span[FIRST], span[ROWS], span[PLACE] = first, rows, first
    span[BATCH], span[PARTS], span[PART], span[PART_END] = rows, 1, 0, 1
    span[MODE], span[INTO], span[UPDATES] = 0, chunk, 0
    blocks = blocks_of(rows)
    for block in range(blocks):
        start, end = share(rows, 1, blocks, block), share(rows, 1, blocks, block + 1)
        span[FIRST], span[ROWS], span[PLACE], span[BATCH] = first + start, end - start, first + start, end - start
        span[MODE] = ACCUMULATE if block > 0 else 0
        call_row(WEIGHT_GRADIENT, x, frame, row, span, 1, 0)


@shared(_types)
def gradient_of_chunks(x, frame, row, batch, chunks, chunk):
    """One chunk's sums of an op's weight gradient."""
    start = share(batch, 1, chunks, chunk)
    gradient_of_rows(x, frame, row, start, rows_of_chunk(batch, chunk, chunks), chunk)


@kernel
def add_chunks(x, frame, row, chunks, updates):
    """Add up the chunks of an op's gradient, and update its parameters where asked."""
    depth, across = row[DEPTH], row[ACROSS]
    weights = depth * across
    partials, size = pointer_to(x, frame[WORK] + row[PARTIALS]), weights + across
    if row[DW] >= 0:
        dw = pointer_to(x, frame[GRADS] + row[DW])
        column_sums(partials, size, chunks, weights, dw, 0)
    if row[DB] >= 0:
        db = pointer_to(x, frame[GRADS] + row[DB])
        column_sums(at(partials, weights), size, chunks, across, db, 0)
    if updates:
        update_row(x, frame, row)


@kernel
def update_row(x, frame, row):
    """Update all parameters of an op from their gradients."""
    depth, across = row[DEPTH], row[ACROSS]
    if row[DW] >= 0:
        update_part(x, frame, row[DW], row[W], 0, Matrix(x, across, depth, across, 0), 1.0)
    if row[DB] >= 0:
        update_part(x, frame, row[DB], row[B], 0, Matrix(x, across, 1, across, 0), 1.0)


@kernel
def add_all_chunks(x, frame, batch, updates):
    """End the sums over chunks of all ops that have several; update what no pass over weights has updated."""
    for i in range(frame[LAYERS]):
        row = row_at(frame, i)
        if row[WEIGHT_GRADIENT] == NOTHING:
            continue
        if row[JOIN] != NOTHING:
            if updates:
                update_row(x, frame, row)
            continue
        chunks = gradient_chunks(batch * members_of(frame), row[DEPTH], row[ACROSS])
        if chunks > 1:
            add_chunks(x, frame, row, chunks, updates)


def _scaled(v: Lanes, g: Vec, factor: Vec) -> Vec:
    return g * factor


scale = lanewise(_scaled, reads=1, writes=1, numbers=1)


def _update_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, types.CPointer(i), i, i)


@shared(_update_types)
def update_all(x, frame, pieces, piece):
    """One piece of all parameters: their gradients times the factor that clipping left, and their update."""
    factor = doubles_at(frame[HYPER])[FACTOR]
    for i in range(frame[LAYERS] - 1, -1, -1):
        row = row_at(frame, i)
        if row[WEIGHT_GRADIENT] == NOTHING:
            continue
        depth, across = row[DEPTH], row[ACROSS]
        i0, i1, j0, j1 = block_of(depth, across, x, pieces, piece, True)
        height = max(1, UPDATE_BLOCK // across)
        for r in range(i0, i1, height):
            update_part(
                x, frame, row[DW], row[W], r * across + j0, Matrix(x, across, min(height, i1 - r), j1 - j0, 0), factor
            )
        if row[DB] >= 0 and piece < grid(depth, across, lanes_of(x), pieces, True):
            update_part(x, frame, row[DB], row[B], j0, Matrix(x, across, 1, j1 - j0, 0), factor)


@kernel
def update_part(x, frame, grads_at, params_at, first, block, factor):
    """Update parameters from element `first` on of what stands at a place; `block` has their layout."""
    grads = at(pointer_to(x, frame[GRADS] + grads_at), first)
    if factor != 1.0:
        number = carray(x, 1).dtype.type(factor)
        for i in range(block.rows):
            scale(at(grads, i * block.ld), at(grads, i * block.ld), number, block.cols)
    update_block(x, frame, params_at, first, Matrix(grads, block.ld, block.rows, block.cols, 0))
