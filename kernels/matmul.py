"""Products of matrices around the micro-kernel: blocks of k, groups of panels, tiles, epilogues.

One function, `product`, makes every product of the library: ``Z = X @ W``, ``dX = dZ @ W.T`` and ``dW = X.T @ dZ``
differ in the strides of A, in whether B is read transposed, and in the epilogue that runs on each row of tiles while
it is in the first-level cache. Since every element is one chain over k (see `microkernel`), a product may be cut into
tasks in any way: the bits stay.
"""

from numba import types

from .activations import activate, activate_with_slope, apply_slope
from .compile import kernel, outlined
from .isa import isa
from .microkernel import ACCUMULATE, BIAS, ROW_LADDER, START, TILE_ROWS, TILE_VECTORS, tile
from .packing import pack, pack_transposed
from .simd import at, lanes_of, stack_block

# What `product` does with a finished row of tiles
PLAIN, FORWARD, FORWARD_WITH_SLOPE, BACKWARD = range(4)

# A block of B, K_BLOCK rows of GROUP panels, fills a part of the second-level cache; one row of tiles of A, TILE_ROWS
# by K_BLOCK, stays in the first-level cache while it meets every panel of the group.
K_BLOCK = 256
GROUP = 4
WIDEST_LANES = 16
scratch = stack_block((K_BLOCK + WIDEST_LANES) * GROUP * TILE_VECTORS * isa().vector_bytes)
# Copying B costs as much as a few rows of tiles: it pays from this many rows.
PACK_ROWS = 64
MASKS = isa().masks
MIDDLE, LOW = ROW_LADDER[1], ROW_LADDER[2]


@kernel
def row_height(rows):
    """Return the height of the next tile when `rows` are left: the largest of ROW_LADDER."""
    if rows >= TILE_ROWS:
        return TILE_ROWS
    if rows >= MIDDLE:
        return MIDDLE
    return LOW if rows >= LOW else 1


@kernel
def epilogue(kind, code, c, a, slope, ld, rows, cols):
    """Finish a row of tiles of C: ``a = g(z)`` in place, or ``dz = da * g'(z)`` from `a` and `slope`."""
    if kind == FORWARD:
        activate(code, c, slope, ld, rows, cols)
    elif kind == FORWARD_WITH_SLOPE:
        activate_with_slope(code, c, slope, ld, rows, cols)
    elif kind == BACKWARD:
        apply_slope(code, c, a, slope, c, ld, rows, cols)


def _product_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, i, p, i, i, p, i, i, i, i, p, i, i, i, p, p)


@outlined(_product_types)
def product(
    a, row_stride, k_stride, b, ldb, transposed, c, ldc, rows, cols, depth, bias, biased, kind, code, below, slope
):
    """Compute ``C = A @ B`` for one task, add the bias, run the epilogue.

    a : A's element (i, k) stands at ``a[i * row_stride + k * k_stride]``
    b : B's element (k, j) stands at ``b[k * ldb + j]``, or at ``b[j * ldb + k]`` where `transposed`
    c : (rows, cols), rows `ldc` apart; written
    bias : (cols,), added where `biased`
    kind, code : which epilogue, of which activation
    below, slope : laid out as C; activations and their slopes, read or written by the epilogue
    """
    width = lanes_of(a)
    block = scratch(a)
    group_cols = GROUP * TILE_VECTORS * width
    for j0 in range(0, cols, group_cols):
        group = min(group_cols, cols - j0)
        vectors = (group + width - 1) // width
        panels = (vectors + TILE_VECTORS - 1) // TILE_VECTORS
        whole = group % width == 0
        packed = transposed or rows >= PACK_ROWS or not (MASKS or whole)
        k0 = 0
        while True:
            k_size = min(K_BLOCK, depth - k0)
            mode = START if k0 == 0 else ACCUMULATE
            last = k0 + k_size == depth
            if last and biased:
                mode |= BIAS
            if packed:
                for p in range(panels):
                    first = vectors * p // panels * width
                    panel_width = vectors * (p + 1) // panels * width - first
                    panel_cols = min(panel_width, group - first)
                    panel = at(block, first * (K_BLOCK + WIDEST_LANES))
                    if transposed:
                        pack_transposed(at(b, (j0 + first) * ldb + k0), ldb, k_size, panel_cols, panel, panel_width)
                    else:
                        pack(at(b, k0 * ldb + j0 + first), ldb, k_size, panel_cols, panel, panel_width)
            i = 0
            while i < rows:
                height = row_height(rows - i)
                for p in range(panels):
                    first = vectors * p // panels * width
                    panel_width = vectors * (p + 1) // panels * width - first
                    if packed:
                        panel, ld_panel = at(block, first * (K_BLOCK + WIDEST_LANES)), panel_width
                    else:
                        panel, ld_panel = at(b, k0 * ldb + j0 + first), ldb
                    tile(
                        height, at(a, i * row_stride + k0 * k_stride), row_stride, k_stride, panel, ld_panel,
                        at(c, i * ldc + j0 + first), ldc, k_size, min(panel_width, group - first),
                        at(bias, j0 + first), mode,
                    )  # fmt: skip
                if last:
                    row = i * ldc + j0
                    epilogue(kind, code, at(c, row), at(below, row), at(slope, row), ldc, height, group)
                i += height
            k0 += k_size
            if last:
                break


@kernel
def grid(rows, cols, width, tasks):
    """Cut a (rows, cols) product for `tasks` tasks into a grid; return how many columns it has.

    The longest task should be short. Cutting columns is better than cutting rows at the same length, because every
    row of the grid packs B once more.
    """
    tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    vectors = (cols + width - 1) // width
    best, best_cost = 1, -1
    for across in range(1, tasks + 1):
        if tasks % across == 0:
            down = tasks // across
            tall, wide = (tiles + down - 1) // down, (vectors + across - 1) // across
            # A group of fewer vectors than a tile holds broadcasts each element of A for less work.
            cost = tall * wide * 8 + tall * wide * 8 // min(wide, TILE_VECTORS) + wide * (down > 1)
            if best_cost < 0 or cost <= best_cost:
                best, best_cost = across, cost
    return best


@kernel
def share(count, unit, parts, part):
    """Return where the share of `part` in `count`, cut into `parts` at multiples of `unit`, begins."""
    units = (count + unit - 1) // unit
    return min(count, units * part // parts * unit)
