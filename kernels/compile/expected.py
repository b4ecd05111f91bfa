"""What a thread is about to need compiled: noted before its first call, so that all of it is compiled at once."""

import weakref
from collections.abc import Callable, Collection
from contextvars import ContextVar
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


# One thing or nothing, a list that a thread which compiles for this one has too
_noted: ContextVar[list[Any]] = ContextVar("noted")


def expect(needs: Callable[..., Needed], owner: Any, *arguments: Any) -> None:
    """Note ``needs(owner, *arguments)``, in the place of what this thread has noted before.

    It is called only if something has to be compiled. The owner may be gone by then: nothing here keeps it.
    """
    _noted.set([(needs, weakref.ref(owner), arguments)])


def take_expected() -> Needed | None:
    """Return what this thread has noted, and forget it; None for nothing."""
    noted = _noted.get([])
    if not noted:
        return None
    needs, reference, arguments = noted.pop()
    owner = reference()
    return None if owner is None else needs(owner, *arguments)
