"""Telling when Numba compiles a function."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .._numba import event


class _Listener(event.Listener):
    def __init__(self, started: Callable[[], None], ended: Callable[[str], None]) -> None:
        self.started, self.ended = started, ended

    def on_start(self, event: Any) -> None:
        self.started()

    def on_end(self, event: Any) -> None:
        self.ended(event.data["dispatcher"].py_func.__name__)


@contextmanager
def watch_compiling(started: Callable[[], None], ended: Callable[[str], None]) -> Iterator[None]:
    """Inside, call ``started()`` when Numba begins to compile a function, and ``ended(name)`` when it has."""
    with event.install_listener("numba:compile", _Listener(started, ended)):
        yield
