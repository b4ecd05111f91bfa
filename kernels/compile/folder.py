"""Where compiled kernels are kept: a folder of the user's, for these sources, this Numba and this LLVM.

It is ``fastbp/kernels-DIGEST`` in NUMBA_CACHE_DIR, or else in the user's cache folder: not beside the sources, where it
would outlive `pip uninstall`. Installations and checkouts with the same kernels share one. A folder of kernels that
have changed since is of no use to anybody, so whoever makes a new one removes those that were not used for longest.
"""

import contextlib
import functools
import hashlib
import os
import re
import shutil
from pathlib import Path

import llvmlite
import numba

from .._numba import config
from .prebuilt import KERNELS, prebuilt, sources_digest

MOST = 16  # folders, of two to four megabytes


def _digest() -> str:
    """Return a digest of what compiled code depends on but for the CPU; users' may call prebuilt kernels."""
    sources = sources_digest()
    whole = f"{numba.__version__} {llvmlite.__version__} {prebuilt().level} {sources}"
    return hashlib.sha256(whole.encode()).hexdigest() if sources else ""


SOURCE_DIGEST = _digest()


@functools.cache
def cache_folder() -> Path:
    """Return the folder, which may not be there yet; one that is there is marked as used."""
    if not SOURCE_DIGEST:
        raise RuntimeError(f"the kernels' sources are not in {KERNELS}, so a change could not be seen")
    base = Path(config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute() and not config.CACHE_DIR:  # unset, or to be ignored, as its specification says
        base = Path.home() / ".cache"
    folder = base.absolute() / "fastbp" / f"kernels-{SOURCE_DIGEST[:16]}"
    with contextlib.suppress(OSError):  # not there, or another user's
        os.utime(folder)
    return folder


def make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    found = [path for path in folder.parent.iterdir() if re.fullmatch("kernels-[0-9a-f]{16}", path.name)]
    with contextlib.suppress(FileNotFoundError):  # another process removes them too
        found.sort(key=lambda path: path.stat().st_mtime)
        for path in found[:-MOST]:
            shutil.rmtree(path, ignore_errors=True)


class KernelFolder:
    """What Numba's cache asks about a function: the folder, which sources are in it, and a name for the function."""

    def __init__(self, file: str, line: int) -> None:
        self._py_file = file  # what Numba names where it cannot keep a function
        self._line = line

    @classmethod
    def from_function(cls, py_func, py_file):
        cache_folder()  # the error where there is none
        return cls(py_file, py_func.__code__.co_firstlineno)

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def ensure_cache_path(self) -> None:
        """Make the folder: Numba is about to write."""
        make_folder(cache_folder())

    def get_source_stamp(self) -> str:
        return SOURCE_DIGEST

    def get_disambiguator(self) -> str:
        """Tell functions of one name apart: by their line, and those of other folders by their file too."""
        if self._py_file.startswith(str(KERNELS)):
            return str(self._line)
        return f"{self._line}-{hashlib.sha256(self._py_file.encode()).hexdigest()[:12]}"
