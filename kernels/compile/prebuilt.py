"""Which machine code a process runs: what came prebuilt with the package, or what Numba compiles.

A platform wheel brings ``_native``, an extension with all outlined functions, compiled for levels of x86-64 or for
AArch64. It is used where it was made of these very sources; ``FASTBP_KERNELS`` (``jit``, ``native``, or ``native:`` and
a level) chooses, and without that, a user's ``NUMBA_CPU_NAME`` or ``NUMBA_CPU_FEATURES`` means Numba.
"""

import functools
import hashlib
import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from .forks import imports
from .space import PREBUILT, require_room

KERNELS = Path(__file__).parents[1]
EXTENSION = "fastbp.kernels._native"
_CHOICES = "FASTBP_KERNELS expects jit, native, or native: and a level (x86-64, x86-64-v3, x86-64-v4, aarch64)"


@functools.cache
def sources_digest() -> str:
    """Return a digest of all sources of the kernels; empty where they are not there, so a change could not be seen."""
    sources = sorted(path for path in KERNELS.rglob("*.py") if path.exists())  # editors leave links to nowhere
    digest = hashlib.sha256()
    for path in sources:
        digest.update(str(path.relative_to(KERNELS)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest() if sources else ""


class Prebuilt(NamedTuple):
    """What was found.

    extension : the module, which has threads also where its kernels are not wanted; None where it cannot be used
    level : of the CPU, whose kernels are used; empty for none
    why_not : in words, where `level` is empty
    """

    extension: Any
    level: str
    why_not: str


def is_whole(path: Path) -> bool:
    """Return whether a file ends with a digest of itself, as native/extension.py wrote it.

    Loading what is left of a file ends the process, and machine code with a hole in it may do anything.
    """
    content = memoryview(path.read_bytes())
    end = len(content) - hashlib.sha256().digest_size
    return end > 0 and hashlib.sha256(content[:end]).digest() == content[end:]


def _extension() -> tuple[Any, str]:
    """Return the extension, or why there is none; warn where it is there and is no good."""
    require_room(PREBUILT)
    found, expected, remedy = importlib.util.find_spec(EXTENSION), True, " Installing fastbp again mends that."
    try:
        if found is None or found.origin is None:
            problem, expected = "this installation has no prebuilt kernels", _belongs()
        elif not is_whole(Path(found.origin)):
            problem = "the file of the prebuilt kernels is not as it was made"
        elif (extension := importlib.import_module(EXTENSION)).digest == sources_digest():
            return extension, ""
        else:
            problem = "the prebuilt kernels were made of other sources"
    except (ImportError, OSError) as error:  # for another system, or not to be read
        problem, remedy = f"the prebuilt kernels cannot be loaded: {error}", ""
    if expected:
        warnings.warn(f"{problem}; Numba compiles them.{remedy}", RuntimeWarning, 2)
    return None, problem


def _belongs() -> bool:
    """Whether the extension was installed, and is missing."""
    with imports:
        from importlib import metadata  # takes longer to import than all else here

    try:
        files = metadata.files("fastbp")
    except metadata.PackageNotFoundError:
        return False
    return any(path.name.startswith("_native.") for path in files or ())


@functools.cache
def prebuilt() -> Prebuilt:
    """Find the prebuilt kernels and decide whether to use them, once in a process.

    Raises
    ------
    ImportError
        If ``FASTBP_KERNELS`` names kernels that are not to be had.
    """
    wish, colon, level = os.environ.get("FASTBP_KERNELS", "").partition(":")
    if wish not in ("", "jit", "native") or (colon and not (wish == "native" and level)):
        raise ImportError(f"{_CHOICES}, got {os.environ['FASTBP_KERNELS']!r}")
    extension, problem = _extension()
    users = [name for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES") if os.environ.get(name)]
    if wish == "jit":
        return Prebuilt(extension, "", "FASTBP_KERNELS asks for Numba's")
    if wish == "" and users:
        return Prebuilt(extension, "", f"{users[0]} asks for Numba's")
    if extension is not None:
        try:
            return Prebuilt(extension, extension.start(level), "")
        except ValueError as error:
            problem = str(error)
    if wish == "native":
        raise ImportError(f"FASTBP_KERNELS asks for prebuilt kernels, and {problem}")
    return Prebuilt(extension, "", problem)
