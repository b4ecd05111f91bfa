"""Child processes of a process whose threads have started: they train and predict rightly, and never hang."""

import multiprocessing
import os
import threading
import warnings
from itertools import product

from .frame import CHILD_SECONDS, Result, layers, threads_always, wait_for_child
from .networks import FEW, make, trained

WAYS = ("os.fork", "fork", "spawn", "forkserver", "loky")


def forks(times, ways=WAYS):
    """Make children in every way, after a warm-up, while other threads are in a region and while another compiles."""
    result = Result(f"a child after warm-up: {', '.join(ways)}; while others train or compile; {', '.join(layers())}")
    for layer, way in product(layers(), ways):
        environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "4"}
        for wrong in result.call(f"{layer}, {way}", 60 + 20 * times, children, way, times, **environment) or []:
            result.expect(not wrong, f"{layer}, {way}: {wrong}")
    return result


def work():
    return [trained(case, 5) for case in FEW]


def children(way, times):
    """Return what was wrong with each of so many children, or ""."""
    warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads
    threads_always()
    expected = work()
    stop = threading.Event()
    busy = [threading.Thread(target=train_until, args=(case, stop)) for case in FEW[-2:]]
    for thread in busy:
        thread.start()
    try:
        child = _fork if way == "os.fork" else _loky if way == "loky" else _process
        return [child(way, expected) for _ in range(times)]
    finally:
        stop.set()
        for thread in busy:
            thread.join()


def train_until(case, stop):
    trainer, x, y = make(case)
    while not stop.is_set():
        trainer.step(x, y)


def _fork(_, expected):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() == expected else 99)
        finally:
            os._exit(98)
    code = wait_for_child(pid)
    return "" if code == 0 else "other bits" if code == 99 else f"exit code {code}"


def _process(way, expected):
    with multiprocessing.get_context(way).Pool(2) as pool:
        found = [pool.apply_async(work) for _ in range(2)]
        try:
            return "" if all(f.get(CHILD_SECONDS) == expected for f in found) else "other bits"
        except multiprocessing.TimeoutError:
            return "hangs"


def _loky(_, expected):
    from joblib import Parallel, delayed

    found = Parallel(2, backend="loky", timeout=CHILD_SECONDS)(delayed(work)() for _ in range(2))
    return "" if all(digests == expected for digests in found) else "other bits"


def compiling(times):
    """Fork while another thread compiles; the child needs the compiler too."""
    result = Result("a fork while another thread compiles")
    for _ in range(times):
        code = result.call("fork", 120, fork_while_compiling)
        if code is not None:
            result.expect(code == 0, f"exit code {code}")
    return result


def fork_while_compiling():
    warnings.simplefilter("ignore")
    from numba import njit
    from numba.core import event

    begun = threading.Event()

    class Listener(event.Listener):
        def on_start(self, _):
            begun.set()

        def on_end(self, _):
            pass

    def compile_more():
        for i in range(20):
            njit(lambda x: x + i)(1)  # noqa: B023

    event.register("numba:compile", Listener())
    other = threading.Thread(target=compile_more)
    other.start()
    begun.wait()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if njit(lambda x: x + 1)(1) == 2 and work() else 99)
    code = wait_for_child(pid)
    other.join()
    return code
