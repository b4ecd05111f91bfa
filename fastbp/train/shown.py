"""What shows a run, and what is compiled for it: by the argument `progress` of `fit`, and by where the output goes."""

import contextlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO

from fastbp.kernels.compile.forks import imports
from fastbp.kernels.compile.progress import Lines, in_notebook, shown_by
from fastbp.train.progress import EpochBar, LogLines, Progress


def what_shows(progress: bool | Progress | None) -> Progress:
    """Return what shows a run, by the argument of `fit`, which is that of its documentation."""
    if isinstance(progress, Progress):
        return progress
    if progress is not None and not isinstance(progress, bool):
        raise TypeError(f"fit expects progress to be a bool, got {progress!r}")
    stream = sys.stderr
    if progress is False or stream is None:
        return Progress()
    if in_notebook(stream):
        with imports:
            from fastbp.train.notebook import NotebookBar

        return NotebookBar()
    if stream.isatty():
        return EpochBar()
    return LogLines(_says_on(stream)) if progress else Progress()


def compiling(progress: bool | Progress | None) -> AbstractContextManager[None]:
    """Surround what may compile, and let it be shown as the run is; not at all where that is False."""
    if progress is False:
        return shown_by(None)
    if progress is True and sys.stderr is not None and not (in_notebook(sys.stderr) or sys.stderr.isatty()):
        return shown_by(Lines(sys.stderr), unless_said=True)
    return nullcontext()


def _says_on(stream: IO[str]) -> Callable[[str], None]:
    def say(line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a full disk or a closed file ends no run
            print(line, file=stream, flush=True)

    return say
