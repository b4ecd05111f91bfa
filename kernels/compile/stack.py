"""A full stack for compiling and loading: both take several times as much as the kernels, and a user's loss may more.

Where a thread's stack is small, another thread compiles, and this one waits for it.
"""

import contextvars
import ctypes
import threading
from collections.abc import Callable
from typing import Any

from .forks import has_lock, imports
from .interrupts import held_back

FULL = 8 << 20  # bytes of the stack of a thread that compiles for another one
SMALL = 1 << 20  # a thread with less does not compile itself
_ATTRIBUTES = 128  # bytes, more than the pthread_attr_t of any system
_of_thread = threading.local()


def on_full_stack(call: Callable[[], Any]) -> Any:
    """Return ``call()``, made by a thread with a full stack where that of this one is small.

    Its errors are raised here. Ctrl-C here ends the wait, and the call too. A thread that has a lock of `forks` makes
    the call itself, for another one would wait for that lock; so it does where the system gives no thread.
    """
    if stack_of_thread() >= SMALL or has_lock():
        return call()
    thread = _Compiling(call)
    try:
        begun = _start(thread) and thread.done.acquire()  # `join` takes a thread for ended when Ctrl-C ends the wait
    except BaseException as interrupt:
        thread.stop(type(interrupt))
        raise
    return thread.result() if begun else call()


def stack_of_thread() -> int:
    """Return the bytes of this thread's stack; FULL where the system does not tell."""
    if not hasattr(_of_thread, "stack"):
        _of_thread.stack = _ask() or FULL
    return int(_of_thread.stack)


def _ask() -> int:
    attributes, first, size = ctypes.create_string_buffer(_ATTRIBUTES), ctypes.c_void_p(), ctypes.c_size_t()
    try:
        c = ctypes.CDLL(None)
        if c.pthread_getattr_np(ctypes.c_ulong(threading.get_ident()), attributes) == 0:
            c.pthread_attr_getstack(attributes, ctypes.byref(first), ctypes.byref(size))
            c.pthread_attr_destroy(attributes)
    except (AttributeError, TypeError):  # a C library without it, or none that Python can name
        pass
    return size.value


def _start(thread: threading.Thread) -> bool:
    """Start a thread with a full stack; return whether there is one.

    The size is one for the whole process: two of these set it one after another, and where the program sets another
    one meanwhile, that stays.
    """
    with imports, held_back():
        before = threading.stack_size(FULL)
        try:
            thread.start()
        except RuntimeError:
            return False
        finally:
            now = threading.stack_size(before)
            if now != FULL:
                threading.stack_size(now)
    return True


class _Compiling(threading.Thread):
    """A thread that makes a call in the context of the thread that wants its result."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(name="fastbp compiles")
        self._call, self._context = call, contextvars.copy_context()
        self._value: Any = None
        self._error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        """Make the call."""
        try:
            self._value = self._context.run(self._call)
        except BaseException as error:
            self._error = error
        finally:
            self.done.release()

    def stop(self, kind: type[BaseException]) -> None:
        """Raise an exception in the call, if that has begun."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident or 0), ctypes.py_object(kind))

    def result(self) -> Any:
        """Return or raise what the call has, which is done."""
        self.join()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._value
