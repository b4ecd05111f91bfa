"""One measurement in a clone at a time: all share an environment, in which one commit can be installed."""

import contextlib
import fcntl
import os
import sys

from _asv import OWN, refuse


@contextlib.contextmanager
def alone(folder=OWN):
    """Hold the clone's lock; where another process has it, end with a line that names that process.

    The system keeps the lock for an open file: for this process and for the asv that it starts, which gets the file
    too. When both are gone it is free, however they ended. `fastbp._base.lock` would free it with this process alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 1000).decode(errors="replace").strip() or "another process"
            refuse(f"{holder} is at work in {folder}: wait until it has ended, or stop it")
        os.truncate(file, 0)
        os.write(file, f"{' '.join(sys.argv)} (process {os.getpid()})".encode())
        os.set_inheritable(file, True)
        yield
    finally:
        os.close(file)
