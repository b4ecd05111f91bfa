"""Before the first result: imports, compilation, memory. In processes of their own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from . import _commit
from ._clock import Tracked
from ._work import labels, numbers, read_sizes, trainer

FIRST_STEP = """
import time
import numba, numpy as np
began = time.perf_counter()
import fastbp
trainer = fastbp.Trainer(fastbp.mlp((784, 128, 10), rng=0), optimizer=fastbp.SGD(0.01))
trainer.step(np.ones((32, 784), np.float32), np.zeros(32, np.int64))
print(time.perf_counter() - began)
"""


def first_step(cache):
    """Return the seconds of `import fastbp` and a first step in a new process, past `import numba`."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    run = subprocess.run([sys.executable, "-c", FIRST_STEP], env=environment, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stderr)
    _commit.check()
    return float(run.stdout.splitlines()[-1])


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
    """`import fastbp` and a first training step in a new process, past `import numba`."""

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
