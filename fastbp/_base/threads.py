"""How many threads a call uses. The bits of a result do not depend on it."""

import functools
import os
import threading
import warnings
from pathlib import Path

from fastbp.kernels import workers
from fastbp.kernels.compile.space import is_room_for
from fastbp.kernels.compile.system import allowed_cpus, at_fork, stack_of_new_threads

# A call of fewer floating-point operations uses one thread: a parallel region costs one to three microseconds, a
# hundred where it has to make its threads (``kernels/compile/threads.py``). Inside a call, ``kernels/linalg/tasks.py``
# decides the same for each operation.
SERIAL_WORK = 2e6
SERIAL_WORK_OF_WORKQUEUE = 5e7

# Asked before each call; neither changes in a process.
_own_threads, _threading_layer = functools.cache(workers.own_threads), functools.cache(workers.threading_layer)

_forked = False
_threads: int | None = None
_named = False


class _OfThread(threading.local):
    """Of a Python thread: how many threads its calls may use, and how many OpenMP has made for it."""

    limit: int | None = None
    pool: int | None = None


_of_thread = _OfThread()


def _after_fork() -> None:
    # The threads stayed in the parent, and GNU OpenMP kills a child that asks for them.
    global _forked
    _forked = True


at_fork(after_in_child=_after_fork)


def available_threads() -> int:
    """Return the smallest of CPU affinity, cgroup quota, ``NUMBA_NUM_THREADS`` and ``OMP_NUM_THREADS``."""
    most = workers.most_threads()
    limits = [most, allowed_cpus(), _cgroup_quota(), _omp_num_threads()]
    return max(1, min(limit for limit in limits if limit is not None))


def _cgroup_quota() -> int | None:
    """CPUs' worth of time that the container may use, rounded up (cgroup version 2, then 1)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        return -(-int(quota) // int(period)) if int(quota) > 0 else None
    except ValueError:  # "max"
        return None


def _omp_num_threads() -> int | None:
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def get_num_threads() -> int:
    """Return how many threads fastbp may use in a call.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.get_num_threads() >= 1
    True
    """
    global _threads
    if _threads is None:
        _threads = available_threads()
    return _threads


def set_num_threads(n: int) -> None:
    """Set how many threads fastbp may use in a call, for the whole process.

    A process that was forked after a call has none of its parent's threads, and computes on one until this is called;
    with the threads of Numba, which cannot be made again (``threading layer`` in `show_config`), it does so for good.

    Parameters
    ----------
    n : int
        From 1 to ``NUMBA_NUM_THREADS``, by default the CPUs.

    Raises
    ------
    ValueError
        If `n` is out of range.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.set_num_threads(fastbp.get_num_threads())  # what it is already
    """
    global _threads, _forked
    most = workers.most_threads()
    if isinstance(n, bool) or not hasattr(n, "__index__") or not 1 <= n <= most:
        raise ValueError(f"set_num_threads expects n from 1 to {most} (NUMBA_NUM_THREADS), got {n!r}")
    _threads = int(n)
    if workers.own_threads():
        _forked = False


class at_most:
    """Let this Python thread's calls use at most `n` threads meanwhile; None sets no limit of its own."""

    __slots__ = ("_before", "_n")

    def __init__(self, n: int | None) -> None:
        self._n = n

    def __enter__(self) -> None:
        self._before, _of_thread.limit = _of_thread.limit, self._n

    def __exit__(self, *exception: object) -> None:
        _of_thread.limit = self._before


def tasks_for(work: float) -> int:
    """Return into how many tasks to cut a call of `work` floating-point operations; 1 opens no parallel region."""
    if work < SERIAL_WORK or _forked:
        return 1
    n, limit = _threads or get_num_threads(), _of_thread.limit
    if limit is not None and limit < n:
        n = limit
    if n == 1:
        return 1
    if _own_threads():
        return n
    if _on_workqueue() and work < SERIAL_WORK_OF_WORKQUEUE:
        return 1
    if _of_thread.pool != n:  # OpenMP makes a pool for each Python thread
        if not _room_for_stacks(n):
            return 1
        _of_thread.pool = n
    return n


def _room_for_stacks(n: int) -> bool:
    """Whether a pool's stacks fit into what address space is left: GNU OpenMP ends the process where they do not."""
    return is_room_for(n * stack_of_new_threads())


def _on_workqueue() -> bool:
    """Whether Numba found no better threading layer; said once, because its user can do better."""
    global _named
    slow = _threading_layer() == "workqueue"
    if slow and not _named:
        _named = True
        warnings.warn(
            "Numba found no threading layer but its own 'workqueue'. A parallel region then takes some 100 "
            "microseconds to open, where GNU OpenMP takes one. Install libgomp, or 'pip install tbb'.",
            RuntimeWarning,
            stacklevel=4,
        )
    return slow
