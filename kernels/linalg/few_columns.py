"""``dW = X.T @ dZ`` where dZ has few columns: they would fill a part of a vector, the columns of X fill it whole.

So ``dW.T = dZ.T @ X`` is computed, some columns of X at a time, and turned into its place. An element is the same chain
either way (see `microkernel`), so the bits are the same.
"""

from numba import types

from ..activations import IDENTITY
from ..compile.functions import kernel, outlined
from ..compile.pointers import at, doubles_at, lanes_of, stack_block
from ..simd.isa import WIDEST_LANES, isa
from ..simd.microkernel import ACCUMULATE, ROOM, TILE_VECTORS
from ..simd.packing import pack_transposed, unpack_transposed
from .product import PLAIN, UPDATE, epilogue, product
from .tasks import share

# So many vectors of X at a time, whole panels; the block has a row for each column of dZ.
STRIP = 4 * TILE_VECTORS
turned_block = stack_block(WIDEST_LANES * STRIP * isa().vector_bytes)


@kernel
def pays(ins, outs, width):
    """Return whether the turned product takes so much less that turning its result is repaid."""
    return outs <= width and 5 * outs * ((ins + width - 1) // width) <= 4 * ins


def _types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, p, i, p, i, i, i, i, i, i, i, p, p, types.CPointer(types.float64), i)


@outlined(_types)
def few_columns(x, ld_x, dz, ld_dz, dw, ld, rows, ins, outs, flags, kind, code, params, state, hyper, n):
    """Compute ``dW = X.T @ dZ`` for one task; as `product` would, whose arguments these are.

    x, dz : rows of `ins` and of `outs` numbers, `ld_x` and `ld_dz` apart
    dw, params, state : (ins, outs), rows `ld` apart
    flags : ACCUMULATE to go on from what stands in dw
    kind : PLAIN or UPDATE
    """
    width, block = lanes_of(x), turned_block(x)
    ld_block = STRIP * width
    strips = (ins + ld_block - 1) // ld_block
    for strip in range(strips):
        first, end = share(ins, width, strips, strip), share(ins, width, strips, strip + 1)
        if flags & ACCUMULATE:
            pack_transposed(at(dw, first * ld), ld, outs, end - first, block, ld_block)
        product(
            dz, 1, ld_dz, at(x, first), ld_x, False, block, ld_block, outs, end - first, rows, dz,
            flags & ACCUMULATE | ROOM, PLAIN, IDENTITY, block, block, doubles_at(0), 0,
        )  # fmt: skip
        for i in range(first, end, width):
            unpack_transposed(at(dw, i * ld), ld, outs, min(width, end - i), at(block, i - first), ld_block)
    if kind == UPDATE:
        epilogue(kind, code, dw, params, state, hyper, n, ld, ins, outs)
