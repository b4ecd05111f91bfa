"""Memory for what the kernels work on."""

import re
from pathlib import Path
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


def available() -> float:
    """Return how many bytes of memory there are to take, as the system and the container say; infinity if they do not.

    The container's limit (cgroup version 2, then 1) counts without what its processes have taken already.
    """
    found = re.search(r"MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"))
    sizes = [int(found[1]) * 1024.0] if found else []
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        most, now = _text(limit).strip(), _text(used).strip()
        if most.isdecimal() and now.isdecimal():
            sizes.append(max(0.0, int(most) - int(now)))
            break
    return min(sizes, default=float("inf"))


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
