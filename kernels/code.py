"""Machine code by name, wherever it comes from: prebuilt, or compiled by Numba when it is first asked for."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import native
from .compile.late import late_import


def jit(module: str) -> Any:
    """Import a module of the kernels that imports Numba."""
    with late_import():
        return importlib.import_module(f".{module}", __package__)


class Code(NamedTuple):
    """An outlined function that is not there yet.

    module, name : of the function, which tell its symbol
    outlined : () to the function as `compile.outlined` makes it; called where it is not prebuilt
    """

    module: str
    name: str
    outlined: Callable[[], Any]

    def address(self, dtype: np.dtype) -> int:
        """Return where the machine code for an element type is, in this process; compile or load it at first."""
        found = native.address(native.symbol_of(self.module, self.name, dtype))
        if found:
            return found
        with late_import():
            function = self.outlined()
        return int(function.address(dtype))
