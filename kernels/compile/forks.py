"""What a fork waits for.

A child process has every lock as it was, and none of the threads that held one: the child would wait for those for
ever. Python locks a module that is being imported, Numba its compiler, llvmlite every call of LLVM. So who imports
modules late holds `imports` meanwhile, and a fork takes that lock, the compiler's and LLVM's, before the process is
copied.
"""

# Their locks are taken at a fork, too, and an import may want them. What was registered last is called first, so that a
# fork waits for imports before it takes those.
import concurrent.futures.thread  # noqa: F401
import importlib._bootstrap
import logging  # noqa: F401
import sys
import threading
import time
from typing import Protocol

from .system import at_fork
from .unwinder import wait_for_ending_threads


class Lock(Protocol):
    """A lock that a thread may acquire again while it has it, as one that forks inside an import does."""

    def acquire(self) -> object: ...
    def release(self) -> object: ...


imports = threading.RLock()
_held = threading.local()  # what a thread that forks has acquired


def _compilers() -> list[Lock]:
    """Return the lock of Numba's compiler, which who compiles, loads or starts the pool has; none before its import.

    Who has it may not want `imports`.
    """
    lock = getattr(sys.modules.get("numba.core.compiler_lock"), "global_compiler_lock", None)
    return [] if lock is None else [lock]


def _llvm() -> list[Lock]:
    """Return the lock of calls of LLVM; none before its import.

    Who asks for the CPU's instructions makes such calls without the compiler's lock, and so does whoever collects
    objects of llvmlite. Who has it wants no other one.
    """
    calls = getattr(getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None), "_lock", None)
    lock = getattr(calls, "_lock", None)
    return [] if lock is None else [lock]


def has_lock() -> bool:
    """Whether this thread has one of the locks: what another thread does for it may not want them."""
    return imports._is_owned() or any(lock.is_locked() for lock in _compilers())


def _imported_elsewhere() -> bool:
    """Whether another thread imports a module of ours: Python locks ``fastbp.torch`` before any line of ours runs."""
    modules = getattr(importlib._bootstrap, "_module_locks", {})  # weak references by name
    locks = [reference() for name, reference in list(modules.items()) if name.split(".")[0] == "fastbp"]
    return any(lock is not None and lock.owner not in (None, threading.get_ident()) for lock in locks)


def _acquire() -> None:
    held = _held.__dict__.setdefault("locks", [])
    while True:
        imports.acquire()
        held.append(imports)
        for lock in (*_compilers(), *_llvm()):  # read under `imports`: an import may have just ended
            lock.acquire()
            held.append(lock)
        if not _imported_elsewhere():
            break
        _release()
        time.sleep(0.001)
    if _llvm():
        wait_for_ending_threads()


def _release() -> None:
    held = _held.__dict__.get("locks", [])
    while held:  # not all of them, where Ctrl-C ended the wait
        held.pop().release()


at_fork(before=_acquire, after_in_parent=_release, after_in_child=_release)
