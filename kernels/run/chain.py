"""A chain of dense layers whose weights stand as PyTorch's do, (out, in) row by row, wherever the caller keeps them.

The products are those of `dense`; a weight is read transposed where there it is read as it stands, and the other way
round, and ``dW = dZ.T @ X`` comes out in the order of the weight. All arrays are given by addresses, because those of
a framework change from call to call, and an array as an argument costs a quarter of a microsecond.
"""

from collections.abc import Sequence

import numpy as np
from numba import types

from ..activations import FIRST_STORED_SLOPE, IDENTITY
from ..activations.compiled import apply_slope
from ..compile.functions import entry, kernel
from ..compile.pointers import at, doubles_at, pointer_to
from ..compile.region import shared
from ..linalg.product import BACKWARD, FORWARD, FORWARD_WITH_SLOPE, PLAIN, product
from ..linalg.tasks import MOVED, share, worth
from ..ops.dense import block_of, gradient_chunks, put_together
from ..simd.columns import column_sums
from ..simd.microkernel import B_ROOM, BIAS, ROOM
from .plan import leading_dimension, partials_size

# Columns of a chain. A, SLOPE and TURN are places in a workspace, in elements for each row of the batch: the layer's
# output and its slope, kept for the backward pass; and that of two buffers which it has when nothing is kept, and for
# its dz. LD is how far apart the rows of all these stand.
IN, OUT, ACTIVATION, A, SLOPE, TURN, LD, COLUMNS = range(8)
# The parameters have a list of places of their own, a weight's and a bias's for each layer, in bytes from an address
# that the caller names: so the table is the same for every call. ABSENT where there is no bias, and in the list of the
# gradients where one is not wanted.
ABSENT = -1


def make_chain(layers: Sequence[tuple[int, int, int, bool]], itemsize: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Lay out a chain; layers are in_features, out_features, activation code, whether there is a bias.

    Returns
    -------
    chain
        The int64 table.
    places
        Of the parameters if they stand one after another: W, (out, in), then b.
    kept, turns
        Elements of workspace for each row of a batch: where it is kept for the backward pass, and where it is not.
    """
    chain = np.zeros((len(layers), COLUMNS), np.int64)
    places = np.full(2 * len(layers), ABSENT, np.int64)
    place = kept = 0
    last = len(layers) - 1
    for i, (row, (in_features, out_features, code, bias)) in enumerate(zip(chain, layers, strict=True)):
        row[[IN, OUT, ACTIVATION]] = in_features, out_features, code
        places[2 * i] = place
        place += in_features * out_features * itemsize
        if bias:
            places[2 * i + 1] = place
            place += out_features * itemsize
        # The last layer's output is the caller's, without room.
        row[LD] = out_features if i == last else leading_dimension(out_features, itemsize)
        if i < last:
            row[A], kept = kept, kept + row[LD]
        if code >= FIRST_STORED_SLOPE:
            row[SLOPE], kept = kept, kept + row[LD]
    even, odd = (max(chain[parity::2, LD], default=0) for parity in (0, 1))
    chain[1::2, TURN] = even = leading_dimension(int(even), itemsize)
    return chain, places, int(kept), int(even + odd)


def chain_partials(chain: np.ndarray, batch: int) -> int:
    """Return the elements that the partial sums of the weight gradients take."""
    return max(partials_size(int(row[IN]), int(row[OUT]), batch) for row in chain)


def _forward_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, p, i, i, i, p, p, i, i, i, i, i, i)


@shared(_forward_types)
def turned_forward_part(x, ld_x, w, b, flags, code, kind, a, slope, ld_a, batch, ins, outs, tasks, task):
    """One task's block of ``A = g(X @ W.T + b)``, and of ``g'(Z)`` where `kind` keeps the slope."""
    i0, i1, j0, j1 = block_of(batch, outs, x, tasks, task, False)
    c = i0 * ld_a + j0
    product(
        at(x, i0 * ld_x), ld_x, 1, at(w, j0 * ins), ins, True, at(a, c), ld_a, i1 - i0, j1 - j0, ins,
        at(b, j0), flags, kind, code, at(a, c), at(slope, c), doubles_at(0), 0,
    )  # fmt: skip


def _input_gradient_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, p, i, i, i, p, p, i, i, i, i, i)


@shared(_input_gradient_types)
def turned_input_gradient_part(dz, ld_dz, w, dx, ld_dx, flags, code, below, slope, batch, ins, outs, tasks, task):
    """One task's block of ``dX = dZ @ W``, times g' of the layer below."""
    i0, i1, j0, j1 = block_of(batch, ins, dz, tasks, task, False)
    c = i0 * ld_dx + j0
    product(
        at(dz, i0 * ld_dz), ld_dz, 1, at(w, j0), ins, False, at(dx, c), ld_dx, i1 - i0, j1 - j0, outs,
        at(w, 0), flags, PLAIN if code == IDENTITY else BACKWARD, code, at(below, c), at(slope, c), doubles_at(0), 0,
    )  # fmt: skip


@kernel
def turned_forward(x, ld_x, w, b, flags, code, kind, a, slope, ld_a, batch, ins, outs, tasks):
    """Compute ``A = g(X @ W.T + b)``."""
    pieces = worth(2 * batch * ins * outs, tasks)
    turned_forward_part(x, ld_x, w, b, flags, code, kind, a, slope, ld_a, batch, ins, outs, pieces, tasks)


@kernel
def turned_input_gradient(dz, ld_dz, w, dx, ld_dx, flags, code, below, slope, batch, ins, outs, tasks):
    """Compute ``dX = dZ @ W * g'``; below and slope are laid out as dX."""
    pieces = worth(2 * batch * ins * outs, tasks)
    turned_input_gradient_part(dz, ld_dz, w, dx, ld_dx, flags, code, below, slope, batch, ins, outs, pieces, tasks)


def _weight_gradient_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, i, p, p, i, i, i, i, i, i)


