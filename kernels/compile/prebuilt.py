"""Which machine code a process runs: what came prebuilt with the package, or what Numba compiles.

A platform wheel brings ``_native``, an extension with all outlined functions, compiled for levels of x86-64. It is used
where it was made of these very sources; ``FASTBP_KERNELS`` (``jit``, ``native``, or ``native:`` and a level) chooses,
and without that, a user's ``NUMBA_CPU_NAME`` or ``NUMBA_CPU_FEATURES`` means Numba.
"""

import functools
import hashlib
import importlib
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from .space import PREBUILT, require_room

KERNELS = Path(__file__).parents[1]
EXTENSION = "fastbp.kernels._native"
_CHOICES = "FASTBP_KERNELS expects jit, native, or native: and a level (x86-64, x86-64-v3, x86-64-v4)"


@functools.cache
def sources_digest() -> str:
    """Return a digest of all sources of the kernels; empty where they are not there, so a change could not be seen."""
    sources = sorted(KERNELS.rglob("*.py"))
    digest = hashlib.sha256()
    for path in sources:
        digest.update(str(path.relative_to(KERNELS)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest() if sources else ""


class Prebuilt(NamedTuple):
    """What was found.

    extension : the module, which has threads also where its kernels are not wanted; None where it cannot be used
    level : of x86-64, whose kernels are used; empty for none
    why_not : in words, where `level` is empty
    """

    extension: Any
    level: str
    why_not: str


def _extension() -> tuple[Any, str]:
    """Return the extension, or why there is none; warn where it is there and is no good."""
    require_room(PREBUILT)
    try:
        extension: Any = importlib.import_module(EXTENSION)
    except ModuleNotFoundError:
        problem, expected = "this installation has no prebuilt kernels", _belongs()
    except ImportError as error:  # damaged, or for another system
        problem, expected = f"the prebuilt kernels cannot be loaded: {error}", True
    else:
        if extension.digest == sources_digest():
            return extension, ""
        problem, expected = "the prebuilt kernels were made of other sources", True
    if expected:
        warnings.warn(f"{problem}; Numba compiles them. Installing fastbp again mends that.", RuntimeWarning, 2)
    return None, problem


def _belongs() -> bool:
    """Whether the extension was installed, and is missing."""
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
    wish, _, level = os.environ.get("FASTBP_KERNELS", "").partition(":")
    if wish not in ("", "jit", "native") or (level and wish != "native"):
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
