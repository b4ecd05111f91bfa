"""The FMA peak and the copy bandwidth of the machine, measured like a case."""

from collections.abc import Callable

import numpy as np

from fastbp._base import memory
from fastbp._base.threads import get_num_threads
from fastbp.bench.cases import FLOAT, Run, repeated
from fastbp.kernels import entries
from fastbp.kernels.simd.caches import caches
from fastbp.kernels.simd.isa import isa

REPEATS = 200_000  # of a call: about a millisecond
CACHES = 4  # each array is so many last-level caches long
LARGEST_ARRAY = 1 << 30


def _fma() -> Run:
    threads = get_num_threads()
    rng = np.random.default_rng(0)
    a = rng.standard_normal((threads, isa().accumulators * isa().lanes(FLOAT)), np.float32)
    numbers = np.float32(0.5), np.float32(1.0)
    run = repeated(lambda: entries.fma_peak(a, *numbers, REPEATS, threads))
    return run._replace(units=2.0 * a.size * REPEATS)


def _copy() -> Run:
    threads = get_num_threads()
    n = min(CACHES * max(caches().values()), LARGEST_ARRAY) // FLOAT
    source, target = memory.zeros(n, np.float32), memory.zeros(n, np.float32)
    source[:] = 1.0
    run = repeated(lambda: entries.copy(source, target, threads))
    return run._replace(units=2.0 * source.nbytes)


# Units are floating-point operations, and bytes read and written.
LIMITS: dict[str, Callable[[], Run]] = {"fma": _fma, "copy": _copy}
