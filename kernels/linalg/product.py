"""Products of matrices around the micro-kernel: blocks of k, groups of panels, tiles, epilogues.

One function, `product`, makes every product of the library: ``Z = X @ W``, ``dX = dZ @ W.T`` and ``dW = X.T @ dZ``
differ in the strides of A, in whether B is read transposed, and in the epilogue: in the registers of each tile, or on a
block of rows while it is in a cache. Since every element is one chain over k (see `microkernel`), a product may be cut
into tasks in any way: the bits stay.
"""

from numba import types

from ..activations import FIRST_STORED_SLOPE, IDENTITY, RELU
from ..activations.compiled import activate, activate_with_slope, apply_slope
from ..compile.functions import kernel, outlined
from ..compile.pointers import at, lanes_of, stack_block
from ..optimizers.compiled import update
from ..simd.caches import caches
from ..simd.isa import WIDEST_LANES, isa
from ..simd.microkernel import (
    ACCUMULATE,
    B_ROOM,
    BIAS,
    GATE,
    LOW_ROWS,
    RECTIFY,
    ROOM,
    ROW_VECTORS,
    SCALE,
    TAKE,
    TILE_ROWS,
    TILE_VECTORS,
    tile,
)
from ..simd.packing import pack, pack_transposed
from .tasks import share

# What `product` does with a finished block
PLAIN, FORWARD, FORWARD_WITH_SLOPE, BACKWARD, UPDATE = range(5)

