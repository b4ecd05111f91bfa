"""A room of few kernels, which compiles in a second: what becomes of its cache can be tried often."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KERNELS = Path(__file__).parents[1] / "kernels"
ROOMS = ("compile", "simd", "activations")

# An entry that calls an outlined function, which calls another one
# and the formula of an activation's gradient.
PROBE = """
from numba import njit, types

from .activations.leaky_relu import gradient
from .compile.functions import entry
from .compile.outlined import outlined
from .compile.pointers import at
from .simd.lanes import lanewise


def _pointers(dtype):
    p = types.CPointer(dtype)
    return types.void(p, p, types.int64)


apply_slope = lanewise(gradient, reads=2, writes=1)
double = lanewise(lambda v, x: x + x, reads=1, writes=1)


@outlined(_pointers)
def inner_part(da, dz, n):
    apply_slope(da, da, dz, n)


@outlined(_pointers)
def outer_part(da, dz, n):
    inner_part(da, dz, n)
    double(dz, dz, n)


@entry
def probe(da, dz):
    outer_part(at(da, 0), at(dz, 0), da.size)


@njit
def uncached(da, dz):
    outer_part(at(da, 0), at(dz, 0), da.size)
"""

RUN = """
import json, resource, sys, warnings
import numpy as np
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from fastbp.kernels.compile.parts import parts_of
    from fastbp.kernels import probe
    da = np.array([-1, 2, -3], np.float32)
    dz = np.zeros_like(da)
    getattr(probe, sys.argv[1])(da, dz)
print(json.dumps({
    "result": [round(float(x), 6) for x in dz],
    "hits": sum(probe.probe.stats.cache_hits.values()),
    "outlined_hits": [c.cache_hits for part in parts_of(probe.probe.py_func) for c in part.compiled.values()],
    "warnings": [f"{w.category.__name__}: {w.message}" for w in caught],
}))
"""

LEAK_001 = [-0.02, 4.0, -0.06]  # 2 * leaky_relu's gradient with slope 0.01
LEAK_025 = [-0.5, 4.0, -1.5]
LOADED = {"result": LEAK_001, "hits": 1, "outlined_hits": [1, 1], "warnings": []}


class Room:
    """A copy of the package with few kernels, in a folder of its own."""

    def __init__(self, root):
        self.root = root
        self.kernels = root / "fastbp" / "kernels"
        self.cache = root / "cache"
        self.kernels.mkdir(parents=True)
        for name in ("__init__.py", "_numba.py", "code.py", "native.py", "registry.py"):
            shutil.copy(KERNELS / name, self.kernels)
        for room in ROOMS:
            shutil.copytree(KERNELS / room, self.kernels / room, ignore=shutil.ignore_patterns("__pycache__"))
        (self.kernels / "probe.py").write_text(PROBE)

    def run(self, function="probe", cache=None, most_bytes=-1, **environment):
        """Call a function in a new process that writes files of at most so many bytes; return what happened."""
        environment = {"NUMBA_CACHE_DIR": str(cache or self.cache), "PYTHONPATH": str(self.root)} | environment
        # Python writes its own caches to a full folder as well, and would find them cut short.
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | environment
        command = [sys.executable, "-c", RUN, function, str(most_bytes)]
        done = subprocess.run(command, env=environment, cwd=self.root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def run_at_once(self, count):
        """`run` in so many processes at once; return what happened in each."""
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self.run(), range(count)))

    def files(self, pattern):
        return sorted(self.cache.rglob(pattern))
