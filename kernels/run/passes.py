"""The passes of a training step over a plan: over the rows of a batch, and over the weights.

A small network goes *by rows*. A task takes some rows through everything that concerns them alone: all layers forward,
the loss, and all dz backward. Then a task takes a block of each layer's weight gradient. So a step is shared out twice,
not for each operation, and what a task reads in the first pass it has written itself.

The weights of a large network would not stay in a core's cache. There each operation is shared out, layer after layer,
and a layer's dz takes the place of the output above it.
"""

from numba import carray, types

from ..compile.functions import kernel, outlined
from ..compile.pointers import at, doubles_at, pointer_to
from ..compile.region import shared
from ..linalg.product import FORWARD_WITH_SLOPE, PACK_ROWS, PLAIN, UPDATE
from ..linalg.tasks import TASK_WORK, share
from ..losses import IGNORE_INDEX, OPTIONS_SIZE
from ..losses.compiled import losses_of_rows
from ..ops.dense import (
    ROWS_AT_ONCE,
    add_gradient,
    blocks_of,
    forward,
    gradient_chunks,
    input_gradient,
    put_together,
    weight_gradient,
    weight_gradient_piece,
)
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.microkernel import B_ROOM, BIAS, ROOM, TAKE, TILE_ROWS
from .frame import (
    CLASS_WEIGHT,
    CLASS_WEIGHTS,
    FRAME_SIZE,
    GRADS,
    HYPER,
    LAYERS,
    LAYOUT,
    LOSS,
    OPTIMIZER,
    OPTIONS,
    PARAMETERS,
    PARAMS,
    PLAN,
    ROOM_ROWS,
    ROWS,
    SETTINGS,
    SETTINGS_SIZE,
    STATE,
    WORK,
)
from .plan import ACTIVATION, BY_ROWS, COLUMNS, ENTRIES, IN, LD, OUT, PARTIALS, SLOPE, TARGETS, A, B, D, W, X

# Fewer rows do not repay that each piece reads all weights.
FEWEST_ROWS = 2 * TILE_ROWS
# In the time that a number takes from one core's cache to another's, there and back, a core does so many operations. It
# comes in a line of sixteen, in three nanoseconds on one CPU and ten on another, most of them while it computes; who
# calls finds out whether one thread is faster after all (`_pace.Pace`).
EXCHANGE = 15


@kernel
def forward_pass(plan, params, work, first, x, ld_x, kind, out, ld_out, room_out, batch, tasks):
    """Run all layers on the rows of x. In the workspace they are the rows from `first` on.

    params, work, x, out : pointers; the last layer's output goes to `out`
    """
    layers = plan.shape[0]
    for i in range(layers):
        ins, outs, w0, b0 = plan[i, IN], plan[i, OUT], plan[i, W], plan[i, B]
        source, ld_source = at(work, plan[i - 1, A] + first * plan[i - 1, LD]), plan[i - 1, LD]
        if i == 0:
            source, ld_source = at(x, 0), ld_x
        target, ld_target, room = at(work, plan[i, A] + first * plan[i, LD]), plan[i, LD], ROOM
        if i == layers - 1:
            target, ld_target, room = at(out, 0), ld_out, room_out
        forward(
            source, ld_source, at(params, w0), at(params, max(b0, 0)), BIAS * (b0 >= 0) + room, plan[i, ACTIVATION],
            kind, target, at(work, plan[i, SLOPE] + first * ld_target), ld_target, batch, ins, outs, tasks,
        )  # fmt: skip


@kernel
def dz_below(plan, params, work, i, first, batch, tasks):
    """From the dz of layer i to that of the layer below, for `batch` rows from `first` on."""
    below, dz = first * plan[i - 1, LD], first * plan[i, LD]
    input_gradient(
        at(work, plan[i, D] + dz), plan[i, LD], at(params, plan[i, W]), at(work, plan[i - 1, D] + below),
        plan[i - 1, LD], ROOM, plan[i - 1, ACTIVATION], at(work, plan[i - 1, A] + below),
        at(work, plan[i - 1, SLOPE] + below), batch, plan[i, IN], plan[i, OUT], tasks,
    )  # fmt: skip


