"""Locks that refuse in place of waiting: a trainer is used by one thread at a time, and runs one `fit`."""

import threading
from typing import Any


class Alone:
    """A lock that one thread may take several times; RuntimeError for any other thread, without waiting."""

    refusal = "Trainer is in use by another thread; give each thread a Trainer of its own"

    def __init__(self) -> None:
        self._lock = self._make_lock()

    def _make_lock(self) -> Any:
        return threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(self.refusal)

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def __reduce__(self) -> Any:
        return type(self), ()  # no thread is inside a copy


class Once(Alone):
    """A lock that one call may take once; RuntimeError if that call makes another one."""

    refusal = "fit of this Trainer is running: its callbacks may call step, or fit of another Trainer of the model"

    def _make_lock(self) -> Any:
        return threading.Lock()
