"""Numba's pool of threads, started so that it shares a machine with other processes."""

import contextlib
import ctypes
import importlib
import os
import sys

from numba.np.ufunc.parallel import _launch_threads

# GNU OpenMP lets a thread that has nothing to do spin for milliseconds before it sleeps. That serves the next parallel
# region when the cores are free; when another process has them, every region waits for a thread that is not running,
# and two training runs on the same cores are a thousand times slower than one. So many turns, a tenth of a
# millisecond, outlast the serial stretches between the regions of a step and no more.
SPIN_COUNT = "4000"
_USERS_CHOICE = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

_started = False


def _find_tbb() -> None:
    """Where there is no OpenMP, load pip's TBB: Numba asks the dynamic loader, which does not look there."""
    try:
        importlib.import_module("numba.np.ufunc.omppool")
    except ImportError:
        with contextlib.suppress(OSError):
            ctypes.CDLL(os.path.join(sys.prefix, "lib", "libtbb.so.12"))


def _launch() -> None:
    _find_tbb()
    _launch_threads()


def start_threads() -> None:
    """Start the pool before the first kernel is loaded. The user's own choice of waiting stands."""
    global _started
    if _started:
        return
    _started = True
    if any(name in os.environ for name in _USERS_CHOICE):
        _launch()
        return
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT  # the library reads it when it is loaded, and never again
    try:
        _launch()
    finally:
        del os.environ["GOMP_SPINCOUNT"]
