"""Importing Numba at the first call of a process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .forks import imports
from .interrupts import held_back
from .prebuilt import prebuilt
from .space import IMPORTING, require_room


@contextmanager
def late_import() -> Iterator[None]:
    """Surround an import that may bring Numba: forks wait for it, and it has room for all of it or does not begin.

    Ctrl-C waits for its end, for Numba cannot be imported again after half of it.
    """
    with imports, held_back():
        if "numba" not in sys.modules:
            require_room(IMPORTING)
        try:
            yield
        except ImportError as error:
            if (error.name or "").partition(".")[0] not in ("numba", "llvmlite"):
                raise
            why_not = prebuilt().why_not or "this is not among the prebuilt kernels"
            raise ImportError(
                f"fastbp expects Numba, which is not to be had ({error}), to compile kernels here: {why_not}. "
                "pip install 'fastbp[jit]' brings it",
                name="numba",
            ) from error
