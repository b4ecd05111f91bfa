"""A wheel has prebuilt kernels where they can be compiled, and else depends on Numba.

The kernels here are a stub, which compiles in no time; tests/project/test_wheel.py is about the real ones.
"""

import json
import re
import shutil
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.project.builds import VERSION, attempt, build, copy_tree, install, new_environment, run

HERE = sysconfig.get_platform()
PLATFORM = f"fastbp-{VERSION}-cp311-abi3-{HERE.replace('-', '_')}.whl"
PURE = f"fastbp-{VERSION}-py3-none-any.whl"

# In place of native/objects.py, table.py and the C sources: an object a level, and a module that adds up all of them.
OBJECTS = """
import collections, pathlib, subprocess, sys
Level = collections.namedtuple("Level", "platform value")
LEVELS = {"low": Level("HERE", 1), "middle": Level("HERE", 2), "high": Level("HERE", 4), "other": Level("linux-far", 8)}
if __name__ == "__main__":
    import llvmlite  # as Numba does
    level, folder = sys.argv[1:]
    folder = pathlib.Path(folder)
    folder.mkdir()
    source = f"int in_{level}(void) {{ return {LEVELS[level].value}; }}"
    subprocess.run(["cc", "-c", "-fPIC", "-xc", "-", "-o", folder / "one.o"], input=source, text=True, check=True)
    print(level, file=open(pathlib.Path(__file__).parents[1] / "compiled", "a"))
"""
TABLE = """
import pathlib, sys
calls = [f"in_{pathlib.Path(folder).name}()" for folder in sys.argv[1:]]
print(f"int {', '.join(calls).replace('()', '(void)')}; int sum(void) {{ return {' + '.join(calls)}; }}")
"""
MODULE = """
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
int sum(void);
static PyObject *total(PyObject *module, PyObject *nothing) { return PyLong_FromLong(sum()); }
static PyMethodDef methods[] = {{"total", total, METH_NOARGS, ""}, {0}};
static struct PyModuleDef native = {PyModuleDef_HEAD_INIT, "_native", 0, 0, methods};
PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&native); }
"""
# A compiler for which there is no Python.h
NO_HEADER = """#!/bin/sh
for each; do shift; case $each in -I*) ;; *) set -- "$@" "$each" ;; esac; done
exec cc "$@"
"""
NO_NUMBA = "raise ModuleNotFoundError"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("needs Linux and a C compiler")
    tree = copy_tree(tmp_path_factory.mktemp("source") / "fastbp")
    for path in tree.glob("native/*.[ch]"):
        path.unlink()
    Path(tree, "native", "objects.py").write_text(OBJECTS.replace("HERE", HERE))
    Path(tree, "native", "table.py").write_text(TABLE)
    Path(tree, "native", "native.c").write_text(MODULE)
    return tree


@pytest.fixture
def tree(source, tmp_path):
    return shutil.copytree(source, tmp_path / "fastbp", symlinks=True)


@pytest.fixture(scope="module")
def dist(source, tmp_path_factory):
    return build(source, tmp_path_factory.mktemp("dist"), FASTBP_BUILD="native")


@pytest.fixture
def place(tree, tmp_path):
    """Return a function that takes something away that the build needs, and returns the variables that do so."""

    def without(what):
        made = tmp_path / "made"
        made.mkdir()
        if what == "a compiler":
            return {"PATH": made}
        if what == "Python.h":
            (made / "cc").write_text(NO_HEADER)
            (made / "cc").chmod(0o755)
            return {"CC": made / "cc"}
        if what == "Numba":
            (made / "llvmlite.py").write_text(NO_NUMBA)
            return {"PYTHONPATH": made}
        broken = {"objects": "native/objects.py", "a table": "native/table.py", "a link": "native/native.c"}[what]
        with Path(tree, broken).open("a") as file:
            file.write("\n__name__ == '__main__' and objects_are_broken\n")
        return {}

    return without


