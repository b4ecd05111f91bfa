"""The threads that kernels compute on: the extension's own where the package has it, else Numba's."""

import os

from .code import jit
from .compile.prebuilt import prebuilt
from .compile.system import allowed_cpus


def own_threads() -> bool:
    """Return whether the threads are the extension's."""
    return prebuilt().extension is not None


def threading_layer() -> str:
    """Return which threads this process has: "fastbp", or of Numba's layers "omp", "tbb" or "workqueue"."""
    if own_threads():
        return "fastbp"
    return str(jit("compile.pool").threading_layer())


def most_threads() -> int:
    """Return the most that a call may use: ``NUMBA_NUM_THREADS``, by default the CPUs."""
    if not own_threads():
        return int(jit("compile.pool").most_threads())
    named = os.environ.get("NUMBA_NUM_THREADS", "")
    if named.isdecimal() and int(named) > 0:
        return int(named)
    return allowed_cpus()
