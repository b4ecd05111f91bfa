"""The asv suite: what fastbp costs, commit by commit. `docs/benchmarking.md` is its manual.

Other commits than this one run it, so it calls what `import fastbp` offers and nothing below, and what it measures
fastbp with (the clock, the FMA peak, networks in NumPy) is its own.
"""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path

from ._commit import native


def _kernels() -> str:
    """Return a digest of the kernels that are installed."""
    spec = importlib.util.find_spec("fastbp")
    folder = Path(spec.origin).parent / "kernels"
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


# One environment serves many commits: each has its compiled code in a folder of its own, so that none is stale.
os.environ["NUMBA_CACHE_DIR"] = str(Path(sys.prefix) / "numba-cache" / _kernels())
# Ratios to NumPy are of one thread to one thread. OpenBLAS reads this when NumPy is imported.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

# asv's server has what takes long to import, and forks for each row. fastbp is imported after: in a child of a process
# that had it, it would keep to one thread. Prebuilt kernels are measured without Numba, as they are used.
if not native():
    import numba  # noqa: F401
