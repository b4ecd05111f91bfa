"""A fork waits for threads that end: one that does looks its functions up in libgcc, under a lock that a child misses.

LLVM tells libgcc of each piece of machine code under that lock, so a child that loads kernels would wait for ever for a
thread that it has not. Threads of GNU OpenMP end after the thread that used them, whenever the system lets them run;
where much code is new to libgcc, which sorts it for the first one that asks, that takes milliseconds. libgcc 13 has no
lock.
"""

import contextlib
import ctypes
import functools
import os
import time
from collections.abc import Callable

_TRIES, _SECONDS = 100, 1e-4  # a program whose threads always come and go forks all the same


@functools.cache
def _look_up() -> Callable[[], object]:
    """Return a call that waits for the lock, and lets libgcc sort what is new."""
    with contextlib.suppress(OSError, AttributeError):  # another library does its work
        find = ctypes.CDLL("libgcc_s.so.1")._Unwind_Find_FDE
        find.argtypes, find.restype = [ctypes.c_void_p, ctypes.c_void_p], ctypes.c_void_p
        found = ctypes.create_string_buffer(3 * ctypes.sizeof(ctypes.c_void_p))
        return functools.partial(find, 1, found)  # no function has this address
    return lambda: None


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:  # not on Linux
        return 0


def wait_for_ending_threads() -> None:
    """Return when no thread has the lock and none has ended for a moment."""
    before = -1
    for _ in range(_TRIES):
        _look_up()()
        now = _threads()
        if now == before:
            break
        before = now
        time.sleep(_SECONDS)