@kernel
def layer_input(plan, work, i, x, ld_x):
    """Return where the input of layer i stands, and how far apart its rows are."""
    if i == 0:
        return at(x, 0), ld_x
    return at(work, plan[i - 1, A]), plan[i - 1, LD]


@kernel
def backward_pass(plan, params, grads, code, state, hyper, n, work, x, ld_x, batch, tasks):
    """From the dz of the last layer: all gradients and updates, layer after layer.

    code, state, hyper, n : the optimizer, see `updates`. A layer's weights are read for the dz of the layer below
        before they change.
    """
    for i in range(plan.shape[0] - 1, -1, -1):
        if i > 0:
            dz_below(plan, params, work, i, 0, batch, tasks)
        source, ld_source = layer_input(plan, work, i, x, ld_x)
        w0, b0 = plan[i, W], plan[i, B]
        weight_gradient(
            source, ld_source, at(work, plan[i, D]), plan[i, LD], at(grads, w0), at(grads, max(b0, 0)),
            BIAS * (b0 >= 0) + B_ROOM, at(work, plan[i, PARTIALS]), batch, plan[i, IN], plan[i, OUT], UPDATE, code,
            at(params, w0), at(state, w0), hyper, n, tasks,
        )  # fmt: skip


def _copied(v: Lanes, x: Vec) -> Vec:
    return x


copy_row = lanewise(_copied, reads=1, writes=1)


@kernel
def gather(x, width, order, ordered, start, rows, out):
    """Copy some rows of a batch to `out`: rows ``order[start:][:rows]`` of x, or those of x as they stand."""
    for i in range(rows):
        row = order[start + i] if ordered else start + i
        copy_row(at(x, row * width), at(out, i * width), width)


@kernel
def blank_ignored(x, width, labels, ignore_index, rows):
    """Make zeros of the rows of x whose label is ignored: a NaN in one would be 0 * NaN in the weights' gradients."""
    x = carray(x, rows * width)
    for i in range(rows):
        if labels[i] == ignore_index:
            x[i * width : (i + 1) * width] = 0


@kernel
def rows_of_batch(plan, layout, work, x, copied, start, first):
    """Return where rows `start` on of a batch stand: in x, or where they are copied to, from row `first` on."""
    if copied:
        return at(work, layout[X] + first * plan[0, IN])
    return at(x, start * plan[0, IN])


def _rows_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    ints = types.CPointer(i)
    return types.void(p, ints, p, i, ints, i, i, ints, i, i, i, i)


@outlined(_rows_types)
def rows_through(x, labels, targets, width, order, ordered, ignoring, frame, start, rows, first, tasks):
    """Take some rows of a batch through all that concerns them alone; see `pass_over_rows`.

    start, rows, first : rows `start` on of the batch are rows `first` on of the workspace
    """
    frame = carray(frame, FRAME_SIZE)
    layout = carray(pointer_to(labels, frame[LAYOUT]), ENTRIES)
    plan = carray(pointer_to(labels, frame[PLAN]), (frame[LAYERS], COLUMNS))
    settings = carray(pointer_to(labels, frame[SETTINGS]), SETTINGS_SIZE)
    options = carray(doubles_at(frame[OPTIONS]), OPTIONS_SIZE)
    params, work = pointer_to(x, frame[PARAMS]), pointer_to(x, frame[WORK])
    last, ins = frame[LAYERS] - 1, plan[0, IN]
    source, labels = rows_of_batch(plan, layout, work, x, ordered or ignoring, start, first), at(labels, start)
    if ordered or ignoring:
        gather(x, ins, order, ordered, start, rows, source)
        if ignoring:
            blank_ignored(source, ins, labels, options[IGNORE_INDEX], rows)
    row_targets = at(targets, start * width)
    if ordered and width > 0:
        row_targets = at(work, layout[TARGETS] + first * width)
        gather(targets, width, order, ordered, start, rows, row_targets)
    ld = plan[last, LD]
    z, d = at(work, plan[last, A] + first * ld), at(work, plan[last, D] + first * ld)
    forward_pass(plan, params, work, first, source, ins, FORWARD_WITH_SLOPE, z, ld, ROOM, rows, tasks)
    losses_of_rows(
        settings[LOSS], z, ld, ROOM, plan[last, OUT], labels, row_targets, width,
        pointer_to(x, frame[CLASS_WEIGHT]), frame[CLASS_WEIGHTS], at(options, 0),
        at(doubles_at(frame[ROWS]), start), frame[ROOM_ROWS], plan[last, ACTIVATION],
        at(work, plan[last, SLOPE] + first * ld), d, rows, tasks,
    )  # fmt: skip
    if layout[BY_ROWS]:
        for i in range(last, 0, -1):
            dz_below(plan, params, work, i, first, rows, tasks)


