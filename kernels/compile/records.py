"""Records: operands that belong together, as one argument of a kernel.

A record is a value whose members stay in registers: passing one costs what passing its members one by one does. It is
made in a kernel by calling its maker with the members, in their order or by name, and has methods::

    Block = record("Block", data=POINTER, ld=INT)


    @method(Block)
    def row(block, i):
        return at(block.data, i * block.ld)


    @kernel
    def first_of(block, i):
        return block.row(i)
"""

import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import make_attribute_wrapper, models, overload_method, register_model

from ..simd.lanes import make_intrinsic
from .inlined import KernelCompiler

# Kinds of members: an integer, and pointers to elements, to integers, to float64 whatever the elements are
INT, POINTER, INTS, DOUBLES = "int", "pointer", "ints", "doubles"
_METHOD_OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": KernelCompiler,
}


class Record(types.Type):
    """The type of a record for one element type."""

    members: dict[str, str]

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(f"{type(self).__name__}({dtype})")

    @classmethod
    def member_types(cls, dtype: Any) -> list[Any]:
        to = types.CPointer
        kinds = {INT: types.int64, POINTER: to(dtype), INTS: to(types.int64), DOUBLES: to(types.float64)}
        return [kinds[kind] for kind in cls.members.values()]


def record(name: str, **members: str) -> Any:
    """Return the maker of a record with these members, each of a kind above; one at least is a POINTER.

    ``maker.of(dtype)`` is the record's type, for the signature of an outlined function.
    """
    caller = sys._getframe(1).f_globals
    type_name = f"{name}Type"
    kind = type(type_name, (Record,), {"members": members, "__module__": caller["__name__"], "__qualname__": type_name})
    caller[type_name] = kind  # where a pickle of Numba's cache finds it

    @register_model(kind)
    class Model(models.StructModel):
        def __init__(self, manager: Any, record_type: Any) -> None:
            of_members = zip(members, kind.member_types(record_type.dtype), strict=True)
            super().__init__(manager, record_type, list(of_members))

    for member in members:
        make_attribute_wrapper(kind, member, member)

    def signature(*args: Any) -> Any:
        dtype = next(a.dtype for a, m in zip(args, members.values(), strict=True) if m == POINTER)
        return kind(dtype)(*kind.member_types(dtype))

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        value = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        for place, member in enumerate(args):
            value = builder.insert_value(value, member, place)
        return value

    maker = make_intrinsic(name, list(members), signature, codegen)
    maker.of = kind
    return maker


def unpacked(builder: ir.IRBuilder, value: ir.Value, record_type: Record) -> SimpleNamespace:
    """Return a record's members by name, in an intrinsic that is given one."""
    members = {name: builder.extract_value(value, place) for place, name in enumerate(record_type.members)}
    return SimpleNamespace(**members)


def method(maker: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function of a record a method of it, of the function's name."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        overload_method(maker.of, function.__name__, jit_options=_METHOD_OPTIONS)(_always(function))  # type: ignore[call-arg]
        return function

    return decorate


def _always(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the same parameters that returns `function`, as Numba's overloads choose by type."""
    names = ", ".join(function.__code__.co_varnames[: function.__code__.co_argcount])
    scope = {"function": function}
    exec(f"def choose({names}): return function", scope)
    return scope["choose"]
