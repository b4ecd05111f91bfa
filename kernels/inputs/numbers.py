"""Readers of arrays of numbers: any element type, any strides, either byte order, with a shift and a scale or none.

The loops are plain ones, which LLVM makes vectors of: a conversion is rounded once, so none changes a bit.
"""

import functools
from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import carray, types

from ..compile.functions import kernel
from ..compile.pointers import at, bytes_at, doubles_at
from ..compile.sources import function_of
from ..simd.lanes import Lanes, make_intrinsic
from .call import Reader, reader_types, row_wanted
from .registry import COLUMN_STRIDE, DATA, ROW_STRIDE, SCALE, SHIFT, SWAPPED, Element, read_numbers

# Of a row that comes next so many bytes are fetched, line by line; from there on the CPU fetches ahead by itself.
AHEAD, LINE = 1024, 64


def _of_half(b: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """Return the float32 of a float16, by integers: not every CPU has an instruction for it."""
    i32, single = ir.IntType(32), ir.FloatType()
    bits = b.zext(bits, i32)
    size = b.shl(b.and_(bits, i32(0x7FFF)), i32(13))  # exponent and mantissa where float32 has them
    finite = b.bitcast(b.fmul(b.bitcast(size, single), single(2.0**112)), i32)  # and the exponent's bias
    size = b.select(b.icmp_unsigned(">=", size, i32(0x7C00 << 13)), b.or_(size, i32(0x7F800000)), finite)
    return b.bitcast(b.or_(size, b.shl(b.and_(bits, i32(0x8000)), i32(16))), single)


def _real_of(b: ir.IRBuilder, element: Element, bits: ir.Value, real: ir.Type) -> ir.Value:
    """Return the number of type `real` nearest to the one that has these bits."""
    if element.kind == "b":
        return b.uitofp(b.icmp_unsigned("!=", bits, bits.type(0)), real)
    if element.kind != "f":
        return (b.sitofp if element.kind == "i" else b.uitofp)(bits, real)
    own = {2: ir.FloatType(), 4: ir.FloatType(), 8: ir.DoubleType()}[element.size]
    value = _of_half(b, bits) if element.size == 2 else b.bitcast(bits, own)
    if own == real:
        return value
    return b.fpext(value, real) if real == ir.DoubleType() else b.fptrunc(value, real)


def _number(element: Element) -> Any:
    """Make the intrinsic ``f(like, data, offset, swapped)``: the number `offset` bytes from `data`, typed as `like`."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        _, data, offset, swapped = args
        integer = ir.IntType(8 * element.size)
        place = b.bitcast(b.gep(data, [offset]), integer.as_pointer())
        bits = b.load(place, align=1)
        if element.size > 1:
            bits = b.select(b.icmp_signed("!=", swapped, swapped.type(0)), b.bswap(bits), bits)
        return _real_of(b, element, bits, context.get_value_type(signature.return_type))

    return make_intrinsic(
        f"number_{element.name}",
        ["like", "data", "offset", "swapped"],
        lambda like, data, offset, swapped: like.dtype(like, data, types.int64, types.int64),
        codegen,
    )


def _row_of(element: Element) -> Any:
    """Return the kernel that converts one row."""
    number, size = _number(element), element.size

    @kernel
    def scaled(to, data, source, width):
        stride, swapped = source[COLUMN_STRIDE], source[SWAPPED]
        shift, scale = doubles_at(source[SHIFT]), doubles_at(source[SCALE])
        real = carray(to, 1).dtype.type
        if stride == size:
            for j in range(width):
                to[j] = real(float(real(number(shift, data, j * size, swapped) - shift[j])) / scale[j])
        else:
            for j in range(width):
                to[j] = real(float(real(number(shift, data, j * stride, swapped) - shift[j])) / scale[j])

    @kernel
    def convert(to, data, source, width):
        stride, swapped = source[COLUMN_STRIDE], source[SWAPPED]
        if source[SCALE] != 0:
            scaled(to, data, source, width)
        elif stride == size:
            for j in range(width):
                to[j] = number(to, data, j * size, swapped)
        else:
            for j in range(width):
                to[j] = number(to, data, j * stride, swapped)

    return convert


def _prefetch_codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    Lanes(b, types.float32).prefetch(b.gep(args[0], [args[1]]))
    return context.get_dummy_value()


# prefetch(data, offset): fetch the cache line so many bytes from `data`
prefetch = make_intrinsic(
    "prefetch", ["data", "offset"], lambda data, offset: types.void(data, types.int64), _prefetch_codegen
)


@kernel
def row_at(reading, source, i):
    """Return where the row that comes at place i begins."""
    return bytes_at(source[DATA] + row_wanted(reading, i) * source[ROW_STRIDE])


@kernel
def fetch(data, size):
    """Fetch the beginning of a row of so many bytes."""
    for offset in range(0, min(size, AHEAD), LINE):
        prefetch(data, offset)


# The next row may be anywhere in memory, so it is fetched while one is converted.
_SOURCE = """
def {name}(reading, source):
    for i in range(reading.rows):
        if i + 1 < reading.rows:
            fetch(row_at(reading, source, i + 1), reading.width * SIZE)
        convert(at(reading.out, i * reading.width), row_at(reading, source, i), source, reading.width)
"""


@functools.cache
def reader(element: Element, name: str) -> Reader:
    """Return the reader of an array of such numbers."""
    scope = {
        "fetch": fetch, "row_at": row_at, "convert": _row_of(element), "at": at, "SIZE": element.size,
    }  # fmt: skip
    return Reader(function_of(_SOURCE.format(name=name), name, read_numbers, scope), reader_types)