# A block of B, at most K_BLOCK rows of GROUP panels, stays in the second-level cache while ROW_BLOCK rows of A after
# another meet it. C is read and written once for each block of k: few, of the same depth. A panel is larger than the
# first-level cache then, and is fetched ahead.
K_BLOCK = 512
LARGEST_BLOCK = 1 << 20
PANEL_BYTES = K_BLOCK * TILE_VECTORS * isa().vector_bytes
GROUP = max(1, min(LARGEST_BLOCK, caches()[2] // 2) // PANEL_BYTES)
ROW_BLOCK = 96
# A transposed block may be written up to whole vectors of k; one more row holds the bias.
BLOCK_ROWS = K_BLOCK + WIDEST_LANES
b_scratch = stack_block((BLOCK_ROWS + 1) * GROUP * TILE_VECTORS * isa().vector_bytes)
a_scratch = stack_block(BLOCK_ROWS * ROW_BLOCK * 8)
# Copying B costs as much as a few rows of tiles: it pays from so many rows, where a block of B as it stands (elements
# from its first row to its last) is no longer at home in the first-level cache.
PACK_ROWS = 64
PACK_SPREAD = 4096
# Rows of B copied at a time, into one panel after another: the reader of B stays on so many pages.
PACK_TURN = 16
# Columns of A so far apart are on a page or two of their own: they are copied next to each other.
PACK_STRIDE = 512


@kernel
def tile_height(rows):
    """Return the height of the next tile when `rows` are left; two low ones in place of a high one and a mere rest."""
    return LOW_ROWS if rows <= LOW_ROWS or TILE_ROWS < rows <= 2 * LOW_ROWS else TILE_ROWS


@kernel
def panel_of(vectors, panels, p, width):
    """Return where panel `p` of a group begins and how wide it is: `vectors` shared out to `panels`."""
    first = vectors * p // panels
    return first * width, (vectors * (p + 1) // panels - first) * width


@kernel
def exposed_rows(overhang, ldb, later, depth):
    """Return how many of the last of `depth` rows, whole vectors of them, would be read past the end of B.

    The vectors reach `overhang` elements past the columns, and so many rows follow `later`, `ldb` apart.
    """
    return max(0, min(depth, (overhang + ldb - 1) // ldb - later))


def _epilogue_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(i, i, p, p, p, types.CPointer(types.float64), i, i, i, i)


@outlined(_epilogue_types)
def epilogue(kind, code, c, below, beside, hyper, n, ld, rows, cols):
    """Finish a block of C in memory. What `below` and `beside` are, `product` says."""
    if kind == FORWARD:
        activate(code, c, beside, ld, rows, cols)
    elif kind == FORWARD_WITH_SLOPE:
        activate_with_slope(code, c, beside, ld, rows, cols)
    elif kind == BACKWARD:
        apply_slope(code, c, below, beside, c, ld, rows, cols)
    else:
        update(code, below, c, beside, hyper, n, ld, rows, cols)


@kernel
def fused(kind, code):
    """Return the mode of tiles that finish C in their registers; 0 where that takes a pass of its own."""
    if kind == BACKWARD:
        return SCALE if code >= FIRST_STORED_SLOPE else GATE if code == RELU else 0
    return RECTIFY if code == RELU and kind in (FORWARD, FORWARD_WITH_SLOPE) else 0


@kernel
def in_memory(kind, code):
    """Return whether a finished block takes a pass in memory."""
    return kind == UPDATE or (kind != PLAIN and code != IDENTITY and fused(kind, code) == 0)


@kernel
def pack_block(b, ldb, transposed, k0, k_size, j0, cols, vectors, panels, block):
    """Copy rows k0 … k0 + k_size of so many columns of B into panels."""
    width = lanes_of(b)
    turn = K_BLOCK if transposed else PACK_TURN
    for k in range(0, k_size, turn):
        rows = min(turn, k_size - k)
        for p in range(panels):
            first, panel_width = panel_of(vectors, panels, p, width)
            panel_cols = min(panel_width, cols - first)
            panel = at(block, first * BLOCK_ROWS + k * panel_width)
            if transposed:
                pack_transposed(at(b, (j0 + first) * ldb + k0 + k), ldb, rows, panel_cols, panel, panel_width)
            else:
                pack(at(b, (k0 + k) * ldb + j0 + first), ldb, rows, panel_cols, panel, panel_width)


def _product_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, i, p, i, i, p, i, i, i, i, p, i, i, i, p, p, types.CPointer(types.float64), i)


@outlined(_product_types)
def product(
    a, row_stride, k_stride, b, ldb, transposed, c, ldc, rows, cols, depth, bias, flags, kind, code, below, beside,
    hyper, n,
):  # fmt: skip
    """Compute ``C = A @ B`` for one task, add the bias, run the epilogue.

    a : A's element (i, k) stands at ``a[i * row_stride + k * k_stride]``
    b : B's element (k, j) stands at ``b[k * ldb + j]``, or at ``b[j * ldb + k]`` where `transposed`
    c : (rows, cols), rows `ldc` apart; written
    bias : (cols,), added where `flags` has BIAS
    flags : BIAS, B_ROOM and TAKE, as `tile` has them; ACCUMULATE to go on from what stands in c; ROOM where c, below
        and beside have room up to whole vectors
    kind, code : which epilogue, of which activation or optimizer
    below, beside : laid out as C, read or written by the epilogue; activations and their slopes, or the parameters and
        the optimizer's state
    hyper, n : as `update` takes them, for that epilogue
    """
    width = lanes_of(a)
    block, a_block = b_scratch(a), a_scratch(a)
    addends = at(block, BLOCK_ROWS * GROUP * TILE_VECTORS * width)
    single = rows == 1 and not transposed
    tile_vectors = ROW_VECTORS if single else TILE_VECTORS
    all_vectors = (cols + width - 1) // width
    groups = (all_vectors + GROUP * TILE_VECTORS - 1) // (GROUP * TILE_VECTORS)
    far_columns = row_stride == 1 and k_stride > PACK_STRIDE
    finish = flags & (ROOM | TAKE) | fused(kind, code)
    tile_below = beside if finish & SCALE else below
    for g in range(groups):
        j0, vectors = panel_of(all_vectors, groups, g, width)
        group = min(vectors, cols - j0)
        vectors = vectors // width
        panels = (vectors + tile_vectors - 1) // tile_vectors
        packed = transposed or (rows >= PACK_ROWS and min(depth, K_BLOCK) * ldb > PACK_SPREAD)
        if flags & BIAS:
            pack(at(bias, j0), 0, 1, group, addends, 0)
        k_blocks = max(1, (depth + K_BLOCK - 1) // K_BLOCK)
        for k_block in range(k_blocks):
            k0 = share(depth, 1, k_blocks, k_block)
            k_size = share(depth, 1, k_blocks, k_block + 1) - k0
            mode = ACCUMULATE if k0 > 0 else flags & ACCUMULATE
            last = k_block == k_blocks - 1
            mode |= finish | flags & BIAS if last else flags & ROOM
            if packed:
                pack_block(b, ldb, transposed, k0, k_size, j0, group, vectors, panels, block)
            for i0 in range(0, rows, ROW_BLOCK):
                i1 = min(rows, i0 + ROW_BLOCK)
                source, source_k = at(a, i0 * row_stride + k0 * k_stride), k_stride
                if far_columns:
                    pack(source, k_stride, k_size, i1 - i0, a_block, ROW_BLOCK)
                    source, source_k = a_block, ROW_BLOCK
                for p in range(panels):
                    first, panel_width = panel_of(vectors, panels, p, width)
                    panel_cols = min(panel_width, group - first)
                    panel, ld_panel, exposed = at(b, k0 * ldb + j0 + first), ldb, 0
                    if packed:
                        panel, ld_panel = at(block, first * BLOCK_ROWS), panel_width
                    elif flags & B_ROOM == 0:
                        exposed = exposed_rows(panel_width - panel_cols, ldb, depth - k0 - k_size, k_size)
                    i = i0
                    while i < i1:
                        height = 1 if single else tile_height(i1 - i)
                        tile_rows = min(height, i1 - i)
                        corner = i * ldc + j0 + first
                        tile(
                            height, tile_rows, at(source, (i - i0) * row_stride), row_stride, source_k, panel,
                            ld_panel, exposed, at(c, corner), ldc, k_size, panel_cols, at(addends, first),
                            at(tile_below, corner), mode,
                        )  # fmt: skip
                        i += tile_rows
                if last and in_memory(kind, code):
                    row = i0 * ldc + j0
                    all_cols = vectors * width if flags & ROOM else group
                    epilogue(kind, code, at(c, row), at(below, row), at(beside, row), hyper, n, ldc, i1 - i0, all_cols)
