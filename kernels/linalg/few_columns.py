"""``dW = X.T @ dZ`` where dZ has few columns: they would fill a part of a vector, the columns of X fill it whole.

So ``dW.T = dZ.T @ X`` is computed, some columns of X at a time, and turned into its place. An element is the same chain
either way (see `microkernel`), so the bits are the same.
"""

from numba import types

from ..compile.functions import kernel
from ..compile.outlined import outlined
from ..compile.pointers import at, doubles_at, lanes_of, stack_block
from ..simd.isa import WIDEST_LANES, isa
from ..simd.microkernel import TILE_VECTORS
from ..simd.modes import ACCUMULATE, ROOM
from ..simd.packing import pack_transposed, unpack_transposed
from .matrix import Finish, Matrix
from .product import product
from .tasks import share

# So many vectors of X at a time, whole panels; the block has a row for each column of dZ.
STRIP = 4 * TILE_VECTORS
turned_block = stack_block(WIDEST_LANES * STRIP * isa().vector_bytes)


@kernel
def pays(ins, outs, width):
    """Return whether the turned product takes so much less that turning its result is repaid."""
    return outs <= width and 5 * outs * ((ins + width - 1) // width) <= 4 * ins


def _types(dtype):
    m = Matrix.of(dtype)
    return types.void(m, m, m, Finish.of(dtype))


@outlined(_types)
def few_columns(x, dz, dw, finish):
    """Compute ``dW = X.T @ dZ`` for one task, as ``product(x.transposed(), dz, dw, finish)`` would."""
    width, block = lanes_of(x.data), turned_block(x.data)
    ld_block = STRIP * width
    plain = Finish(finish.mode & ACCUMULATE | ROOM, x.data, 0, block, block, doubles_at(0), 0)
    strips = (dw.rows + ld_block - 1) // ld_block
    for strip in range(strips):
        first, end = share(dw.rows, width, strips, strip), share(dw.rows, width, strips, strip + 1)
        if finish.mode & ACCUMULATE:
            pack_transposed(dw.element(first, 0), dw.ld, dw.cols, end - first, block, ld_block)
        turned = Matrix(block, ld_block, dw.cols, end - first, 0)
        product(dz.transposed(), x.cols_of(first, end), turned, plain)
        for i in range(first, end, width):
            unpack_transposed(dw.element(i, 0), dw.ld, dw.cols, min(width, end - i), at(block, i - first), ld_block)
    finish.run(dw)
