"""Make the extension ``_native``: objects by Numba, one process a level, linked with the C sources beside this file.

It needs a C compiler, Python.h and Numba. Where a program fails, the RuntimeError says in a line which and why, and has
what it wrote as a note.
"""

import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from objects import LEVELS

HERE = Path(__file__).resolve().parent
COMPILE = ["-O2", "-fPIC", "-fvisibility=hidden", "-pthread"]
LINK = ["-shared", "-Wl,-Bsymbolic,--gc-sections,-s"]
PROBE = """
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
PyObject *PyInit_probe(void) { return PyModule_New("probe"); }
"""


def levels():
    """Return the names of the levels that are built for this platform, or the one in _PYTHON_HOST_PLATFORM."""
    return [name for name, level in LEVELS.items() if level.platform == sysconfig.get_platform()]


def check():
    """Raise a RuntimeError where the extension cannot be built, with or without Numba."""
    if not levels():
        raise RuntimeError(f"they are for Linux on x86-64 and AArch64, and this is {sysconfig.get_platform()}")
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise RuntimeError("they are for CPython's stable ABI, which this Python has not")
    with tempfile.TemporaryDirectory() as work:
        probe = Path(work, "probe.c")
        probe.write_text(PROBE)
        link([probe], Path(work, "probe.so"))


def build(target):
    """Write the extension to `target`, which depends on the sources and the versions of the tools alone."""
    check()
    with tempfile.TemporaryDirectory() as work:
        folders = [Path(work, level) for level in levels()]
        with ThreadPoolExecutor() as processes:
            list(processes.map(lambda folder: script("objects.py", folder.name, folder), folders))
        table = Path(work, "table.c")
        table.write_text(script("table.py", *folders))
        objects = [path for folder in folders for path in sorted(folder.glob("*.o"))]
        link([*sorted(HERE.glob("*.c")), table, *objects], target)
        seal(target)


def seal(target):
    """Put a digest of the file at its end: without it, ``kernels/compile/prebuilt.py`` does not load the file."""
    with open(target, "r+b") as file:
        digest = hashlib.sha256(file.read()).digest()
        file.write(digest)


def script(name, *arguments):
    """Run a script of this folder; return what it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    environment["PYTHONHASHSEED"] = "0"  # sets have one order
    return run(f"native/{name}", [sys.executable, HERE / name, *arguments], environment)


def link(sources, target):
    """Run the C compiler, which CC names."""
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    paths = sysconfig.get_paths()
    folders = [f"-I{folder}" for folder in (HERE, paths["include"], paths["platinclude"])]
    run(compiler[0], [*compiler, *COMPILE, *folders, *sources, *LINK, "-o", target])


def run(name, command, environment=None):
    """Run a program; return what it prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except OSError as error:
        raise RuntimeError(f"{name} cannot be run: {error.strerror}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        error = RuntimeError(f"{name} failed: {lines[-1]}")
        error.add_note(done.stderr)
        raise error
    return done.stdout
