"""Importing Numba at the first call of a process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .forks import imports
from .interrupts import held_back
from .space import IMPORTING, require_room


@contextmanager
def late_import() -> Iterator[None]:
    """Surround an import that may bring Numba: forks wait for it, and it has room for all of it or does not begin.

    Ctrl-C waits for its end, for Numba cannot be imported again after half of it.
    """
    with imports, held_back():
        if "numba" not in sys.modules:
            require_room(IMPORTING)
        yield
