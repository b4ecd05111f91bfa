"""A child process finds no lock taken by a thread that it has not; `torture/first_calls.py` forks at random moments."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from llvmlite.binding.ffi import lib

from fastbp.kernels._numba import global_compiler_lock
from fastbp.kernels.compile.forks import imports

LOCKS = {"imports": imports, "compiler": global_compiler_lock._lock, "calls of LLVM": lib._lock._lock}


@pytest.mark.jit
@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_a_fork_waits_for_a_lock_that_another_thread_has(lock):
    taken, forks = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            forks.wait()

    with ThreadPoolExecutor(1) as other:
        other.submit(hold)
        taken.wait()
        threading.Timer(0.05, forks.set).start()  # the fork waits by then
        child = os.fork()
        if child == 0:
            os._exit(not lock.acquire(blocking=False))
    assert os.waitpid(child, 0)[1] == 0
