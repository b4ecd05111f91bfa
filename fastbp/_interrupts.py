"""Ctrl-C at a moment when it does no harm."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_back() -> Iterator[None]:
    """Run what is inside whole: an exception by Ctrl-C, or by a handler of SIGTERM, is raised at its end.

    For some assignments that belong together, not for anything that takes long.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers run in no other
        yield
        return
    with _held_back(signal.SIGINT), _held_back(signal.SIGTERM):
        yield


@contextmanager
def _held_back(number: int) -> Iterator[None]:
    handler = signal.getsignal(number)
    if not callable(handler):
        yield
        return
    came: list[Any] = []
    try:
        signal.signal(number, lambda _, frame: came.append(frame))
        yield
    finally:
        signal.signal(number, handler)
        if came:
            handler(number, came[-1])
