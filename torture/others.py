"""Settings of other libraries in the same process: after a call of ours they are what they were before it."""

import ctypes
import multiprocessing
import os
import random
import re
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np

from .calls import CALLS, digest
from .frame import Result

OPENMP = re.compile(r"/\S*/lib(?:g|i|)omp\S*\.so\S*")
GETTERS = ("omp_get_max_threads", "omp_get_dynamic", "omp_get_max_active_levels", "omp_get_thread_limit")


def settings(times, calls=6, kinds=tuple(CALLS)):
    """Call from two threads, in either order of imports; the user has set numbers of threads, or none."""
    result = Result(f"{calls} calls from two threads, after and before PyTorch's import: what others have set stays")
    kinds = [kind for kind in kinds if kind in CALLS]  # PyTorch and scikit-learn may not be there
    for i in range(times):
        environment = {"NUMBA_NUM_THREADS": "4"} | ({"OMP_NUM_THREADS": "1"} if i % 3 == 2 else {})
        for changed in result.call(f"try {i}", 120, look, i, calls, kinds, **environment) or []:
            result.expect(not changed, f"try {i}: {changed}")
    return result


def look(seed, calls, kinds):
    """Return what each call has changed, or ""."""
    warnings.simplefilter("ignore")
    draw = random.Random(seed)
    late = seed % 2 * (calls // 2)  # how many calls come before PyTorch
    others = {"torch", "sklearn"} & set(kinds)
    changes = []
    with ThreadPoolExecutor(1) as pool:
        threads = [lambda f, *args: f(*args), lambda f, *args: pool.submit(f, *args).result()]
        for i in range(calls):
            if i in (0, late):
                for name in others if i == late else others - {"torch"}:
                    import_module(name)
                for run in threads:
                    run(users_settings, draw)
            kind = draw.choice([kind for kind in kinds if kind not in others or kind in sys.modules])
            before = [run(snapshot) for run in threads]
            draw.choice(threads)(digest, kind)
            after = [run(snapshot) for run in threads]
            changes.append("; ".join(changed(kind, *both) for both in zip(before, after, strict=True)).strip("; "))
    return changes


def users_settings(draw):
    """What a user may set in a thread."""
    if "torch" in sys.modules and draw.random() < 0.7:
        sys.modules["torch"].set_num_threads(draw.randint(1, 3))
    if "numba" in sys.modules and draw.random() < 0.7:
        sys.modules["numba"].set_num_threads(draw.randint(1, 3))


def snapshot():
    """What this thread finds set."""
    found = {
        "the environment": dict(os.environ),
        "the affinity": sorted(os.sched_getaffinity(0)),
        "the start method": multiprocessing.get_start_method(allow_none=True),
        "NumPy's errors": np.geterr(),
    }
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        found["PyTorch's threads"] = torch.get_num_threads(), torch.get_num_interop_threads()
    if "threadpoolctl" in sys.modules:
        for library in sys.modules["threadpoolctl"].threadpool_info():
            found[library["filepath"]] = library["num_threads"]
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    if parallel and parallel._is_initialized:
        found["Numba's threads"] = parallel.get_num_threads()
    for path in sorted(set(OPENMP.findall(Path("/proc/self/maps").read_text()))):
        found |= {f"{name} of {path}": getattr(ctypes.CDLL(path), name)() for name in GETTERS}
    return found


def changed(kind, before, after):
    """Say what is not as it was. What was not there before is what a new thread finds."""
    with ThreadPoolExecutor(1) as pool:
        expected = pool.submit(snapshot).result() | before
    names = [name for name in after if after[name] != expected[name]]
    return "; ".join(f"{kind}: {name} was {expected[name]}, is {after[name]}" for name in names)