@kernel
def rows_of_chunk(batch, chunk, chunks):
    """Return how many rows a chunk of a batch has."""
    return share(batch, 1, chunks, chunk + 1) - share(batch, 1, chunks, chunk)


@kernel
def chunks_at_once(batch, chunks, pieces):
    """Return how many chunks go through a step together, so that each piece has rows enough to copy weights for."""
    together = 1
    while together < chunks and batch // chunks * together < PACK_ROWS * pieces:
        together *= 2
    return together


@kernel
def apart(plan, batch):
    """Return whether all layers sum their gradients over each chunk of the batch apart."""
    largest = 0
    for i in range(plan.shape[0]):
        largest = max(largest, plan[i, IN] * plan[i, OUT])
    return gradient_chunks(batch, largest, 1) > 1


def _pass_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    ints = types.CPointer(i)
    return types.void(p, ints, p, i, ints, i, i, ints, i, i, i, i, i)


@shared(_pass_types)
def pass_over_rows(x, labels, targets, width, order, ordered, ignoring, frame, start, rows, tasks, pieces, piece):
    """One piece's share of some rows of a batch: gathered, forward through all layers, their losses, and, by rows, dz.

    x, targets : of the batch, or where `ordered` of all samples; targets are `width` numbers a row
    labels : of the batch
    order : which samples the batch is of, where `ordered`
    ignoring : whether a row's label is ignored
    frame : addresses, see `frame`; rows[0] has what each row's loss counts for
    start, rows : which rows of the batch; in the workspace they begin with the first
    tasks : into how many an operation is cut; 1 where the rows are shared out to several pieces
    """
    first, stop = share(rows, 1, pieces, piece), share(rows, 1, pieces, piece + 1)
    if first < stop:
        rows_through(
            x, labels, targets, width, order, ordered, ignoring, frame, start + first, stop - first, first, tasks
        )


@shared(_rows_types)
def pass_over_chunks(x, labels, targets, width, order, ordered, ignoring, frame, batch, chunks, pieces, piece):
    """One piece's chunks of a batch, where all layers sum their gradients `apart`: those sums are made here too.

    A few rows at a time use the same place in the workspace, and what they leave there stays in the caches. The
    arguments are those of `pass_over_rows`.
    """
    table = carray(frame, FRAME_SIZE)
    layout = carray(pointer_to(labels, table[LAYOUT]), ENTRIES)
    plan = carray(pointer_to(labels, table[PLAN]), (table[LAYERS], COLUMNS))
    work, first = pointer_to(x, table[WORK]), piece * ROWS_AT_ONCE
    for chunk in range(share(chunks, 1, pieces, piece), share(chunks, 1, pieces, piece + 1)):
        start, chunk_rows = share(batch, 1, chunks, chunk), rows_of_chunk(batch, chunk, chunks)
        blocks = blocks_of(chunk_rows)
        for block in range(blocks):
            row = start + share(chunk_rows, 1, blocks, block)
            rows = start + share(chunk_rows, 1, blocks, block + 1) - row
            rows_through(x, labels, targets, width, order, ordered, ignoring, frame, row, rows, first, 1)
            source, ld = rows_of_batch(plan, layout, work, x, ordered or ignoring, row, first), plan[0, IN]
            for i in range(table[LAYERS]):
                ins, outs = plan[i, IN], plan[i, OUT]
                add_gradient(
                    source, ld, at(work, plan[i, D] + first * plan[i, LD]), plan[i, LD],
                    at(work, plan[i, PARTIALS] + chunk * (ins + 1) * outs), BIAS * (plan[i, B] >= 0) + B_ROOM, rows,
                    ins, outs, block > 0,
                )  # fmt: skip
                source, ld = at(work, plan[i, A] + first * plan[i, LD]), plan[i, LD]


