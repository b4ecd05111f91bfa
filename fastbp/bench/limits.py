"""The FMA peak and the copy bandwidth of the machine, measured like a case."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastbp._threads import get_num_threads
from fastbp.bench.cases import FLOAT, Run, repeated
from fastbp.kernels import limits
from fastbp.kernels.isa import isa

REPEATS = 200_000  # of a call: about a millisecond
CACHES = 4  # each array is so many last-level caches long
UNKNOWN_CACHE, LARGEST_ARRAY = 32 << 20, 1 << 30


def last_level_cache() -> int:
    """Return the size in bytes of the largest cache of the first CPU."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text[:-1].isdigit() and text[-1:] in units:
            sizes.append(int(text[:-1]) * units[text[-1]])
    return max(sizes, default=UNKNOWN_CACHE)


def _fma() -> Run:
    threads = get_num_threads()
    rng = np.random.default_rng(0)
    a = rng.standard_normal((threads, limits.CHAINS * isa().lanes(FLOAT)), np.float32)
    numbers = np.float32(0.5), np.float32(1.0)
    run = repeated(lambda: limits.fma_peak(a, *numbers, REPEATS, threads))
    return run._replace(units=2.0 * a.size * REPEATS)


def _copy() -> Run:
    threads = get_num_threads()
    n = min(CACHES * last_level_cache(), LARGEST_ARRAY) // FLOAT
    source, target = np.ones(n, np.float32), np.zeros(n, np.float32)
    run = repeated(lambda: limits.copy(source, target, threads))
    return run._replace(units=2.0 * source.nbytes)


# Units are floating-point operations, and bytes read and written.
LIMITS: dict[str, Callable[[], Run]] = {"fma": _fma, "copy": _copy}
