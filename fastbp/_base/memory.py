"""Memory for what the kernels work on."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Cache lines are of 64 bytes, and CPUs fetch them in pairs. NumPy begins its arrays anywhere in a line: each vector of
# AVX-512 would then be read from two, and threads would write to the same one where their blocks meet.
LINE_PAIR = 128


def zeros(size: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return a flat array that begins at a pair of cache lines; pages that are not written take no memory."""
    dtype = np.dtype(dtype)
    room = np.zeros(size * dtype.itemsize + LINE_PAIR, np.uint8)
    start = -room.__array_interface__["data"][0] % LINE_PAIR
    return room[start : start + size * dtype.itemsize].view(dtype)