@shared(_weight_gradient_types)
def turned_weight_gradient_part(x, ld_x, dz, ld_dz, dw, db, flags, batch, ins, outs, tasks, task):
    """One task's block of ``dW = dZ.T @ X``; the blocks at the left also sum their part of ``db``."""
    i0, i1, j0, j1 = block_of(outs, ins, x, tasks, task, True)
    c = i0 * ins + j0
    product(
        at(dz, i0), 1, ld_dz, at(x, j0), ld_x, False, at(dw, c), ins, i1 - i0, j1 - j0, batch, at(dz, 0),
        flags & B_ROOM, PLAIN, IDENTITY, at(dw, c), at(dw, c), doubles_at(0), 0,
    )  # fmt: skip
    if flags & BIAS and j0 == 0:
        column_sums(at(dz, i0), ld_dz, batch, i1 - i0, at(db, i0), 0)


def _weight_gradient_chunk_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, i, p, i, i, i, i, i, i)


@shared(_weight_gradient_chunk_types)
def turned_weight_gradient_chunk(x, ld_x, dz, ld_dz, partials, flags, batch, ins, outs, chunks, chunk):
    """The sums of dW and db over one chunk of the batch."""
    start, stop = share(batch, 1, chunks, chunk), share(batch, 1, chunks, chunk + 1)
    x, dz, part = at(x, start * ld_x), at(dz, start * ld_dz), at(partials, chunk * (ins + 1) * outs)
    product(
        dz, 1, ld_dz, x, ld_x, False, part, ins, outs, ins, stop - start, dz, flags & B_ROOM, PLAIN, IDENTITY, part,
        part, doubles_at(0), 0,
    )  # fmt: skip
    if flags & BIAS:
        column_sums(dz, ld_dz, stop - start, outs, at(part, ins * outs), 0)


@kernel
def turned_weight_gradient(x, ld_x, dz, ld_dz, dw, db, flags, partials, batch, ins, outs, tasks):
    """Compute ``dW = dZ.T @ X`` and ``db = dZ.sum(0)``, in chunks of the batch where `gradient_chunks` says so."""
    chunks = gradient_chunks(batch, ins, outs)
    pieces = worth(2 * batch * ins * outs, tasks)
    if chunks == 1:
        turned_weight_gradient_part(x, ld_x, dz, ld_dz, dw, db, flags, batch, ins, outs, pieces, tasks)
        return
    turned_weight_gradient_chunk(
        x, ld_x, dz, ld_dz, partials, flags, batch, ins, outs, chunks, tasks if pieces > 1 else 1
    )
    put_together(partials, chunks, dw, db, flags, ins, outs, PLAIN, IDENTITY, dw, dw, doubles_at(0), 0)


def _slope_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(i, p, p, p, p, i, i, i, i)


@shared(_slope_types)
def slope_part(code, da, a, slope, dz, batch, features, tasks, task):
    """One task's rows of ``dZ = dA * g'``, all (batch, features)."""
    start, stop = share(batch, 1, tasks, task), share(batch, 1, tasks, task + 1)
    c = start * features
    apply_slope(code, at(da, c), at(a, c), at(slope, c), at(dz, c), features, stop - start, features)


