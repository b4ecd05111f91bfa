"""Doors: how C code calls an entry. Its arguments are a table of integers, see ``native/native.c``.

An argument has SLOTS of them: a number stands in the first, as the bits of a float64 where it is one; an array has its
address there, and its shape behind. The result comes into the first slot.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from fastbp.kernels._numba import make_array, populate_array
from fastbp.kernels.compile.control import give_control_back, take_control
from fastbp.kernels.compile.functions import kernel
from fastbp.kernels.compile.outlined import Outlined
from fastbp.kernels.compile.pointers import address_of, at, doubles_at
from fastbp.kernels.compile.signature import Operand, operands_of
from fastbp.kernels.compile.sources import function_of
from fastbp.kernels.simd.lanes import I64, make_intrinsic

SLOTS = 3

_SOURCE = """
def {name}(slots):
    word = take_control()
    result = body({arguments})
    give_control_back(word)
    {store}
"""
_STORE = {"none": "pass", "int64": "slots[0] = result", "float64": "doubles_at(address_of(slots))[0] = result"}


@functools.cache
def _array(elements: Any, dimensions: int) -> Any:
    """Make the intrinsic ``f(slots)``: the array whose address and shape stand there."""
    array_type = types.Array(elements, dimensions, "C")

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        def slot(i: int) -> ir.Value:
            return builder.load(builder.gep(args[0], [I64(i)]))

        array = make_array(array_type)(context, builder)
        data = builder.inttoptr(slot(0), array.data.type)
        shape = [slot(1 + i) for i in range(dimensions)]
        size = I64(elements.bitwidth // 8)
        strides = [size, builder.mul(size, shape[-1])][:dimensions][::-1]
        populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
        return array._getvalue()

    name = f"array_{elements}_{dimensions}"
    return make_intrinsic(name, ["slots"], lambda slots: array_type(slots), codegen)


class Door(Outlined):
    """The door of an entry, for one element type."""

    def __init__(self, entry: Any, dtype: types.Float) -> None:
        function: Callable[..., Any] = entry.py_func.__wrapped__
        self.name, (self.operands, self.result) = function.__name__, operands_of(function)
        scope = {
            "body": kernel(function), "take_control": take_control, "give_control_back": give_control_back, "at": at,
            "doubles_at": doubles_at, "address_of": address_of,
        }  # fmt: skip
        arguments = []
        for i, operand in enumerate(self.operands):
            if operand.dimensions:
                scope[f"array_{operand.letter}"] = _array(self._elements(operand, dtype), operand.dimensions)
            argument = "slots[{}]" if operand.elements == "int64" else "doubles_at(address_of(slots))[{}]"
            argument = f"array_{operand.letter}(at(slots, {{}}))" if operand.dimensions else argument
            arguments.append(argument.format(i * SLOTS))
        store = _STORE[self.result.elements if self.result else "none"]
        name = f"door_{function.__name__}_{dtype}"  # Numba keeps functions by their names and types, which are the same
        source = _SOURCE.format(name=name, arguments=", ".join(arguments), store=store)
        made = function_of(source, name, function, scope)
        super().__init__(made, lambda dtype: types.void(types.CPointer(types.int64)))

    def letters(self) -> list[str]:
        """Return what C code calls the arguments, and the result."""
        return ["".join(operand.letter for operand in self.operands), self.result.letter if self.result else "-"]

    @staticmethod
    def _elements(operand: Operand, dtype: types.Float) -> Any:
        return dtype if operand.elements == "real" else getattr(types, operand.elements)
