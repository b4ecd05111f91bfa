"""A process that holds one library at one number of threads: ``python -m fastbp.bench.worker LIBRARY THREADS``.

Requests and answers are lines of JSON on the standard input and output. It ends when the input does.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import time
from typing import Any

from fastbp.bench.cases import Case, Run
from fastbp.bench.limits import LIMITS

# Caches are cold after the turn of another, and a first call may be slow: as much time again is not counted,
# unless a call takes so long that both do not matter.
SLOW = 10

_PR_SET_PDEATHSIG = 1
Answer = dict[str, Any]


class Worker:
    """What is prepared, by name, and the library that does it."""

    def __init__(self, library: str) -> None:
        self.library = importlib.import_module(f"fastbp.bench._{library}")
        self.runs: dict[str, Run] = {}
        self.seconds: dict[str, float] = {}  # of the last call

    def prepare(self, name: str, case: dict[str, Any] | None = None) -> Answer:
        """Make ready one of the limits or a case, and do it once: what compiles at the first call does so here."""
        run = LIMITS[name]() if case is None else self.library.prepare(Case.from_json(case))
        run.repeat(1)
        began = time.perf_counter()
        run.repeat(1)
        self.runs[name], self.seconds[name] = run, time.perf_counter() - began
        return {}

    def turn(self, name: str, seconds: float) -> Answer:
        """Do it for some time; return the seconds of a unit."""
        run = self.runs[name]
        if self.seconds[name] < SLOW * seconds:
            calls, began = 0, time.perf_counter()
            while (now := time.perf_counter()) - began < seconds:
                run.repeat(1)
                calls += 1
            self.seconds[name] = (now - began) / calls
        calls = max(1, round(seconds / self.seconds[name]))
        began = time.perf_counter()
        run.repeat(calls)
        self.seconds[name] = (time.perf_counter() - began) / calls
        return {"seconds": self.seconds[name] / run.units}

    def drop(self, name: str) -> Answer:
        """Forget it."""
        del self.runs[name], self.seconds[name]
        return {}


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends: while it is stopped, it cannot see that its input ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Answer requests."""
    _die_with_parent()
    library, threads = sys.argv[1:]
    # Libraries may print: that goes to the standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(content: Answer) -> None:
        answers.write(json.dumps(content) + "\n")

    try:
        worker = Worker(library)
    except ImportError as error:
        return answer({"missing": str(error)})
    worker.library.start(int(threads))
    answer({"version": worker.library.VERSION, "kinds": worker.library.KINDS})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer(getattr(worker, request.pop("do"))(**request))
        except Exception as error:  # of the library at hand: it is named, and the others go on
            answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