@entry
def chain_forward(chain, like, params, places, x, batch, keep, work, out, tasks):
    """Run a chain: ``A = g(X @ W.T + b)``, layer by layer.

    chain : (layers, COLUMNS) int64, read: made by `make_chain`
    like : any array of the element type
    params : address from which `places` are counted, read
    places : (2 * layers) int64, read: where each layer's W and b are, ABSENT for no b
    x : address of (batch, in_features), read
    keep : whether the backward pass is to follow
    work : address of room for ``batch * kept`` or ``batch * turns`` elements, written
    out : address of (batch, out_features), written

    One task owns a block of a layer's output.
    """
    size, pointer = like.itemsize, at(like, 0)
    layers = chain.shape[0]
    source, ld_source = x, chain[0, IN]
    for i in range(layers):
        last = i == layers - 1
        ins, outs, w, b, ld = chain[i, IN], chain[i, OUT], places[2 * i], places[2 * i + 1], chain[i, LD]
        target = out if last else work + (chain[i, A] if keep else chain[i, TURN]) * batch * size
        slope = work + chain[i, SLOPE] * batch * size
        flags = BIAS * (b != ABSENT) + ROOM * (not last)
        turned_forward(
            pointer_to(pointer, source), ld_source, pointer_to(pointer, params + w), pointer_to(pointer, params + b),
            flags, chain[i, ACTIVATION], FORWARD_WITH_SLOPE if keep else FORWARD, pointer_to(pointer, target),
            pointer_to(pointer, slope), ld, batch, ins, outs, tasks,
        )  # fmt: skip
        source, ld_source = target, ld


@entry
def chain_backward(
    chain, like, params, places, x, batch, work, out, dout, grads, grad_places, dx, turns, partials, tasks
):  # fmt: skip
    """Compute a chain's gradients: ``dW = dZ.T @ X``, ``db = dZ.sum(0)``, ``dX = dZ @ W``, from the last layer down.

    chain, like, params, places, x, batch, work, out : as `chain_forward` had them, and left them with `keep`; read
    dout : address of the gradient of the output, (batch, out_features), read
    grads, grad_places : the same for the gradients, written: dW as W, db as b; ABSENT where one is not wanted
    dx : address of (batch, in_features), written; 0 where it is not wanted
    turns : address of room for ``batch * turns`` elements, written
    partials : address of room for `chain_partials` elements, written

    One task owns a block of dX or of dW. A small dW over a large batch is summed in fixed chunks of the batch.
    """
    size, pointer = like.itemsize, at(like, 0)
    last = chain.shape[0] - 1
    dz = dout
    if chain[last, ACTIVATION] != IDENTITY:
        dz = turns + chain[last, TURN] * batch * size
        outs = chain[last, OUT]
        pieces = worth(MOVED * batch * outs, tasks)
        slope_part(
            chain[last, ACTIVATION], pointer_to(pointer, dout), pointer_to(pointer, out),
            pointer_to(pointer, work + chain[last, SLOPE] * batch * size), pointer_to(pointer, dz), batch, outs, pieces,
            tasks,
        )  # fmt: skip
    lowest = 0
    if dx == 0:  # no need to go below the first layer of which a gradient is wanted
        while lowest < last and grad_places[2 * lowest] == ABSENT and grad_places[2 * lowest + 1] == ABSENT:
            lowest += 1
    for i in range(last, lowest - 1, -1):
        ins, outs, ld = chain[i, IN], chain[i, OUT], chain[i, LD]
        source, ld_source, room = x, ins, 0
        if i > 0:
            source, ld_source, room = work + chain[i - 1, A] * batch * size, chain[i - 1, LD], B_ROOM
        dw, db = grad_places[2 * i], grad_places[2 * i + 1]
        if dw != ABSENT:
            turned_weight_gradient(
                pointer_to(pointer, source), ld_source, pointer_to(pointer, dz), ld, pointer_to(pointer, grads + dw),
                pointer_to(pointer, grads + db), BIAS * (db != ABSENT) + room, pointer_to(pointer, partials), batch,
                ins, outs, tasks,
            )  # fmt: skip
        elif db != ABSENT:
            column_sums(pointer_to(pointer, dz), ld, batch, outs, pointer_to(pointer, grads + db), 0)
        below = dx
        code, slope, ld_below, room = IDENTITY, source, ins, 0
        if i > lowest:
            below = turns + chain[i - 1, TURN] * batch * size
            code, slope = chain[i - 1, ACTIVATION], work + chain[i - 1, SLOPE] * batch * size
            ld_below, room = chain[i - 1, LD], ROOM
        if below != 0:
            turned_input_gradient(
                pointer_to(pointer, dz), ld, pointer_to(pointer, params + places[2 * i]), pointer_to(pointer, below),
                ld_below, room, code, pointer_to(pointer, source), pointer_to(pointer, slope), batch, ins, outs, tasks,
            )  # fmt: skip
        dz = below
