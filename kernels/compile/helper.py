"""A process that compiles for another one: it takes names of jobs on its standard input and answers when each is done.

It ends with its standard input, which closes when the other process ends, however that does.
"""

import json
import os
import queue
import sys
import threading
import warnings

import numpy as np


def main() -> None:
    """Compile what this process is told to, into the cache."""
    answers, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what Numba prints is no answer
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_take, args=(waiting,), daemon=True).start()
    warnings.filterwarnings("error", message="fastbp compiles without its cache")  # which nobody would have anything of
    try:
        from ..ops.fill import all_codes
        from .jobs import compile_alone, jobs_of, stand_in

        codes, entries, name = json.loads(sys.argv[1])
        known = {(code.module, code.name): code for code in all_codes()}
        jobs = jobs_of([known[key] for key in map(tuple, codes) if key in known], entries, np.dtype(name))
        stand_in(jobs)
        while True:
            compile_alone(jobs[waiting.get()])
            os.write(answers, f"{os.getpid()}\n".encode())
    finally:
        os._exit(1)  # at once: a thread waits for the standard input


def _take(waiting: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        waiting.put(line.strip())
    os._exit(0)
