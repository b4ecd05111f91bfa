"""What is asked of the operating system that macOS or Windows has not: each function says what it comes to there."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl, resource = None, None  # type: ignore[assignment]

_USUAL_STACK = 8 << 20  # bytes, where their number is not limited

# at_fork(before=, after_in_parent=, after_in_child=): nothing where no process can fork
at_fork: Callable[..., Any] = getattr(os, "register_at_fork", lambda **_: None)


def allowed_cpus() -> int:
    """Return the CPUs that this process may use; all of them where the system knows no affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stack_of_new_threads() -> int:
    """Return the bytes of the stack that the system gives a thread where nobody says how many."""
    limit = -1 if resource is None else resource.getrlimit(resource.RLIMIT_STACK)[0]
    return limit if limit > 0 else _USUAL_STACK


def lock_file(handle: int) -> None:
    """Lock an open file for this process; the system unlocks it with the last copy of the handle, or the process.

    BlockingIOError where another process has the lock; another OSError, as of a file system without locks, where there
    are none.
    """
    if fcntl is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def give_owner_and_mode(handle: int, old: os.stat_result) -> None:
    """Give an open file the owner and permissions of another one, where there are such and that is allowed."""
    with suppress(PermissionError, AttributeError):  # another user's
        os.fchown(handle, old.st_uid, old.st_gid)
    with suppress(PermissionError, AttributeError):  # a file system without permissions
        os.fchmod(handle, old.st_mode & 0o777)
