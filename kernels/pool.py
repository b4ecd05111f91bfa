"""Numba's pool of threads, started so that it shares a machine with other processes."""

import contextlib
import ctypes
import importlib
import mmap
import os
import sys

from numba.core import config
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel

# GNU OpenMP lets a thread that has nothing to do spin for milliseconds before it sleeps. That serves the next parallel
# region when the cores are free; when another process has them, every region waits for a thread that is not running,
# and two training runs on the same cores are a thousand times slower than one. So many turns, a tenth of a
# millisecond, outlast the serial stretches between the regions of a step and no more.
SPIN_COUNT = "4000"
_USERS_CHOICE = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

# Bytes of address space that loading kernels and threads takes, and compiling, with much to spare
LOADING, COMPILING = 64 << 20, 256 << 20

_started = False

# A child process has the locks as they were and none of the threads that held them. So a fork waits until nobody
# compiles, loads or starts the pool: the child would wait for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def is_room_for(size: int) -> bool:
    """Whether so many bytes of address space are left. LLVM and OpenMP end the process where they miss some."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, OverflowError):
        return False
    return True


def require_room(size: int) -> None:
    """Raise MemoryError where LLVM, or the loading of a library, would end the process."""
    if not is_room_for(size):
        raise MemoryError(f"fastbp expects {size >> 20} MB of free address space to load or compile its kernels")


def _find_tbb() -> None:
    """Load pip's TBB, where there is no OpenMP or the user names a layer: the dynamic loader does not look there."""
    if config.THREADING_LAYER == "default":
        with contextlib.suppress(ImportError):
            importlib.import_module("numba.np.ufunc.omppool")
            return
    with contextlib.suppress(OSError):
        ctypes.CDLL(os.path.join(sys.prefix, "lib", "libtbb.so.12"))


def _launch() -> None:
    _find_tbb()
    parallel._launch_threads()


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
