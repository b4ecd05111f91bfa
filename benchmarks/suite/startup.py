"""Before the first result: what is installed, imports, compilation, memory. In processes of their own."""

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from statistics import median

from . import _commit
from ._clock import Tracked
from ._work import labels, numbers, read_sizes, trainer

FIRST_STEP = """
import sys, time
import numpy as np
if sys.argv[1] == "jit":
    import numba
began = time.perf_counter()
import fastbp
trainer = fastbp.Trainer(fastbp.mlp((784, 128, 10), rng=0), optimizer=fastbp.SGD(0.01))
trainer.step(np.ones((32, 784), np.float32), np.zeros(32, np.int64))
print(time.perf_counter() - began)
"""


def first_step(cache):
    """Return the seconds of `import fastbp` and a first step in a new process, past other imports."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    line = [sys.executable, "-c", FIRST_STEP, "native" if _commit.native() else "jit"]
    run = subprocess.run(line, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stderr)
    _commit.check()
    return float(run.stdout.splitlines()[-1])


def files(found):
    """Return the files of a distribution, but for what Python compiled."""
    return [path for path in found.files or () if path.suffix != ".pyc" and path.locate().is_file()]


def size(text):
    """Return the bytes of what pip installs for a requirement, dependencies with it."""
    _commit.check()
    return sum(path.locate().stat().st_size for found in required(text) for path in files(found))


def required(text):
    """Return the distributions that pip installs for a requirement, dependencies with it."""
    from packaging.requirements import Requirement  # asv's environments have it: `build` depends on it

    waiting, done, found = [Requirement(text)], set(), {}
    while waiting:
        asked = waiting.pop()
        if str(asked) in done:
            continue
        done.add(str(asked))
        here = distribution(asked.name)
        found[here.name] = here
        for needed in map(Requirement, here.requires or ()):
            choices = [{"extra": extra} for extra in asked.extras or [""]]
            if needed.marker is None or any(map(needed.marker.evaluate, choices)):
                waiting.append(needed)
    return found.values()


class Size(Tracked):
    """What is installed, in bytes, without what Python compiled."""

    unit = "bytes"

    def track_wheel(self):
        """The files of fastbp, packed as in a wheel."""
        _commit.check()
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files(distribution("fastbp")):
                archive.write(path.locate(), path)
        return packed.tell()

    def track_install(self):
        """With dependencies: Numba is one where there are no prebuilt kernels."""
        return size("fastbp")

    def track_install_with_numba(self):
        """With the dependencies of the extra that brings Numba."""
        return size("fastbp[jit]")


class Import:
    """`import fastbp` in a new process, and the part of it that is Numba's."""

    rounds, repeat, number = 1, (3, 7, 5.0), 1

    def timeraw_fastbp(self):
        _commit.check()
        return "import fastbp"

    def timeraw_numba(self):
        return "import numba"

    # The digests that asv had taken of them, so that what was measured before is still shown.
    timeraw_fastbp.version = "775029c8c9cd067da46f67c69018876c61dd011e5a86d7ea38fb03d0800e5fb1"
    timeraw_numba.version = "091de7e0c27fe5a0d2c2e7c41cb9d2ab539acb29d640c485b2dfad6f49b43a12"


class FirstStep(Tracked):
    """`import fastbp` and a first training step in a new process, past NumPy's import and, with jit, Numba's."""

    REPEATS = 5

    def setup_cache(self):
        """Do it with an empty cache, once; return the seconds, and how many functions were compiled and kept."""
        with tempfile.TemporaryDirectory() as cache:
            return first_step(cache), len(list(Path(cache).rglob("*.nbc")))

    def track_compiling(self, found):
        return found[0]

    def track_signatures(self, found):
        return found[1]

    def track_from_the_cache(self, found):
        cache = os.environ["NUMBA_CACHE_DIR"]
        first_step(cache)
        return median(first_step(cache) for _ in range(self.REPEATS))

    track_compiling.unit = track_from_the_cache.unit = "seconds"
    track_signatures.unit = "signatures"


class Memory(Tracked):
    """The most memory that a process had, interpreter, Numba and compiled code with it."""

    params = (["64-100-10, 128", "1024-4096-4096-1000, 512"],)
    param_names = ("network, batch",)

    def setup(self, case):
        first_step(os.environ["NUMBA_CACHE_DIR"])  # compiles elsewhere: LLVM takes more memory than small networks

    def peakmem_training(self, case):
        network, batch = case.split(", ")
        sizes, rows = read_sizes(network), int(batch)
        it = trainer(sizes)
        for _ in range(2):
            it.step(numbers(rows, sizes[0]), labels(rows, sizes[-1]))
