"""A folder for one process at a time."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastbp.kernels.compile.system import lock_file

LOCK = ".lock"
# What flock says where the file system has no locks.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Make a folder where there is none, and lock it; yield whether its file system has locks.

    The lock is one on the folder's file ``.lock``. The system drops it with the process, however that ends; the file
    that a killed process leaves locks nothing. At the end the file is removed, and so are folders made here and empty.

    Raises BlockingIOError where another process is in the folder.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOCK
        handle, locked = _lock(path)
        try:
            yield locked
        finally:
            path.unlink(missing_ok=True)  # before the lock goes: so only the process that has the lock removes it
            os.close(handle)
    finally:
        with suppress(OSError):  # the first that is not empty
            for path in made:
                path.rmdir()


def _lock(path: Path) -> tuple[int, bool]:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock_file(handle)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle, True
        except BlockingIOError:
            os.close(handle)
            raise BlockingIOError(f"another process writes to {path.parent}") from None
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(handle)
                raise
            return handle, False
        os.close(handle)  # another process has removed this file meanwhile: lock the one in its place
