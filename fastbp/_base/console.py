"""Consoles: colours on a terminal that wants them, plain lines elsewhere, and no control characters out of data."""

import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from fastbp.kernels.compile.forks import imports

# rich is imported where something is shown: a program that shows nothing starts sooner.
if TYPE_CHECKING:
    from rich.console import Console

# A file has no width; rich would wrap at 80 columns there.
FILE_WIDTH = 160


def visible(text: str) -> str:
    r"""Return text with what has no glyph as Python writes it, such as ``\x1b``: names in data come from anywhere.

    >>> print(visible("caf\u00e9\x1b[31m"))
    café\x1b[31m
    """
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode() for c in text
    )


def thousands(n: float) -> str:
    """Return a whole number with spaces between its thousands.

    >>> thousands(1234567)
    '1 234 567'
    """
    return f"{n:,.0f}".replace(",", " ")


def wants_no_colour() -> bool:
    """Tell whether NO_COLOR is set, as https://no-color.org describes it."""
    return bool(os.environ.get("NO_COLOR"))


def console_on(stream: TextIO | None, lasting: bool = False) -> "Console":
    """Return a console on a stream, which is None where the process has none.

    Where writing fails, `lasting` says so on the standard error and goes on in silence: for a run whose results are
    files. Without it that is an error.
    """
    with imports:
        from rich.console import Console

    stream = stream or io.StringIO()
    file: Any = _Lasting(stream) if lasting else stream
    if not stream.isatty():
        return Console(file=file, highlight=False, width=FILE_WIDTH, force_terminal=False, color_system=None)
    return Console(file=file, highlight=False, color_system=None if wants_no_colour() else "auto")


class _Lasting:
    """Writes to a stream until that fails (a closed pipe, a full disk), and then drops what is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        self._try(self._stream.write, text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[..., object], *arguments: str) -> None:
        try:
            action(*arguments)
        except OSError as error:
            # What is still in its buffers has to go somewhere.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            with contextlib.suppress(OSError):  # it may be the same pipe
                print(f"fastbp: standard output: {error.strerror}; going on without it", file=sys.stderr)
