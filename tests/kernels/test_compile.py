"""The cache of compiled kernels sees every change, and harms nothing when it is damaged or cannot be written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[2] / "kernels"

# A room of few functions that compiles in a second: an entry that calls an outlined function, which calls another one
# and a formula of activations.py.
PROBE = """
from numba import njit, types

from .activations import LEAKY_RELU, apply_slope
from .compile import entry, outlined
from .pointers import at
from .simd import lanewise


def _pointers(dtype):
    p = types.CPointer(dtype)
    return types.void(p, p, types.int64)


double = lanewise(lambda v, x: x + x, reads=1, writes=1)


@outlined(_pointers)
def inner_part(da, dz, n):
    apply_slope(LEAKY_RELU, da, da, da, dz, n, 1, n)


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
import json, sys, warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from fastbp.kernels import compile, probe
    da = np.array([-1, 2, -3], np.float32)
    dz = np.zeros_like(da)
    getattr(probe, sys.argv[1])(da, dz)
print(json.dumps({
    "result": [round(float(x), 6) for x in dz],
    "hits": sum(probe.probe.stats.cache_hits.values()),
    "outlined_hits": [c.cache_hits for part in compile.outlined_functions for c in part.compiled.values()],
    "warnings": [f"{w.category.__name__}: {w.message}" for w in caught],
}))
"""

LEAK_001 = [-0.02, 4.0, -0.06]  # 2 * leaky_relu's gradient with slope 0.01
LEAK_025 = [-0.5, 4.0, -1.5]


class Room:
    """A copy of the package with few kernels, in a folder of its own."""

    def __init__(self, root):
        self.root = root
        self.kernels = root / "fastbp" / "kernels"
        self.cache = root / "cache"
        self.kernels.mkdir(parents=True)
        for name in ("__init__", "isa", "simd", "control", "pointers", "elementary", "activations", "pool", "compile"):
            shutil.copy(KERNELS / f"{name}.py", self.kernels)
        (self.kernels / "probe.py").write_text(PROBE)

    def run(self, function="probe", cache=None):
        """Call a function in a new process; return what happened."""
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache or self.cache), "PYTHONPATH": str(self.root)}
        command = [sys.executable, "-c", RUN, function]
        done = subprocess.run(command, env=environment, cwd=self.root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def files(self, pattern):
        return sorted(self.cache.rglob(pattern))


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Return a room whose cache is filled."""
    room = Room(tmp_path_factory.mktemp("room"))
    assert room.run() == {"result": LEAK_001, "hits": 0, "outlined_hits": [0, 0], "warnings": []}
    return room


@pytest.fixture
def room(warm, tmp_path):
    """Return the filled room; what a test does to its files is undone."""
    shutil.copytree(warm.root, tmp_path / "before")
    yield warm
    shutil.rmtree(warm.root)
    shutil.copytree(tmp_path / "before", warm.root)


LOADED = {"result": LEAK_001, "hits": 1, "outlined_hits": [1, 1], "warnings": []}


def test_a_second_process_compiles_nothing(warm):
    assert warm.run() == LOADED


def test_an_outlined_function_from_the_cache_brings_those_it_calls(warm):
    found = warm.run("uncached")
    assert (found["result"], found["outlined_hits"], found["warnings"]) == (LEAK_001, [1, 1], [])


def test_a_change_in_a_called_file_is_seen_though_the_cache_is_warm(room):
    path = room.kernels / "activations.py"
    source = path.read_text()
    assert source.count("\nLEAK = 0.01\n") == 1
    path.write_text(source.replace("\nLEAK = 0.01\n", "\nLEAK = 0.25\n"))
    changed = room.run()
    assert changed == {"result": LEAK_025, "hits": 0, "outlined_hits": [0, 0], "warnings": []}


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("left", [0.0, 0.5])
def test_damaged_files_cost_a_warning_at_most(room, pattern, left):
    files = room.files(pattern)
    assert len(files) >= 3
    for path in files:
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * left)])
    found = room.run()
    assert found["result"] == LEAK_001
    assert len(found["warnings"]) <= 1
    assert all(text.startswith("RuntimeWarning: fastbp compiles without its cache") for text in found["warnings"])


def test_a_cache_that_cannot_be_written_costs_a_warning(room):
    blocked = room.root / "a file"
    blocked.write_text("not a folder")
    found = room.run(cache=blocked / "cache")
    assert found["result"] == LEAK_001
    assert found["hits"] == 0
    assert len(found["warnings"]) <= 1
