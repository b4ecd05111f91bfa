"""The dense layer: ``Z = X @ W + b``, ``A = g(Z)`` forward; ``dX``, ``dW`` and ``db`` backward.

``W`` stands as it is stored, (in_features, out_features): the transpose of the lecture's. Three levels: a ``*_part``
does one task's share, on pointers; `forward`, `input_gradient` and `weight_gradient` say how many tasks there are, for
`passes` too; `dense_forward` and `dense_backward` are the same for plain arrays.

``tasks`` says into how many tasks the work is cut; 1 opens no parallel region. It changes no bit.
"""

from numba import types
from numba.extending import register_jitable

from ..activations import IDENTITY
from ..activations.compiled import apply_slope
from ..compile.functions import entry, kernel
from ..compile.pointers import at, doubles_at, lanes_of
from ..compile.region import one_piece, shared
from ..linalg.few_columns import few_columns, pays
from ..linalg.product import BACKWARD, FORWARD, FORWARD_WITH_SLOPE, PLAIN, UPDATE, product
from ..linalg.tasks import grid, share, worth
from ..optimizers.compiled import update
from ..simd.columns import column_sums
from ..simd.microkernel import ACCUMULATE, B_ROOM, BIAS, TAKE, TILE_ROWS

# A large batch is cut into chunks of rows. The gradient of a small weight matrix is summed over each chunk apart, to be
# shared out; some rows at a time, which stay in a cache. That of a larger one is summed over chunk after chunk, and
# `passes` takes each through all of a step before the next: its rows are still in a cache when dW is summed.
CHUNKED_WEIGHTS = 1 << 14
CHUNK_ROWS = 512
MOST_CHUNKS = 64
ROWS_AT_ONCE = 256


@register_jitable  # `plan` calls it as Python
def chunks_of(batch):
    """Return into how many chunks a batch is cut. The bits of gradients depend on it, so no machine has a say in it."""
    chunks = 1
    # A power of two, so that two, four or eight tasks have as many.
    while chunks < MOST_CHUNKS and 2 * chunks * CHUNK_ROWS <= batch:
        chunks *= 2
    return chunks


@kernel
def gradient_chunks(batch, in_features, out_features):
    """Return how many partial sums make the weight gradient."""
    return chunks_of(batch) if in_features * out_features <= CHUNKED_WEIGHTS else 1


@kernel
def blocks_of(rows):
    """Return how many blocks a chunk of so many rows is added up in: `share` has them as long as each other."""
    return (rows + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE


@kernel
def block_of(rows, cols, pointer, tasks, task, lengthwise):
    """Return the block (i0, i1, j0, j1) of a (rows, cols) matrix that `task` of `tasks` computes; see `grid`."""
    width = lanes_of(pointer)
    across = grid(rows, cols, width, tasks, lengthwise)
    down = tasks // across
    y, x = task // across, task % across
    return (
        share(rows, TILE_ROWS, down, y),
        share(rows, TILE_ROWS, down, y + 1),
        share(cols, width, across, x),
        share(cols, width, across, x + 1),
    )


def _forward_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, p, i, i, i, p, p, i, i, i, i, i, i)


@shared(_forward_types)
def forward_part(x, ld_x, w, b, flags, code, kind, a, slope, ld_a, batch, ins, outs, tasks, task):
    """One task's block of ``A = g(X @ W + b)``, and of ``g'(Z)`` where `kind` keeps the slope."""
    i0, i1, j0, j1 = block_of(batch, outs, x, tasks, task, False)
    c = i0 * ld_a + j0
    product(
        at(x, i0 * ld_x), ld_x, 1, at(w, j0), outs, False, at(a, c), ld_a, i1 - i0, j1 - j0, ins,
        at(b, j0), flags, kind, code, at(a, c), at(slope, c), doubles_at(0), 0,
    )  # fmt: skip


def _input_gradient_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, p, i, i, i, p, p, i, i, i, i, i)


@shared(_input_gradient_types)
def input_gradient_part(dz, ld_dz, w, dx, ld_dx, flags, code, below, slope, batch, ins, outs, tasks, task):
    """One task's block of ``dX = dZ @ W.T``, times g' of the layer below."""
    i0, i1, j0, j1 = block_of(batch, ins, dz, tasks, task, False)
    c = i0 * ld_dx + j0
    product(
        at(dz, i0 * ld_dz), ld_dz, 1, at(w, j0 * outs), outs, True, at(dx, c), ld_dx, i1 - i0, j1 - j0, outs,
        at(w, 0), flags, PLAIN if code == IDENTITY else BACKWARD, code, at(below, c), at(slope, c), doubles_at(0), 0,
    )  # fmt: skip


