"""Pointers in kernels: into arrays, to addresses, to scratch memory. Inside a kernel, arrays are these."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic

from .._numba import make_array, populate_array
from ..simd.isa import isa
from ..simd.lanes import I64, Lanes, make_intrinsic

intrinsic: Any = _intrinsic  # its types are not those of what kernels call


@intrinsic
def at(typingctx: Any, array: Any, offset: Any) -> Any:
    """Return the address of element `offset` of a C-contiguous array, or of what a pointer points to."""
    signature = types.CPointer(array.dtype)(array, types.int64)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        base = args[0]
        if isinstance(signature.args[0], types.Array):
            base = make_array(signature.args[0])(context, builder, base).data
        return builder.gep(base, [args[1]])

    return signature, codegen


@intrinsic
def pointer_to(typingctx: Any, like: Any, address: Any) -> Any:
    """Return a pointer to an address, of the type of `like`."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        return builder.inttoptr(args[1], args[0].type)

    return like(like, types.int64), codegen


@intrinsic
def read_only(typingctx: Any, pointer: Any, size: Any) -> Any:
    """Return the array of so many elements that a pointer points to; Numba refuses to compile what writes to it."""
    array_type = types.Array(pointer.dtype, 1, "C", readonly=True)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        array = make_array(array_type)(context, builder)
        itemsize = context.get_constant(types.intp, pointer.dtype.bitwidth // 8)
        populate_array(array, data=args[0], shape=[args[1]], strides=[itemsize], itemsize=itemsize, meminfo=None)
        return array._getvalue()

    return array_type(pointer, types.int64), codegen


@intrinsic
def address_of(typingctx: Any, pointer: Any) -> Any:
    """Return the address that a pointer is."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        return builder.ptrtoint(args[0], I64)

    return types.int64(pointer), codegen


@intrinsic
def doubles_at(typingctx: Any, address: Any) -> Any:
    """Return a pointer to the float64 at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        return builder.inttoptr(args[0], ir.DoubleType().as_pointer())

    return types.CPointer(types.float64)(types.int64), codegen


@intrinsic
def bytes_at(typingctx: Any, address: Any) -> Any:
    """Return a pointer to the bytes at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.CPointer(types.uint8)(types.int64), codegen


@intrinsic
def int32s_at(typingctx: Any, address: Any) -> Any:
    """Return a pointer to the int32 at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        return builder.inttoptr(args[0], ir.IntType(32).as_pointer())

    return types.CPointer(types.int32)(types.int64), codegen


@intrinsic
def ints_at(typingctx: Any, address: Any) -> Any:
    """Return a pointer to the int64 at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        return builder.inttoptr(args[0], I64.as_pointer())

    return types.CPointer(types.int64)(types.int64), codegen


@intrinsic
def lanes_of(typingctx: Any, pointer: Any) -> Any:
    """Return the number of elements in a vector register, for what `pointer` points to."""
    width = isa().lanes(pointer.dtype.bitwidth // 8)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        return I64(width)

    return types.int64(pointer), codegen


def stack_block(size: int) -> Any:
    """Make the intrinsic ``f(pointer)``: `size` bytes of scratch memory on the stack, typed as `pointer`.

    It lives until the calling function returns.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        with builder.goto_entry_block():
            block = builder.alloca(ir.ArrayType(ir.IntType(8), size))
            block.align = 64
        return builder.bitcast(block, Lanes(builder, signature.args[0].dtype).scalar.as_pointer())

    return make_intrinsic(f"stack_block_{size}", ["pointer"], lambda p: p(p), codegen)
