"""Errors of the command line: one line on the standard error, and the exit code."""

import contextlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from fastbp._base.console import visible
from fastbp._base.program import INTERRUPTED, interruptible

FAILED, MISTAKE, TERMINATED = 1, 2, 143  # exit codes, beside INTERRUPTED


class OneLineErrors(TyperGroup):
    """Commands whose errors are one line on the standard error, and exit code 2."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit."""
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except typer.Abort:
            code = fail("interrupted", INTERRUPTED)
        except MemoryError as error:
            code = fail(f"not enough memory: {error}")
        except (ValueError, OSError, ImportError) as error:
            # What a user gave: the library checks it all before it computes. Anything else is a bug and shows as one.
            code = fail(_text(error))
        except Exception as error:
            if not hasattr(error, "format_message"):  # typer's usage errors have it, in all its versions
                raise
            code = fail(error.format_message())
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, context: Any) -> Any:
        """Run a command; Ctrl-C where it does not catch it itself is one line too."""
        try:
            with interruptible():
                return super().invoke(context)
        except KeyboardInterrupt:
            raise typer.Exit(fail("interrupted", INTERRUPTED)) from None


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def fail(message: str, code: int = MISTAKE) -> int:
    """Print a message as one line on the standard error; return the exit code."""
    with contextlib.suppress(OSError):  # the exit code says it too
        typer.echo(f"fastbp: {visible(' '.join(message.split()))}", err=True)
    return code
