"""Prebuilt machine code by name: outlined functions, and the doors through which Python calls entries."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .compile.prebuilt import prebuilt
from .simd.machine import CONSTANTS


@functools.cache
def _library() -> Any:
    """Return the extension, told what the machine is like; None where Numba's code is used."""
    found = prebuilt()
    if not found.level:
        return None
    for name, value in CONSTANTS.items():
        found.extension.set_constant(name, value())
    return found.extension


def address(symbol: str) -> int:
    """Return where a function is; 0 for one that is not prebuilt."""
    library = _library()
    return 0 if library is None else library.address(symbol)


def entry(name: str) -> Callable[..., Any] | None:
    """Return what Python calls; None for one that is not prebuilt."""
    library = _library()
    return None if library is None else library.entry(name)


def symbol_of(module: str, name: str, dtype: Any) -> str:
    """Return the name of an outlined function's machine code for an element type."""
    return f"{module}.{name}.{np.dtype(str(dtype))}"
