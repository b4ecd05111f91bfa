"""How much of what has to be compiled is there: one line for who waits."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import IO, Protocol


class Shows(Protocol):
    """What shows it."""

    def begin(self, total: int) -> None:
        """So many kernels have to be compiled."""

    def advance(self, done: int, total: int) -> None:
        """So many of them are there."""

    def end(self, done: int, seconds: float) -> None:
        """No more are compiled, all or not."""


class Line:
    """A line on a terminal or in a notebook, written over while the number grows."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self._width = 0

    def begin(self, total: int) -> None:
        self.advance(0, total)

    def advance(self, done: int, total: int) -> None:
        self._write(f"fastbp compiles its kernels, once: {done} of {total}")

    def end(self, done: int, seconds: float) -> None:
        self._write(f"fastbp compiled {done} kernel{'s' if done != 1 else ''} in {seconds:.1f} s", "\n")

    def _write(self, text: str, end: str = "") -> None:
        before, self._width = self._width, len(text)
        with contextlib.suppress(OSError, ValueError):  # closed
            self.stream.write(f"\r{text.ljust(before)}{end}")
            self.stream.flush()


class Lines(Line):
    """Lines of a log: at first, when some seconds have passed, and at the end."""

    SECONDS = 5.0

    def begin(self, total: int) -> None:
        self._said = -math.inf
        super().begin(total)

    def _write(self, text: str, end: str = "") -> None:
        now = time.perf_counter()
        if end or now - self._said > self.SECONDS:
            self._said = now
            with contextlib.suppress(OSError, ValueError):  # closed
                print(text, file=self.stream, flush=True)


def in_notebook(stream: IO[str]) -> bool:
    """Whether a stream is one that a notebook shows."""
    return type(stream).__module__.startswith("ipykernel.")


def _line() -> Shows | None:
    """Return what shows it where nobody has said: nothing, unless somebody looks at the standard error."""
    stream = sys.stderr
    with contextlib.suppress(ValueError):  # closed
        if stream is not None and (stream.isatty() or in_notebook(stream)):
            return Line(stream)
    return None


_choose: ContextVar[Callable[[], Shows | None]] = ContextVar("choose", default=_line)


@contextlib.contextmanager
def shown_by(shows: Shows | None, *, unless_said: bool = False) -> Iterator[None]:
    """Inside, let `shows` show what this thread compiles; None shows nothing. What is outside of it may have said."""
    said = _choose.get()
    before = _choose.set(said if unless_said and said is not _line else lambda: shows)
    try:
        yield
    finally:
        _choose.reset(before)


class _Batch:
    """Kernels that are compiled one after another or at once, in a line together."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.began = total, 0, time.perf_counter()
        self.shows = _choose.get()()
        if self.shows is not None:
            self.shows.begin(total)


# All that follows is called under the lock of Numba's compiler.
_batch: _Batch | None = None


def begin(total: int = 1) -> None:
    """Note that so many kernels have to be compiled, unless they are some of those that were noted before."""
    global _batch
    if _batch is None:
        _batch = _Batch(total)


def advance() -> None:
    """Note that one of them is there."""
    if _batch is None:
        return
    _batch.done += 1
    if _batch.done >= _batch.total:
        end()
    elif _batch.shows is not None:
        _batch.shows.advance(_batch.done, _batch.total)


def end() -> None:
    """Note that no more are compiled, all or not."""
    global _batch
    ended, _batch = _batch, None
    if ended is not None and ended.shows is not None:
        ended.shows.end(ended.done, time.perf_counter() - ended.began)