@kernel
def gradient(x, ld_x, dz, ld_dz, dw, ld, rows, ins, outs, flags, kind, code, params, state, hyper, n):
    """Compute ``dW = X.T @ dZ`` for one task; see `few_columns`."""
    if pays(ins, outs, lanes_of(x)):
        few_columns(x, ld_x, dz, ld_dz, dw, ld, rows, ins, outs, flags, kind, code, params, state, hyper, n)
    else:
        product(x, 1, ld_x, dz, ld_dz, False, dw, ld, ins, outs, rows, dz, flags, kind, code, params, state, hyper, n)


def _weight_gradient_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, i, p, p, i, i, i, i, i, i, i, i, i, p, p, types.CPointer(types.float64), i, i, i)


@shared(_weight_gradient_types)
def weight_gradient_part(
    x, ld_x, dz, ld_dz, dw, db, flags, batch, parts, first, last, ins, outs, kind, code, params, state, hyper, n, tasks,
    task,
):  # fmt: skip
    """One task's block of ``dW = X.T @ dZ``, and its update; the blocks at the top also sum their part of ``db``.

    x, dz : the rows from part `first` to before part `last` of a batch in so many `parts`: db is summed part after
        part; after the first, sums go on from what stands in dw and db
    """
    i0, i1, j0, j1 = block_of(ins, outs, x, tasks, task, True)
    start = share(batch, 1, parts, first)
    rows = share(batch, 1, parts, last) - start
    c = i0 * outs + j0
    gradient(
        at(x, i0), ld_x, at(dz, j0), ld_dz, at(dw, c), outs, rows, i1 - i0, j1 - j0,
        flags & (B_ROOM | TAKE) | ACCUMULATE * (first > 0), kind, code, at(params, c), at(state, c), hyper, n,
    )  # fmt: skip
    if flags & BIAS and task < grid(ins, outs, lanes_of(x), tasks, True):
        for part in range(first, last):
            row, end = share(batch, 1, parts, part), share(batch, 1, parts, part + 1)
            column_sums(at(dz, (row - start) * ld_dz + j0), ld_dz, end - row, j1 - j0, at(db, j0), part > 0)
        if kind == UPDATE:
            b = ins * outs + j0
            update(code, at(params, b), at(db, j0), at(state, b), hyper, n, outs, 1, j1 - j0)


@kernel
def add_gradient(x, ld_x, dz, ld_dz, part, flags, rows, ins, outs, more):
    """Sum dW and db over some rows; with `more`, on top of what stands in `part`."""
    gradient(
        x, ld_x, dz, ld_dz, part, outs, rows, ins, outs, flags & B_ROOM | ACCUMULATE * more, PLAIN, IDENTITY, part,
        part, doubles_at(0), 0,
    )  # fmt: skip
    if flags & BIAS:
        column_sums(dz, ld_dz, rows, outs, at(part, ins * outs), more)


def _weight_gradient_chunk_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, i, p, i, i, i, i, i, i)


@shared(_weight_gradient_chunk_types)
def weight_gradient_chunk(x, ld_x, dz, ld_dz, partials, flags, batch, ins, outs, chunks, chunk):
    """The sums of dW and db over one chunk of the batch."""
    start, stop = share(batch, 1, chunks, chunk), share(batch, 1, chunks, chunk + 1)
    part = at(partials, chunk * (ins + 1) * outs)
    blocks = blocks_of(stop - start)
    for block in range(blocks):
        row, end = start + share(stop - start, 1, blocks, block), start + share(stop - start, 1, blocks, block + 1)
        add_gradient(at(x, row * ld_x), ld_x, at(dz, row * ld_dz), ld_dz, part, flags, end - row, ins, outs, block > 0)


# For a task that computes its piece of every layer's gradient
weight_gradient_piece = one_piece(weight_gradient_part)


@kernel
def forward(x, ld_x, w, b, flags, code, kind, a, slope, ld_a, batch, ins, outs, tasks):
    """Compute ``A = g(X @ W + b)``; rows of X stand `ld_x` apart, those of A and the slope `ld_a`."""
    pieces = worth(2 * batch * ins * outs, tasks)
    forward_part(x, ld_x, w, b, flags, code, kind, a, slope, ld_a, batch, ins, outs, pieces, tasks)


@kernel
def input_gradient(dz, ld_dz, w, dx, ld_dx, flags, code, below, slope, batch, ins, outs, tasks):
    """Compute ``dX = dZ @ W.T * g'``: the dz of the layer below, of activation `code`.

    below, slope : that layer's output and stored slope, laid out as dX; read as its activation needs them
    """
    pieces = worth(2 * batch * ins * outs, tasks)
    input_gradient_part(dz, ld_dz, w, dx, ld_dx, flags, code, below, slope, batch, ins, outs, pieces, tasks)


