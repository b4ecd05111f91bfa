"""Ctrl-C at a moment when it does no harm, and SIGTERM like it."""

# What `signal` is made of: there each handler becomes an enum and back, which takes longer than all the rest.
import _signal  # type: ignore[import-not-found]
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastbp.kernels.compile.interrupts import held_back

__all__ = ["Terminated", "held_back", "termination_interrupts"]


class Terminated(KeyboardInterrupt):
    """SIGTERM, which `termination_interrupts` answers like Ctrl-C."""


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` inside, unless the program has a handler of its own, or ignores it."""

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    if (
        threading.current_thread() is not threading.main_thread()
        or _signal.getsignal(_signal.SIGTERM) != _signal.SIG_DFL
    ):
        yield
        return
    _signal.signal(_signal.SIGTERM, terminate)
    try:
        yield
    finally:
        _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
