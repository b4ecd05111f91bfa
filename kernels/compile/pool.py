"""Numba's pool of threads, started so that it shares a machine, and a process, with others."""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from .._numba import config, global_compiler_lock, openmp_pool, parallel
from .space import LOADING, require_room

# GNU OpenMP lets a thread that has nothing to do spin for milliseconds before it sleeps. That serves the next parallel
# region when the cores are free; when another process has them, every region waits for a thread that is not running,
# and two training runs on the same cores are a thousand times slower than one. So many turns, a tenth of a
# millisecond, outlast the serial stretches between the regions of a step and no more.
SPIN_COUNT = "4000"
_USERS_CHOICE = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

_started = False


def _launch() -> None:
    """Start the pool: OpenMP where the user names no other layer. What other libraries have set stays."""
    openmp = None
    if config.THREADING_LAYER not in ("tbb", "workqueue"):
        with contextlib.suppress(ImportError):
            openmp = openmp_pool()
    if openmp is None or config.THREADING_LAYER != "default":
        with contextlib.suppress(OSError):  # pip's TBB, where the dynamic loader does not look
            ctypes.CDLL(os.path.join(sys.prefix, "lib", "libtbb.so.12"))
    with _start_method_open(), _openmp_launched_apart(openmp):
        parallel._launch_threads()


@contextlib.contextmanager
def _openmp_launched_apart(openmp: Any) -> Iterator[None]:
    """Let Numba's OpenMP set its number of threads, and that regions may be nested, in a thread that ends.

    OpenMP keeps both for each thread, and PyTorch and others compute with the same OpenMP in the threads that call us.
    Older ones keep for the process how deep regions may be nested. Numba's regions ask for their threads each time.
    """
    if openmp is None or parallel._is_initialized:
        yield
        return
    address = openmp.launch_threads
    launch = ctypes.CFUNCTYPE(None, ctypes.c_int)(address)
    levels, set_levels = (_bound(openmp, f"omp_{verb}_max_active_levels") for verb in ("get", "set"))

    def launch_and_restore() -> None:
        before = levels()
        launch(parallel.NUM_THREADS)
        set_levels(before)

    thread = threading.Thread(target=launch_and_restore)
    try:
        thread.start()
        thread.join()
    except RuntimeError:  # the system gives no thread, to OpenMP neither
        launch_and_restore()
    openmp.launch_threads = openmp.set_num_threads  # Numba calls it: it sets a number of Numba's own, to what it is
    try:
        yield
    finally:
        openmp.launch_threads = address


def _bound(module: Any, name: str) -> Any:
    """Return the function that a call of `name` in an extension module ends in: libraries loaded for all come first."""
    for path in (None, module.__file__):
        with contextlib.suppress(AttributeError):
            return getattr(ctypes.CDLL(path), name)
    raise AttributeError(name)


@contextlib.contextmanager
def _start_method_open() -> Iterator[None]:
    """Let the program still choose how multiprocessing starts processes: Numba asks, and whoever asks fixes it."""
    import multiprocessing

    chosen = multiprocessing.get_start_method(allow_none=True)
    try:
        yield
    finally:
        if chosen is None:
            multiprocessing.set_start_method(None, force=True)


def start_threads() -> None:
    """Start the pool before the first kernel is loaded. The user's own choice of waiting stands."""
    global _started
    if _started:
        return
    with global_compiler_lock:  # the lock of whoever else starts it: there is one, so nobody waits for a second
        if _started:
            return
        require_room(LOADING)
        if any(name in os.environ for name in _USERS_CHOICE):
            _launch()
        else:
            os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT  # the library reads it when it is loaded, and never again
            try:
                _launch()
            finally:
                del os.environ["GOMP_SPINCOUNT"]
        _started = True


def threading_layer() -> str:
    """Return which of Numba's threading layers this process has: "omp", "tbb" or "workqueue"."""
    start_threads()
    return str(parallel.threading_layer())


def most_threads() -> int:
    """Return with how many threads Numba's pool starts, the most that a call may use."""
    return int(config.NUMBA_NUM_THREADS)
