"""Products of matrices around the micro-kernel: blocks of k, groups of panels, tiles, epilogues.

One function, `product`, makes every product of the library: ``Z = X @ W``, ``dX = dZ @ W.T`` and ``dW = X.T @ dZ``
differ in the strides of A, in whether B is read transposed, and in the epilogue: in the registers of each tile, or on a
block of rows while it is in a cache. Since every element is one chain over k (see `microkernel`), a product may be cut
into tasks in any way: the bits stay.
"""

from numba import types

from ..compile.constants import constant
from ..compile.functions import kernel
from ..compile.outlined import outlined
from ..compile.pointers import at, lanes_of
from ..compile.scratch import scratch
from ..simd.isa import WIDEST_LANES, isa
from ..simd.machine import K_BLOCK, most_panels
from ..simd.microkernel import LOW_ROWS, ROW_VECTORS, TILE_ROWS, TILE_VECTORS, tile
from ..simd.modes import ACCUMULATE, B_ROOM, BIAS, GATE, RECTIFY, ROOM, SCALE, TAKE
from ..simd.packing import pack, pack_transposed
from ..simd.turned_row import grow_turned_row
from .matrix import Finish, Matrix
from .tasks import share

# A block of B, at most K_BLOCK rows of `panels_abreast` panels, stays in the second-level cache while ROW_BLOCK rows of
# A after another meet it. C is read and written once for each block of k: few, of the same depth. A panel is larger
# than the first-level cache then, and is fetched ahead.
panels_abreast = constant("panels")
ROW_BLOCK = 96
# A transposed block may be written up to whole vectors of k; one more row holds the bias.
BLOCK_ROWS = K_BLOCK + WIDEST_LANES
blocks = scratch((BLOCK_ROWS + 1) * most_panels() * TILE_VECTORS * isa().vector_bytes + BLOCK_ROWS * ROW_BLOCK * 8)
# Copying B costs as much as a few rows of tiles: it pays from so many rows, where a block of B as it stands (elements
# from its first row to its last) is no longer at home in the first-level cache.
PACK_ROWS = 64
PACK_SPREAD = 4096
# Rows of B copied at a time, into one panel after another: the reader of B stays on so many pages.
PACK_TURN = 16
# Columns of A so far apart are on a page or two of their own: they are copied next to each other.
PACK_STRIDE = 512
# Rows of C a multiple of so many vectors apart meet in a few sets of the first-level cache. Where they are only
# written, one link a chain, it is done row by row: a tile of many would drive out its own lines.
COLLIDING = 32


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


@kernel
def pack_block(b, panels, block):
    """Copy B, some rows and columns of a right operand, into panels."""
    width = lanes_of(b.data)
    vectors = (b.cols + width - 1) // width
    turn = K_BLOCK if b.turned else PACK_TURN
    for k in range(0, b.rows, turn):
        rows = min(turn, b.rows - k)
        for p in range(panels):
            first, panel_width = panel_of(vectors, panels, p, width)
            panel_cols = min(panel_width, b.cols - first)
            panel = at(block, first * BLOCK_ROWS + k * panel_width)
            if b.turned:
                pack_transposed(b.element(k, first), b.ld, rows, panel_cols, panel, panel_width)
            else:
                pack(b.element(k, first), b.ld, rows, panel_cols, panel, panel_width)


@kernel
def tiles_of_rows(a, b, exposed, c, bias, below, mode, single):
    """Compute a panel's columns of a block of rows, tile after tile; the arguments are those of `tile`."""
    i = 0
    while i < c.rows:
        height = 1 if single else tile_height(c.rows - i)
        end = i + min(height, c.rows - i)
        tile(height, a.rows_of(i, end), b, exposed, c.rows_of(i, end), bias, at(below, i * c.ld), mode)
        i = end


@kernel
def turned_row(a, b, c, bias, below, mode):
    """Compute a panel's columns of a single row with B turned; the arguments are those of `tile`."""
    grow_turned_row(a.data, b.data, b.ld, b.rows, b.cols, c.data, mode & ACCUMULATE)
    # The chains are whole: a tile goes on from them with no link, and finishes them.
    tile(1, a.cols_of(0, 0), b, 0, c, bias, below, mode | ACCUMULATE)