def _weights_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, types.CPointer(i), i, i, i, i, i, i)


@shared(_weights_types)
def pass_over_weights(x, frame, batch, chunks, first, last, pieces, piece):
    """One piece's block of every layer's weight gradient over some chunks of the batch, and after the last its update.

    x : rows of the chunks from `first` to before `last`; the dz of all layers stand in the workspace
    """
    like = frame
    frame = carray(frame, FRAME_SIZE)
    plan = carray(pointer_to(like, frame[PLAN]), (frame[LAYERS], COLUMNS))
    settings = carray(pointer_to(like, frame[SETTINGS]), SETTINGS_SIZE)
    params, grads, state = pointer_to(x, frame[PARAMS]), pointer_to(x, frame[GRADS]), pointer_to(x, frame[STATE])
    work, optimizer, hyper = pointer_to(x, frame[WORK]), settings[OPTIMIZER], doubles_at(frame[HYPER])
    begin = share(batch, 1, chunks, first)
    for i in range(frame[LAYERS] - 1, -1, -1):
        source, ld = layer_input(plan, work, i, x, plan[0, IN])
        dz, ld_dz = at(work, plan[i, D]), plan[i, LD]
        ins, outs, w0, b0 = plan[i, IN], plan[i, OUT], plan[i, W], plan[i, B]
        flags = BIAS * (b0 >= 0) + B_ROOM
        if gradient_chunks(batch, ins, outs) == 1:
            kind = PLAIN
            if last == chunks:
                flags, kind = flags + TAKE, UPDATE
            weight_gradient_piece(
                source, ld, dz, ld_dz, at(grads, w0), at(grads, max(b0, 0)), flags, batch, chunks, first, last, ins,
                outs, kind, optimizer, at(params, w0), at(state, w0), hyper, frame[PARAMETERS], pieces, piece,
            )  # fmt: skip
        else:
            for chunk in range(first, last):
                row, rows = share(batch, 1, chunks, chunk) - begin, rows_of_chunk(batch, chunk, chunks)
                part = at(work, plan[i, PARTIALS] + chunk * (ins + 1) * outs)
                weight_gradient_piece(
                    at(source, row * ld), ld, at(dz, row * ld_dz), ld_dz, part, at(part, ins * outs), flags, rows,
                    blocks_of(rows), 0, blocks_of(rows), ins, outs, PLAIN, optimizer, part, part, hyper, 0, pieces,
                    piece,
                )  # fmt: skip


@kernel
def worth_sharing(plan, batch, rows_apart, tasks):
    """Return into how many pieces, at most `tasks`, the work of a step by rows is cut.

    What is saved has to repay what the cores take from each other: every piece reads weights that others have updated,
    and in the second pass rows that others have written, unless these stay `apart`.
    """
    work, exchanged = 0, 0
    for i in range(plan.shape[0]):
        ins, outs = plan[i, IN], plan[i, OUT]
        work += (3 if i > 0 else 2) * 2 * batch * ins * outs
        exchanged += ins * outs
        if not rows_apart:
            exchanged += 2 * batch * plan[i, LD]
    pieces = max(1, min(tasks, work // (2 * TASK_WORK)))
    return pieces if work - work // pieces > EXCHANGE * exchanged else 1


@kernel
def most_pieces(rows, pieces):
    """Return into how many of at most `pieces` pieces a pass over rows is cut."""
    return pieces if rows >= FEWEST_ROWS * pieces else 1


@kernel
def put_chunks_together(plan, params, grads, code, state, hyper, n, work, batch):
    """End a pass over the weights: add up the chunks where there are several, and update."""
    for i in range(plan.shape[0]):
        ins, outs, w0, b0 = plan[i, IN], plan[i, OUT], plan[i, W], plan[i, B]
        chunks = gradient_chunks(batch, ins, outs)
        if chunks > 1:
            put_together(
                at(work, plan[i, PARTIALS]), chunks, at(grads, w0), at(grads, max(b0, 0)), BIAS * (b0 >= 0), ins, outs,
                UPDATE, code, at(params, w0), at(state, w0), hyper, n,
            )  # fmt: skip