def dependencies(wheel):
    """Return what a wheel depends on: for all users, and for those of the extra `jit`."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"fastbp-{VERSION}.dist-info/METADATA").decode()
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE)
    return required, re.findall(r"^Requires-Dist: ([\w-]+).*; extra == ['\"]jit['\"]$", metadata, re.MULTILINE)


def hooks(tree, **environment):
    """Ask the backend what a wheel needs, and build the extension; return both, what was said, and the exit code."""
    code = (
        "import backend, pathlib; print(backend.get_requires_for_build_wheel(), backend.built(pathlib.Path('made.so')))"
    )
    environment = {"FASTBP_BUILD": "", **environment}
    environment["PYTHONPATH"] = f"{tree / 'native'}:{environment.get('PYTHONPATH', '')}"
    done = attempt(sys.executable, "-c", code, cwd=tree, **environment)
    return done.stdout.strip(), done.stderr, done.returncode


def test_wheel_with_prebuilt_kernels_does_not_depend_on_numba(dist):
    assert sorted(path.name for path in dist.iterdir()) == [PLATFORM, f"fastbp-{VERSION}.tar.gz"]
    assert dependencies(dist / PLATFORM) == (["numpy", "safetensors", "typer", "rich"], ["numba"])


def test_wheel_has_the_extension_and_nothing_else_of_its_build(dist, source):
    with zipfile.ZipFile(dist / PLATFORM) as archive:
        names = {name for name in archive.namelist() if ".dist-info" not in name}
    assert [name for name in names if not name.endswith((".py", ".md", ".npz", "py.typed"))] == [
        "fastbp/kernels/_native.abi3.so"
    ]
    assert not names & {f"fastbp/{path.name}" for path in source.glob("native/*")}


def test_extension_is_imported_where_numba_is_not(dist, tmp_path):
    python = new_environment(tmp_path / "venv")
    install(python, dist / PLATFORM, cwd=tmp_path)
    code = "import sys; sys.modules.update(numba=None, llvmlite=None); import fastbp.kernels._native as native"
    assert run(python, "-c", f"{code}; print(native.total())", cwd=tmp_path) == "7"


def test_two_builds_give_the_same_bytes(dist, tree, tmp_path):
    again = build(tree, tmp_path / "dist", FASTBP_BUILD="native")
    for name in (PLATFORM, f"fastbp-{VERSION}.tar.gz"):
        assert (again / name).read_bytes() == (dist / name).read_bytes()


def test_pip_compiles_once_though_it_asks_for_dependencies_first(tree, tmp_path):
    python = new_environment(tmp_path / "venv")
    install(python, tree, "--report", tmp_path / "report", cwd=tmp_path, FASTBP_BUILD="native")
    (installed,) = json.loads((tmp_path / "report").read_text())["install"]
    required = [each for each in installed["metadata"]["requires_dist"] if "extra" not in each]
    assert len(required) == 4
    assert not any(each.startswith("numba") for each in required)
    assert sorted((tree / "compiled").read_text().split()) == ["high", "low", "middle"]


@pytest.mark.parametrize("kind", ["pure", "editable"])
def test_pure_and_editable_installs_compile_nothing_and_depend_on_numba(tree, tmp_path, kind):
    python = new_environment(tmp_path / "venv")
    install(python, *(["--editable"] if kind == "editable" else []), tree, cwd=tmp_path,
            FASTBP_BUILD="" if kind == "editable" else "pure")  # fmt: skip
    assert not (tree / "compiled").exists()
    code = "from importlib import metadata; print('numba<0' in ' '.join(metadata.requires('fastbp')[:5]))"
    assert run(python, "-c", code, cwd=tmp_path) == "True"


@pytest.mark.parametrize("missing", ["a compiler", "Python.h"])
def test_numba_is_asked_for_where_a_compiler_and_python_h_are(tree, place, missing):
    assert hooks(tree)[0] == "['numba>=0.62,<0.69'] True"
    assert hooks(tree, FASTBP_BUILD="pure")[0] == "[] False"
    assert hooks(tree, **place(missing))[0] == "[] False"


def test_a_build_is_of_the_levels_of_its_platform(tree):
    assert hooks(tree, _PYTHON_HOST_PLATFORM="linux-far")[0].endswith("True")
    assert (tree / "compiled").read_text() == "other\n"
    said, line, _ = hooks(tree, _PYTHON_HOST_PLATFORM="linux-riscv64")
    assert said == "[] False"
    assert "they are for Linux on x86-64 and AArch64, and this is linux-riscv64" in line


@pytest.mark.parametrize("missing", ["a compiler", "Python.h", "Numba", "objects", "a table", "a link"])
def test_whatever_fails_is_one_line(tree, place, missing):
    without = place(missing)
    said, line, code = hooks(tree, **without)
    assert (said.split()[-1], code) == ("False", 0)
    assert re.fullmatch(r"fastbp: no prebuilt kernels, Numba will compile them: .+\n", line)
    said, lines, code = hooks(tree, FASTBP_BUILD="native", **without)
    assert code == 1
    assert "fastbp: no prebuilt kernels: " in lines


def test_without_a_compiler_the_wheel_is_pure(tree, place, tmp_path):
    dist = build(tree, tmp_path / "dist", FASTBP_BUILD="", **place("a compiler"))
    assert dependencies(dist / PURE) == (["numpy", "safetensors", "typer", "rich", "numba"], ["numba"])


def test_what_cannot_be_is_refused(tree, tmp_path):
    assert "FASTBP_BUILD expects auto, native, pure, got 'nativ'" in hooks(tree, FASTBP_BUILD="nativ")[1]
    code = "import backend; backend.build_editable('.')"
    done = attempt(sys.executable, "-c", code, cwd=tree, FASTBP_BUILD="native", PYTHONPATH=tree / "native")
    assert (done.returncode, done.stderr.count("an editable install has no prebuilt kernels")) == (1, 1)
