"""A child process finds no lock taken by a thread that it has not; `torture/first_calls.py` forks at random moments."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from llvmlite.binding.ffi import lib

from fastbp.kernels._numba import global_compiler_lock
from fastbp.kernels.compile.forks import imports
from torture.frame import ROOT

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


ENDING = """
import ctypes, os, signal, threading, time
import llvmlite.binding as llvm
import numpy as np
import fastbp
from torture.frame import threads_always

x, model = np.ones((257, 300), "float32"), fastbp.mlp([300, 200, 10], rng=0)
threads_always()
model.predict(x)
machine, engines = llvm.Target.from_default_triple().create_target_machine(jit=True), []
saving = 'call void asm sideeffect "", "~{rbx},~{r12}"()'  # registers: much to say to libgcc
functions = "\\n".join(f"define i64 @f{i}(i64 %0) uwtable {{ {saving}\\n ret i64 %0 }}" for i in range(400))
for i in range(15):
    engines.append(llvm.create_mcjit_compiler(llvm.parse_assembly(functions), machine))
    engines[-1].finalize_object()
    thread = threading.Thread(target=model.predict, args=(x,))
    thread.start()
    thread.join()  # the pool's threads that it had end now
    time.sleep(i * 12e-6)
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # else it would wait for ever
        os._exit(not ctypes.CDLL("libgcc_s.so.1")._Unwind_Find_FDE(ctypes.c_void_p(1), (ctypes.c_void_p * 3)()) == 0)
    assert os.waitpid(child, 0)[1] == 0, i
"""


@pytest.mark.jit
def test_a_fork_waits_for_threads_of_the_pool_that_end():
    """Each takes libgcc's lock, and a child that loads kernels needs it; libgcc 13 has none."""
    environment = os.environ | {"NUMBA_NUM_THREADS": "16", "OMP_NUM_THREADS": "16", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", ENDING], check=True, env=environment, timeout=300)
