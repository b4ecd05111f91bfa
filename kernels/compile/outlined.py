"""`outlined`: functions that are compiled once for an element type and called by their address.

Numba copies the code of whatever a kernel calls into that kernel, and into the kernel's callers. For the large
functions below everything else, that is most of the time to compile; an outlined function is a symbol, or an address,
instead.
"""

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types

from .. import native
from .._numba import CFunc, cgutils, global_compiler_lock
from ..simd.lanes import make_intrinsic
from . import progress
from .functions import cache_of, element_type_of
from .inlined import ClosedCompiler
from .outside import digest_of, is_outside
from .parts import Part, note, parts_of
from .stack import on_full_stack


class Outlined:
    """A function on pointers, integers and records that is compiled once for an element type."""

    def __init__(self, function: Callable[..., Any], signature: Callable[[types.Float], Any]) -> None:
        self.function = function
        self.signature = signature
        self.compiled: dict[types.Float, Any] = {}
        self.addresses: dict[types.Float, Any] = {}

    def symbol(self, dtype: types.Float) -> str:
        """Return the name of the machine code for an element type."""
        return native.symbol_of(self.function.__module__, self.function.__name__, dtype)

    def parts(self) -> list[Part]:
        """Return the outlined functions that this one calls by name, each after those that it calls itself."""
        return parts_of(self.function)

    def address(self, dtype: np.dtype) -> int:
        """Return where the machine code for an element type is, in this process; compile or load it at first."""
        real = element_type_of(dtype)
        if real not in self.addresses:
            on_full_stack(lambda: self.compile(real))
        return int(self.addresses[real])

    def define(self, sig: Any) -> None:
        """Make the symbol that a kernel of these types needs: the first array or pointer of floats tells which."""
        for arg in sig:
            if isinstance(getattr(arg, "dtype", None), types.Float):
                self.compile(arg.dtype)
                return

    def compile(self, dtype: types.Float) -> None:
        """Compile or load, after all that it calls by name; where it is prebuilt, that is what is meant by its name.

        Once in a process, so that all tables hold the same address: under the lock that Numba compiles under, or else a
        thread that compiles would wait for one that has another lock and waits for Numba's.
        """
        if dtype in self.addresses:
            return
        with global_compiler_lock:
            if dtype in self.addresses:
                return
            found = native.address(self.symbol(dtype))
            if found:
                binding.add_symbol(self.symbol(dtype), found)
                self.addresses[dtype] = found
                return
            for part in self.parts():
                part.compile(dtype)
            if dtype in self.addresses:  # compiled with the first of those, as one that was expected
                return
            compiled = self._function_for(dtype)
            try:
                compiled.compile()
            except BaseException:
                progress.end()
                raise
            binding.add_symbol(self.symbol(dtype), compiled.address)
            self.compiled[dtype] = compiled
            self.addresses[dtype] = compiled.address

    def _function_for(self, dtype: types.Float) -> Any:
        """Return Numba's function for an element type, before it is compiled or loaded."""
        signature = self.signature(dtype)
        if is_outside(self.function) and not self.compiled:  # two of one name are two symbols
            name = self.function.__name__
            self.function.__qualname__ = f"{name}_{digest_of(self.function) or os.urandom(16).hex()}"
        options = {"error_model": "numpy", "nopython": True}
        made = CFunc(self.function, (signature.args, signature.return_type), {}, options, ClosedCompiler)
        made._cache = cache_of(self.function)
        return made

    def is_there(self, dtype: types.Float) -> bool:
        """Return whether the machine code for an element type has not to be compiled."""
        if dtype in self.addresses or native.address(self.symbol(dtype)):
            return True
        function = self._function_for(dtype)
        return bool(function._cache.has(function._sig, function._targetdescr.target_context))

    def declare(self, context: Any, module: ir.Module, dtype: types.Float) -> ir.Function:
        """Make sure that the function is there, and return it as the code in `module` sees it."""
        self.compile(dtype)
        signature = self.signature(dtype)
        result = ir.VoidType()
        if signature.return_type is not types.void:
            result = context.get_value_type(signature.return_type)
        parameters = [context.get_value_type(t) for t in signature.args]
        return cgutils.get_or_insert_function(module, ir.FunctionType(result, parameters), self.symbol(dtype))

    def call(self, context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        """Write a call of the function."""
        value = builder.call(self.declare(context, builder.module, element_type(signature.args)), args)
        return context.get_dummy_value() if signature.return_type is types.void else value

    def intrinsic(self, call: Callable[..., Any] | None = None) -> Any:
        """Return what a kernel calls; `call` writes the call."""
        names = list(inspect.signature(self.function).parameters)
        made = make_intrinsic(
            self.function.__name__, names, lambda *args: self.signature(element_type(args)), call or self.call
        )
        note(made, self)
        return made


def element_type(args: Sequence[Any]) -> Any:
    """Return the element type of an outlined function's first argument that has one: a pointer or a record."""
    return next(a.dtype for a in args if isinstance(getattr(a, "dtype", None), types.Float))


def outlined(signature: Callable[[types.Float], Any]) -> Callable[[Callable[..., Any]], Any]:
    """Make a function an outlined one; ``signature(dtype)`` gives its types for an element type."""
    return lambda function: Outlined(function, signature).intrinsic()


def called_by_address(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    """Write a call of the function whose address is the first argument, with the others."""
    address, *arguments = args
    function = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
    builder.call(builder.inttoptr(address, function.as_pointer()), arguments)
    return context.get_dummy_value()