def _product_types(dtype):
    m = Matrix.of(dtype)
    return types.void(m, m, m, Finish.of(dtype))


@outlined(_product_types)
def product(a, b, c, finish):
    """Compute ``C = A @ B`` for one task, and finish it.

    a, b : (rows, depth) and (depth, cols), turned or not; read
    c : (rows, cols), not turned; written
    finish : its mode has BIAS, RECTIFY, GATE, SCALE, B_ROOM and TAKE as `tile` has them, ACCUMULATE to go on from what
        stands in c, and ROOM where c, below and beside have room up to whole vectors
    """
    width, depth = lanes_of(a.data), a.cols
    block, group = blocks(a.data), panels_abreast() * TILE_VECTORS
    addends = at(block, BLOCK_ROWS * group * width)
    a_block = at(addends, group * width)
    from_turned = c.rows == 1 and b.turned
    single = c.rows == 1 or (depth == 1 and c.ld % (COLLIDING * width) == 0)
    tile_vectors = ROW_VECTORS if single else TILE_VECTORS
    all_vectors = (c.cols + width - 1) // width
    groups = (all_vectors + group - 1) // group
    packed = not from_turned and (b.turned or (c.rows >= PACK_ROWS and min(depth, K_BLOCK) * b.ld > PACK_SPREAD))
    last_mode = finish.mode & (ROOM | TAKE | BIAS | RECTIFY | GATE | SCALE)
    tile_below = finish.beside if finish.mode & SCALE else finish.below
    k_blocks = max(1, (depth + K_BLOCK - 1) // K_BLOCK)
    for g in range(groups):
        j0, vectors = panel_of(all_vectors, groups, g, width)
        cols = min(vectors, c.cols - j0)
        vectors = vectors // width
        panels = (vectors + tile_vectors - 1) // tile_vectors
        if finish.mode & BIAS:
            pack(at(finish.bias, j0), 0, 1, cols, addends, 0)
        for k_block in range(k_blocks):
            k0, k1 = share(depth, 1, k_blocks, k_block), share(depth, 1, k_blocks, k_block + 1)
            last = k_block == k_blocks - 1
            mode = ACCUMULATE if k0 > 0 else finish.mode & ACCUMULATE
            mode |= last_mode if last else finish.mode & ROOM
            if packed:
                pack_block(b.part(k0, k1, j0, j0 + cols), panels, block)
            for i0 in range(0, c.rows, ROW_BLOCK):
                i1 = min(c.rows, i0 + ROW_BLOCK)
                source = a.part(i0, i1, k0, k1)
                if a.turned and a.ld > PACK_STRIDE:
                    pack(source.data, a.ld, k1 - k0, i1 - i0, a_block, ROW_BLOCK)
                    source = Matrix(a_block, ROW_BLOCK, i1 - i0, k1 - k0, 1)
                for p in range(panels):
                    first, panel_width = panel_of(vectors, panels, p, width)
                    panel_cols = min(panel_width, cols - first)
                    panel, exposed = b.part(k0, k1, j0 + first, j0 + first + panel_cols), 0
                    if packed:
                        panel = Matrix(at(block, first * BLOCK_ROWS), panel_width, k1 - k0, panel_cols, 0)
                    elif finish.mode & B_ROOM == 0:
                        exposed = exposed_rows(panel_width - panel_cols, b.ld, depth - k1, k1 - k0)
                    corner = i0 * c.ld + j0 + first
                    target = Matrix(at(c.data, corner), c.ld, i1 - i0, panel_cols, 0)
                    bias, below = at(addends, first), at(tile_below, corner)
                    if from_turned:
                        turned_row(source, panel, target, bias, below, mode)
                    else:
                        tiles_of_rows(source, panel, exposed, target, bias, below, mode, single)
                if last:
                    written = vectors * width if finish.mode & ROOM else cols
                    done = Matrix(c.element(i0, j0), c.ld, i1 - i0, written, 0)
                    finish.moved(i0 * c.ld + j0, 0).run(done)
