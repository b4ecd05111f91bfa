"""Scratch memory of the calling thread, for blocks that are too large for its stack.

Threads may have a stack of a hundred kilobytes, and any thread may be given any piece of work. So each has scratch
memory of its own, from its first use to its end. One function uses it: none that it calls may call it again.
"""

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

from llvmlite import binding, ir

from .._numba import cgutils
from ..simd.lanes import I32, I64, Lanes, make_intrinsic

_BYTES = ir.IntType(8).as_pointer()
# pthread_key_t
_Key = ctypes.c_ulong if sys.platform == "darwin" else ctypes.c_uint
_KEY = ir.IntType(8 * ctypes.sizeof(_Key))


def _make_key() -> Any:
    """Return the key under which a thread has its memory, freed with it."""
    c = ctypes.CDLL(None)
    key = _Key()
    if c.pthread_key_create(ctypes.byref(key), ctypes.cast(c.free, ctypes.c_void_p)) != 0:
        raise MemoryError("fastbp expects a free key for memory of a thread's own")
    return key


def scratch(size: int) -> Any:
    """Make the intrinsic ``f(pointer)``: `size` bytes of scratch memory of the calling thread, typed as `pointer`.

    Each intrinsic has memory of its own.
    """
    key = _make_key()
    symbol = f"fastbp.scratch_{size}"
    binding.add_symbol(symbol, ctypes.addressof(key))
    SIZES[size] = key

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        module = b.module
        place = module.globals.get(symbol) or ir.GlobalVariable(module, _KEY, symbol)
        get = cgutils.get_or_insert_function(module, ir.FunctionType(_BYTES, [_KEY]), "pthread_getspecific")
        put = cgutils.get_or_insert_function(module, ir.FunctionType(I32, [_KEY, _BYTES]), "pthread_setspecific")
        allocate = ir.FunctionType(I32, [_BYTES.as_pointer(), I64, I64])
        allocate = cgutils.get_or_insert_function(module, allocate, "posix_memalign")
        slot = cgutils.alloca_once(b, _BYTES)
        b.store(b.call(get, [b.load(place)]), slot)
        with cgutils.if_unlikely(b, cgutils.is_null(b, b.load(slot))):
            failed = b.icmp_signed("!=", b.call(allocate, [slot, I64(4096), I64(size)]), I32(0))
            with b.if_else(failed) as (without, found):
                with without:  # no memory is left but the stack's
                    rest = b.alloca(ir.IntType(8), I64(size))
                    rest.align = 64
                    b.store(rest, slot)
                with found:
                    b.call(put, [b.load(place), b.load(slot)])
        return b.bitcast(b.load(slot), Lanes(b, signature.args[0].dtype).scalar.as_pointer())

    return make_intrinsic(f"scratch_{size}", ["pointer"], lambda p: p(p), codegen)


SIZES: dict[int, Any] = {}  # the keys of what was made; compiled code reads them where they are
