"""Numbers of the machine in kernels, see `simd.machine`: read from memory, not built into the code."""

import ctypes
from collections.abc import Sequence
from typing import Any

from llvmlite import binding, ir
from numba import types

from ..simd.lanes import I64, make_intrinsic
from ..simd.machine import CONSTANTS

_places: list[Any] = []  # compiled code reads them where they are


def constant(name: str) -> Any:
    """Make the intrinsic ``f()``: a number of `CONSTANTS`."""
    symbol = f"fastbp.machine.{name}"
    place = ctypes.c_int64(CONSTANTS[name]())
    binding.add_symbol(symbol, ctypes.addressof(place))
    _places.append(place)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        module = builder.module
        return builder.load(module.globals.get(symbol) or ir.GlobalVariable(module, I64, symbol))

    return make_intrinsic(f"machine_{name}", [], lambda: types.int64(), codegen)
