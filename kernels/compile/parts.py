"""Which outlined functions the code of a kernel calls by name: they have to be there before it is loaded or linked."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Protocol


class Part(Protocol):
    """An outlined function as it is seen here."""

    function: Callable[..., Any]
    addresses: dict[Any, int]

    def symbol(self, dtype: Any) -> str: ...
    def parts(self) -> "list[Part]": ...
    def define(self, sig: Any) -> None: ...
    def compile(self, dtype: Any) -> None: ...
    def is_there(self, dtype: Any) -> bool: ...


# What a kernel calls, an intrinsic, and the outlined function behind it
_behind: dict[Any, Part] = {}


def note(intrinsic: Any, part: Part) -> None:
    """Note that whoever calls this intrinsic calls that outlined function."""
    _behind[intrinsic] = part


def behind(intrinsic: Any) -> Any:
    """Return the outlined function that an intrinsic calls."""
    return _behind[intrinsic]


@functools.cache
def parts_of(function: Callable[..., Any]) -> list[Part]:
    """Return the outlined functions that a kernel calls by name, each after those that it calls itself.

    They are read from what its code and the code of the kernels in it name, globals and what a function closes over, so
    nothing is declared.
    """
    found: dict[Part, None] = {}
    for each in _contents(function, set()):
        if not inspect.isfunction(each):
            found.update(dict.fromkeys([*each.parts(), each]))
    return list(found)


def size_of(function: Callable[..., Any]) -> int:
    """Return the bytes of Python's code that a kernel is compiled from: the time that takes goes with them."""
    return sum(len(each.__code__.co_code) for each in _contents(function, set()) if inspect.isfunction(each))


def _contents(function: Callable[..., Any], seen: set[Any]) -> Iterator[Any]:
    """Yield what a kernel is made of and was not seen: functions, itself first, and the parts that these call."""
    if function in seen:
        return
    seen.add(function)
    yield function
    for value in _named(function):
        part = _behind.get(value)
        if part is not None:
            yield part
        elif inspect.isfunction(value):
            yield from _contents(value, seen)


def _named(function: Callable[..., Any]) -> Iterator[Any]:
    """Yield what a function's code names outside of it, and attributes of modules among that; kernels as functions."""
    names, closed_over = function.__code__.co_names, function.__closure__ or ()
    for value in [*(function.__globals__.get(name) for name in names), *(cell.cell_contents for cell in closed_over)]:
        values = [getattr(value, other, None) for other in names] if isinstance(value, ModuleType) else [value]
        for each in values:
            each = getattr(each, "py_func", each)
            with contextlib.suppress(TypeError):  # one that has no hash
                hash(each)
                if not str(getattr(each, "__module__", "")).startswith(("numba", "numpy")):
                    yield each
