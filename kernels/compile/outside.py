"""Functions that come from outside the kernels, a user's own: what their machine code depends on.

Code that is kept on disk has to be compiled anew when anything changes that it was made of. For the kernels that is a
digest of their folder. A user's function may use constants, closures, and functions of other modules of the user's; so
its digest is made of these themselves, wherever they come from, and a function without a file has one too.
"""

import contextlib
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

KERNELS = str(Path(__file__).parents[1])
# Modules whose functions and types stand for themselves: a digest of the kernels has the versions of Numba and LLVM.
_KNOWN = ("builtins", "math", "cmath", "operator", "numpy", "numba", "llvmlite")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), np.dtype, np.generic)


class _Unknown(Exception):
    """Something whose changes could not be seen."""


def is_outside(function: Callable[..., Any]) -> bool:
    """Whether a function is not one of the kernels."""
    return not _file_of(function).startswith(KERNELS)


def digest_of(function: Callable[..., Any], *, of_text: bool = False) -> str | None:
    """Return a digest of a function and of all that it uses; None if it uses something whose changes cannot be seen.

    of_text : of the source texts of functions where they can be had, which are the same for any Python; without, of the
        functions as they are, whatever has become of their files
    """
    walk = _Walk(of_text)
    try:
        walk.value(function)
    except _Unknown:
        return None
    return walk.digest.hexdigest()


def _file_of(function: Callable[..., Any]) -> str:
    return function.__code__.co_filename


class _Walk:
    def __init__(self, of_text: bool) -> None:
        self.of_text = of_text
        self.digest = hashlib.sha256()
        self.seen: set[int] = set()

    def note(self, *what: object) -> None:
        self.digest.update(repr(what).encode())

    def value(self, value: Any) -> None:
        """Add what a name stands for."""
        if _root(type(value)) == "numba":  # of a compiled function or ufunc, with its options
            self.note(sorted(getattr(value, "targetoptions", {}).items()))
            value = getattr(value, "__wrapped__", value)
        value = getattr(value, "_defn", value)  # of an intrinsic
        if isinstance(value, _PLAIN):
            self.note(type(value).__name__, value)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            self.note(value.dtype.str, value.shape, value.tobytes())
        elif isinstance(value, (tuple, list)):
            self.note(type(value).__name__, len(value))
            for inner in value:
                self.value(inner)
        elif isinstance(value, MethodType):
            self.value(value.__func__)
            self.value(value.__self__)
        elif isinstance(value, FunctionType):
            self.function(value)
        elif isinstance(getattr(value, "function", None), FunctionType):  # an outlined function
            self.function(value.function)
        elif isinstance(value, ModuleType):
            self.note(value.__name__)
        elif _is_known(value if isinstance(value, (type, BuiltinFunctionType)) else type(value), value):
            self.note(getattr(value, "__module__", None), getattr(value, "__name__", None) or str(value))
        else:
            raise _Unknown(value)

    def function(self, function: FunctionType) -> None:
        """Add a function, and what it uses."""
        self.note(function.__module__, function.__qualname__)
        if id(function) in self.seen or _root(function) in _KNOWN:
            return
        self.seen.add(id(function))
        if not self.of_text and function.__module__ not in sys.modules:  # code from the cache looks for it there
            raise _Unknown(function)
        if is_outside(function):
            self.note(self.text_of(function))
            for value in (function.__defaults__, *(function.__kwdefaults__ or {}).items()):
                self.value(value)
        for name, value in _used_by(function):
            self.note(name)
            self.value(value)

    def text_of(self, function: FunctionType) -> object:
        if self.of_text:
            with contextlib.suppress(OSError, TypeError):
                return inspect.getsource(function)
        codes = list(_codes(function.__code__))
        constants = [[c for c in code.co_consts if not isinstance(c, CodeType)] for code in codes]
        return [(code.co_code, code.co_names, code.co_varnames) for code in codes], constants


def _root(thing: Any) -> str:
    """Return the name of the package that something is from."""
    return (getattr(thing, "__module__", None) or "").partition(".")[0]


def _is_known(kind: Any, value: Any) -> bool:
    """Whether a type or builtin function, or an object of a type, is one of the known modules'."""
    return _root(kind) in (_KNOWN if kind is value else _KNOWN[1:])


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _used_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function closes over and, of one from outside, the globals and attributes of modules it names."""
    names = list(dict.fromkeys(name for code in _codes(function.__code__) for name in code.co_names))
    names = names if is_outside(function) else []
    found = [(name, function.__globals__[name]) for name in names if name in function.__globals__]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty one
            found.append((name, cell.cell_contents))
    seen = set()
    while found:
        name, value = found.pop()
        yield name, value
        if isinstance(value, ModuleType) and value.__name__.partition(".")[0] not in _KNOWN and value not in seen:
            seen.add(value)
            found += [(other, getattr(value, other)) for other in names if hasattr(value, other)]
