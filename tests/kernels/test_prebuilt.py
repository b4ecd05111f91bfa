"""Which machine code a process runs: a file that is not as it was made is named in one warning, and never loaded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastbp.kernels.compile.prebuilt import KERNELS, prebuilt, sources_digest
from tests.project.builds import ROOT, attempt

# An extension in the place of the real one, which would take a while to build
MODULE = """
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
static PyObject *start(PyObject *module, PyObject *level) { return PyUnicode_FromFormat("highest%U", level); }
static PyMethodDef methods[] = {{"start", start, METH_O, ""}, {0}};
static struct PyModuleDef native = {PyModuleDef_HEAD_INIT, "_native", 0, 0, methods};
PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&native);
    PyModule_AddStringConstant(module, "digest", "DIGEST");
    return module;
}
"""
BUILD = """
import sys, extension
extension.check()
extension.link(sys.argv[1:2], sys.argv[2])
extension.seal(sys.argv[2])
"""
FOUND = """
import sys, types, warnings
sys.modules["fastbp"] = package = types.ModuleType("fastbp")
package.__path__ = ["."]
with warnings.catch_warnings(record=True, action="always") as said:
    from fastbp.kernels.compile.prebuilt import prebuilt
    found = prebuilt()
print(found.level, len(said), found.why_not, sep=";")
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Make a folder with the kernels and an extension."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copytree(KERNELS, folder / "kernels", ignore=shutil.ignore_patterns("_native*", "__pycache__"))
    source, target = folder / "native.c", folder / "kernels" / "_native.abi3.so"
    source.write_text(MODULE.replace("DIGEST", sources_digest()))
    built = attempt(sys.executable, "-c", BUILD, source, target, cwd=folder, PYTHONPATH=ROOT / "native")
    if built.returncode:
        pytest.skip(f"needs what builds an extension: {built.stderr}")
    return folder


@pytest.fixture
def find(tree, tmp_path):
    """Return a function that changes the file, and returns which kernels a process finds then."""

    def found(change):
        copy = shutil.copytree(tree, tmp_path / "tree")
        change(copy / "kernels" / "_native.abi3.so")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("FASTBP_", "NUMBA_"))}
        command = [sys.executable, "-P", "-c", FOUND]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip().split(";")

    return found


def untouched(path):
    pass


def part(path):
    os.truncate(path, path.stat().st_size // 2)


def damaged(path):
    content = bytearray(path.read_bytes())
    hole = slice(len(content) // 2, len(content) // 2 + 100)
    content[hole] = bytes(byte ^ 255 for byte in content[hole])
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    shutil.copy(Path(sys.executable).resolve(), path)


def test_extension_of_these_sources_is_used(find):
    assert find(untouched) == ["highest", "0", ""]


@pytest.mark.parametrize("change", [part, damaged, empty, foreign])
def test_file_that_is_not_as_it_was_made_is_one_warning(find, change):
    assert find(change) == ["", "1", "the file of the prebuilt kernels is not as it was made"]


def test_extension_of_other_sources_is_one_warning(find):
    def change(path):
        path.with_name("more.py").touch()

    assert find(change) == ["", "1", "the prebuilt kernels were made of other sources"]


def test_link_to_nowhere_among_the_sources_is_none(find):
    def change(path):
        path.with_name(".#limits.py").symlink_to("root@machine.1:1")

    assert find(change) == ["highest", "0", ""]


@pytest.mark.parametrize("wish", ["numba", "native:", "jit:", ":", ":x86-64", "jit:x86-64-v3"])
def test_wish_that_is_none_is_refused(monkeypatch, wish):
    monkeypatch.setenv("FASTBP_KERNELS", wish)
    with pytest.raises(ImportError, match=f"FASTBP_KERNELS expects jit, native, .* got '{wish}'"):
        prebuilt.__wrapped__()
