"""The floating-point control word: kernels compute by IEEE 754, whatever the caller's thread has been set to.

A library built with ``-ffast-math`` makes the thread that loads it flush subnormal numbers to zero, and only that
thread: the others would compute other bits. So an entry, and each piece of a parallel region, begins with the default
word (all subnormals, round to nearest, no traps) and ends with the caller's, its sticky flags included.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from .._numba import cgutils
from ..simd.isa import isa
from ..simd.lanes import I32, I64, make_intrinsic

_BYTES = ir.IntType(8).as_pointer()

# MXCSR with all exceptions masked; FPCR of AArch64
_X86_DEFAULT, _NEON_DEFAULT = 0x1F80, 0
_NEON = isa().name == "neon"
_X86 = isa().name in ("sse", "avx2", "avx512")


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    """Call an intrinsic of LLVM, with no load or store, and so no arithmetic between them, moved past it."""
    barrier = ir.FunctionType(ir.VoidType(), [])
    builder.asm(barrier, "", "~{memory}", [], side_effect=True)
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in args]), name)
    value = builder.call(function, args)
    builder.asm(barrier, "", "~{memory}", [], side_effect=True)
    return value


def take(builder: ir.IRBuilder) -> ir.Value:
    """Set the default control word; return the one that was there, an I64."""
    if _NEON:
        word = _call(builder, "llvm.aarch64.get.fpcr", I64)
    elif _X86:
        slot = cgutils.alloca_once(builder, I32)
        _call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), builder.bitcast(slot, _BYTES))
        word = builder.zext(builder.load(slot), I64)
    else:
        return I64(0)
    give_back(builder, I64(_NEON_DEFAULT if _NEON else _X86_DEFAULT))
    return word


def give_back(builder: ir.IRBuilder, word: ir.Value) -> None:
    """Set a control word."""
    if _NEON:
        _call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), word)
    elif _X86:
        slot = cgutils.alloca_once_value(builder, builder.trunc(word, I32))
        _call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), builder.bitcast(slot, _BYTES))


def _take(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    return take(builder)


def _give_back(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    give_back(builder, args[0])
    return context.get_dummy_value()


# The same for kernels: take_control() returns the word, give_control_back(word) sets it.
take_control = make_intrinsic("take_control", [], lambda: types.int64(), _take)
give_control_back = make_intrinsic("give_control_back", ["word"], lambda word: types.void(types.int64), _give_back)
