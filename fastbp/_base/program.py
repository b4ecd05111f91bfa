"""Ctrl-C on the command line: one line and exit code 130, from the first moment to the last.

To import fastbp takes a second or more, and Python does that before it looks at `fastbp.app.cli` or
`fastbp/__main__.py`. So `fastbp/__init__.py` imports this module first, and this module imports nothing that takes
time. In any other program that uses fastbp it does nothing.
"""

# What `signal` is made of: that one takes some milliseconds to import.
import _signal  # type: ignore[import-not-found]
import os
import sys
from types import FrameType

INTERRUPTED = 130  # what shells say of a program that Ctrl-C ended


def _end(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"fastbp: interrupted\n")
    finally:
        os._exit(INTERRUPTED)


def _is_this_process() -> bool:
    # What Python was told to run: the path of a script, or what follows -m.
    (started, *_) = [*sys.orig_argv[-len(sys.argv) :], ""]
    named = os.path.basename(started) == "fastbp" or (started.startswith("-") and started.endswith("mfastbp"))
    return named and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler  # else it is ignored


_OURS = _is_this_process()
if _OURS:
    _signal.signal(_signal.SIGINT, _end)


class _answers:
    def __init__(self, handler: object) -> None:
        self.handler = handler

    def __enter__(self) -> None:
        if _OURS:
            self.before = _signal.signal(_signal.SIGINT, self.handler)

    def __exit__(self, *exception: object) -> None:
        if _OURS:
            _signal.signal(_signal.SIGINT, self.before)


def interruptible() -> _answers:
    """Make Ctrl-C a KeyboardInterrupt inside: for code that has results to keep or files to tidy up."""
    return _answers(_signal.default_int_handler)


def ended_at_once() -> _answers:
    """Let Ctrl-C end the process inside: for compiling, where an exception in a callback of LLVM's would be lost."""
    return _answers(_end)
