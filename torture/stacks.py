"""Calls on small stacks: of Python's threads, of OpenMP's, and of the thread that a process begins with."""

import resource
import tempfile
import threading

from . import calls
from .frame import Result, call, threads_always

THREAD = 128  # KiB, as Python's threads may be given; compiling takes half of that
OPENMP = ("64k", "256k")  # OMP_STACKSIZE
LIMITS = (256, 512)  # KiB, what `ulimit -s` may say


def stacks(times, kinds=tuple(calls.CALLS), openmp=OPENMP, limits=LIMITS, cold=True):
    """Make calls of each kind where stacks are small, with kernels from the cache and with an empty one."""
    result = Result(f"{', '.join(kinds)} on stacks of {THREAD} KiB, OMP_STACKSIZE={openmp}, ulimit -s {limits}")
    for _ in range(times):
        expected = result.call("large stacks", 600, digests, list(kinds))
        ways = [(f"threads of {THREAD} KiB", in_threads, THREAD, {})]
        ways += [(f"ulimit -s {size}", under_limit, size, {}) for size in limits]
        ways += [(f"OMP_STACKSIZE={size}", in_threads, THREAD, {"OMP_STACKSIZE": size}) for size in openmp]
        for label, function, size, environment in ways:
            found = result.call(label, 600, function, size, list(kinds), **environment)
            result.expect(found == expected, f"{label}: {found}, not {expected}")
        if cold:
            with tempfile.TemporaryDirectory() as folder:  # on one core nothing is compiled by other processes
                environment = {"NUMBA_CACHE_DIR": folder, "NUMBA_NUM_THREADS": "1"}
                found = result.call("an empty cache", 900, in_threads, THREAD, list(kinds), **environment)
            result.expect(found == expected, f"an empty cache: {found}, not {expected}")
    return result


def digests(kinds):
    """Return a digest of the results of each call."""
    threads_always()
    return [calls.digest(kind) for kind in kinds]


def in_threads(size, kinds):
    """Do the same, each call in a thread whose stack has so many KiB."""
    threads_always()
    threading.stack_size(size << 10)
    found = []
    for kind in kinds:
        thread = threading.Thread(target=lambda kind=kind: found.append(calls.digest(kind)))
        thread.start()
        thread.join()
    return found


def under_limit(size, kinds):
    """Do the same in a process whose first thread has a stack of so many KiB."""
    resource.setrlimit(resource.RLIMIT_STACK, (size << 10, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    return call(600, digests, kinds)
