"""A thread on a stack that was all zeros: how much of it a call has written to. Tests import this."""

import ctypes
import mmap

import numpy as np

_Run = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


def bytes_of_stack(call, size=256 << 10):
    """Return how many bytes ``call()`` took of the stack of a thread of its own, Python's too, and its result."""
    c, memory = ctypes.CDLL(None), mmap.mmap(-1, size)
    attributes, thread = ctypes.create_string_buffer(128), ctypes.c_ulong()
    outcome = []

    def run(_):
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)

    start = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    c.pthread_attr_init(attributes)
    assert c.pthread_attr_setstack(attributes, start, ctypes.c_size_t(size)) == 0
    function = _Run(run)
    assert c.pthread_create(ctypes.byref(thread), attributes, function, None) == 0
    c.pthread_join(thread, None)
    (written,) = np.nonzero(np.frombuffer(memory, np.int64))
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return size - 8 * int(written[0]), outcome[0]
