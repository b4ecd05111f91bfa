"""What a thread is about to need compiled: noted before its first call, so that all of it is compiled at once."""

import threading
import weakref
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from ..code import Code


class Needed(NamedTuple):
    """Machine code for an element type.

    codes, entries : outlined functions, and entries by name; with all that they call
    processes : how many may compile at once
    """

    codes: Collection[Code]
    entries: Collection[str]
    dtype: np.dtype
    processes: int


_of_thread = threading.local()


def expect(needs: Callable[..., Needed], owner: Any, *arguments: Any) -> None:
    """Note ``needs(owner, *arguments)``, in the place of what this thread has noted before.

    It is called only if something has to be compiled. The owner may be gone by then: nothing here keeps it.
    """
    _of_thread.noted = needs, weakref.ref(owner), arguments


def take_expected() -> Needed | None:
    """Return what this thread has noted, and forget it; None for nothing."""
    needs, reference, arguments = _of_thread.__dict__.pop("noted", (None, None, ()))
    owner = reference and reference()
    return None if owner is None else needs(owner, *arguments)
