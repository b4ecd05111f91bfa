"""Forks while other threads make their first calls: they import, load or compile kernels, and start the pool."""

import os
import random
import sys
import tempfile
import threading
import time
import warnings

from .calls import CALLS, digest
from .frame import Result, wait_for_child

# One process of so many begins with an empty cache: its forks wait while others compile.
COLD = 12


def first_calls(times, forks=8, kinds=tuple(CALLS)):
    """Fork at random moments after the start of threads that make first calls; every child makes one of its own."""
    result = Result(f"{forks} forks while 3 threads make first calls: {', '.join(kinds)}; imports too; a cold cache")
    for i in range(times):
        with tempfile.TemporaryDirectory() as folder:
            cold = i % COLD == COLD - 1
            environment = {"NUMBA_CACHE_DIR": folder} if cold else {}
            wrong = result.call(f"try {i}", 600, fork_in_first_calls, i, forks, list(kinds), cold, **environment)
        for problem in wrong or []:
            result.expect(not problem, f"try {i}: {problem}")
    return result


def fork_in_first_calls(seed, forks, kinds, cold):
    """Return what was wrong with each child, or ""."""
    warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads
    draw = random.Random(seed)
    if "torch" in kinds:
        import torch

        torch.nn.Linear(2, 2)(torch.zeros(1, 2))  # PyTorch does not promise as much of its own first calls
    if draw.random() < 0.5:
        import fastbp  # noqa: F401
    threads = [threading.Thread(target=_call_later, args=(draw.choice(kinds), draw.random() * 0.1)) for _ in range(3)]
    for thread in threads:
        thread.start()
    # Before, a thread may stand in the first line of fastbp, and no fork waits.
    while not {"numba", "fastbp.kernels._native"} & sys.modules.keys():
        time.sleep(1e-4)
    children = []
    for _ in range(forks):
        time.sleep(draw.expovariate(1 if cold else 20))
        children.append(_child(draw.choice(kinds)))
    for thread in threads:
        thread.join()
    return [_problem(*child) for child in children]


def _call_later(kind, seconds):
    time.sleep(seconds)
    digest(kind)


def _child(kind):
    """Fork a process that makes a call; return the call, the process and where it writes its result."""
    end, start = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(start, digest(kind).encode())
        finally:
            os._exit(0)
    os.close(start)
    return kind, pid, end


def _problem(kind, pid, end):
    code = wait_for_child(pid)
    with open(end, "rb") as pipe:
        found = pipe.read().decode()
    if code != 0 or not found:
        return f"{kind}: exit code {code}"
    return "" if found == digest(kind) else f"{kind}: other bits"
