"""Arrays between pages that may not be touched, for scripts that a test runs: reading or writing past one kills."""

import ctypes
import mmap

import numpy as np

kept = []


def fenced(values, at_end=True):
    """Return a copy of an array that ends where a page without any right begins, or begins where one ends."""
    values = np.ascontiguousarray(values)
    inside = -(-values.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, inside + 2 * mmap.PAGESIZE)
    kept.append(memory)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for page in (address, address + mmap.PAGESIZE + inside):
        if protect(page, mmap.PAGESIZE, 0) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    start = mmap.PAGESIZE + (inside - values.nbytes if at_end else 0)
    copy = np.frombuffer(memory, values.dtype, values.size, start).reshape(values.shape)
    copy[...] = values
    return copy
