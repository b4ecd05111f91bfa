"""What a fork waits for.

A child process has every lock as it was, and none of the threads that held one: the child would wait for those for
ever. Python locks a module that is being imported, Numba its compiler. So who imports modules late holds `imports`
meanwhile, and a fork takes that lock, and the compiler's, before the process is copied.
"""

# Their locks are taken at a fork, too, and an import may want them. What was registered last is called first, so that a
# fork waits for imports before it takes those.
import concurrent.futures.thread  # noqa: F401
import logging  # noqa: F401
import os
import threading
from typing import Protocol


class Lock(Protocol):
    """A lock that a thread may acquire again while it has it, as one that forks inside an import does."""

    def acquire(self) -> object: ...
    def release(self) -> object: ...


imports = threading.RLock()
_locks: list[Lock] = [imports]
_held: list[Lock] = []


def wait_for(lock: Lock) -> None:
    """Let forks wait for one more lock: who has it may take those named before, not the other way round."""
    _locks.insert(0, lock)


def _acquire() -> None:
    while True:
        locks = list(_locks)
        for lock in locks:
            lock.acquire()
        if locks == _locks:
            break
        for lock in locks:  # an import that has just ended named another one
            lock.release()
    _held[:] = locks


def _release() -> None:
    for lock in _held:
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_release)