@kernel
def weight_gradient(
    x, ld_x, dz, ld_dz, dw, db, flags, partials, batch, ins, outs, kind, code, params, state, hyper, n, tasks
):
    """Compute ``dW = X.T @ dZ`` and ``db = dZ.sum(0)``.

    partials : room for ``gradient_chunks(...) * (ins + 1) * outs`` elements where there are several chunks
    kind : UPDATE, to update W and b at once, while the gradient is in a cache; else PLAIN
    code, params, state, hyper, n : for that, as `optimizers.compiled.update` takes them; W, and b behind it
    """
    chunks, parts = gradient_chunks(batch, ins, outs), chunks_of(batch)
    pieces = worth(2 * batch * ins * outs, tasks)
    if chunks == 1:
        weight_gradient_part(
            x, ld_x, dz, ld_dz, dw, db, flags, batch, parts, 0, parts, ins, outs, kind, code, params, state, hyper, n,
            pieces, tasks,
        )  # fmt: skip
    else:
        weight_gradient_chunk(x, ld_x, dz, ld_dz, partials, flags, batch, ins, outs, chunks, tasks if pieces > 1 else 1)
        put_together(partials, chunks, dw, db, flags, ins, outs, kind, code, params, state, hyper, n)


@kernel
def put_together(partials, chunks, dw, db, flags, ins, outs, kind, code, params, state, hyper, n):
    """Add up the chunks of dW and db, and update W and b where `kind` is UPDATE."""
    size, weights = (ins + 1) * outs, ins * outs
    column_sums(partials, size, chunks, weights, dw, 0)
    if flags & BIAS:
        column_sums(at(partials, weights), size, chunks, outs, db, 0)
    if kind == UPDATE:
        update(code, params, dw, state, hyper, n, outs, ins, outs)
        if flags & BIAS:
            update(code, at(params, weights), db, at(state, weights), hyper, n, outs, 1, outs)


@entry
def dense_forward(x, w, b, activation, with_slope, tasks, a, slope):
    """Compute a dense layer: ``Z = X @ W + b``, ``A = g(Z)``, and ``g'(Z)`` for the backward pass.

    x : (batch, in_features), read
    w : (in_features, out_features), read
    b : (out_features,), or empty for no bias; read
    activation : code from `activations`
    with_slope : whether to write `slope`
    a : (batch, out_features), written
    slope : (batch, out_features), written where `with_slope` and the activation stores one, else untouched

    One task owns one block of A and reduces it over all of in_features.
    """
    batch, ins = x.shape
    outs = w.shape[1]
    kind = FORWARD_WITH_SLOPE if with_slope else FORWARD
    flags = BIAS if b.size > 0 else 0
    forward(
        at(x, 0), ins, at(w, 0), at(b, 0), flags, activation, kind, at(a, 0), at(slope, 0), outs, batch, ins, outs,
        tasks,
    )  # fmt: skip


@entry
def dense_backward(x, w, dz, below_activation, below, slope, with_dx, partials, tasks, dx, dw, db):
    """Compute the gradients of a dense layer: ``dW = X.T @ dZ``, ``db = dZ.sum(0)``, ``dX = dZ @ W.T * g'``.

    x : (batch, in_features), read: the layer's input, the output of the layer below
    w : (in_features, out_features), read
    dz : (batch, out_features), read
    below_activation, below, slope : the layer below: its activation's code, and as this needs them its output and
        stored slope, (batch, in_features), read. With IDENTITY, dx is the plain ``dZ @ W.T``.
    with_dx : whether to compute dx
    partials : room for ``gradient_chunks(...) * (in_features + 1) * out_features`` elements where that is several
    dx : (batch, in_features), written where `with_dx`: dz of the layer below
    dw : (in_features, out_features), written
    db : (out_features,), or empty for no bias; written

    One task owns one block of dX or of dW. A small dW over a large batch is summed in fixed chunks of the batch.
    """
    batch, ins = x.shape
    outs = w.shape[1]
    if with_dx:
        input_gradient(
            at(dz, 0), outs, at(w, 0), at(dx, 0), ins, 0, below_activation, at(below, 0), at(slope, 0), batch, ins,
            outs, tasks,
        )  # fmt: skip
    flags = BIAS if db.size > 0 else 0
    weight_gradient(
        at(x, 0), ins, at(dz, 0), outs, at(dw, 0), at(db, 0), flags, at(partials, 0), batch, ins, outs, PLAIN, IDENTITY,
        at(dw, 0), at(dw, 0), doubles_at(0), 0, tasks,
    )  # fmt: skip


@entry
def activation_backward(da, activation, a, slope, dz):
    """Compute ``dz = da * g'(z)``, for a gradient that comes from outside; all (batch, features), C-contiguous."""
    apply_slope(activation, at(da, 0), at(a, 0), at(slope, 0), at(dz, 0), da.shape[1], da.shape[0], da.shape[1])
