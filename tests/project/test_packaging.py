"""The pure wheel and the sdist hold what they should and import wherever they are installed.

Everything is built from a copy of the tree, so that no build folder disturbs other tests.
"""

import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.project.builds import ROOT, VERSION, attempt, build, copy_tree, install, new_environment, run

# Imports the package with all its own modules that need no extra, and reads the data in it.
CHECK = """
import pathlib, sys
import fastbp, fastbp.data.datasets, fastbp.kernels.{kernel}
assert len(fastbp.data.datasets.load_digits()[0]) == 1797
assert fastbp.__version__ == "{version}"
assert "kernels" not in sys.modules
print(pathlib.Path(fastbp.__file__).resolve().parent)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return copy_tree(tmp_path_factory.mktemp("tree") / "fastbp")


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory):
    return build(tree, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def wheel(built):
    return built / f"fastbp-{VERSION}-py3-none-any.whl"


@pytest.fixture
def sdist(built):
    return built / f"fastbp-{VERSION}.tar.gz"


@pytest.fixture
def python(tmp_path):
    return new_environment(tmp_path / "venv")


def imported_from(python, cwd):
    """Import fastbp in `cwd` and return the folder it came from."""
    kernel = sorted((ROOT / "kernels").glob("[a-z]*.py"))[0].stem
    return Path(run(python, "-c", CHECK.format(kernel=kernel, version=VERSION), cwd=cwd))


def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"fastbp-{VERSION}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fastbp").glob("**/*.py")}
    expected |= {f"fastbp/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "kernels").glob("**/*.py")}
    expected |= {"fastbp/py.typed", "fastbp/data/digits.npz", "fastbp/data/README.md"}
    assert expected <= names
    assert {name.split("/")[0] for name in names} == {"fastbp", info}
    assert f"{info}/licenses/LICENSE" in names
    assert "License-Expression: BSD-3-Clause" in metadata
    assert "fastbp = fastbp.app.cli:main" in scripts


def test_shipped_data_is_small(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = [item for item in archive.infolist() if item.filename.startswith("fastbp/data/")]
    data = [item for item in files if not item.filename.endswith(".py")]
    assert sum(item.file_size for item in data) < 100_000


def test_sdist_holds_the_real_kernels(sdist):
    with tarfile.open(sdist) as archive:
        members = {m.name.partition("/")[2]: m for m in archive.getmembers()}
    for path in (ROOT / "kernels").glob("**/*.py"):
        assert members[path.relative_to(ROOT).as_posix()].isfile()
    assert members["fastbp/data/digits.npz"].isfile()
    assert not any(name.startswith("fastbp/kernels") for name in members)


@pytest.mark.parametrize("archive", ["wheel", "sdist"])
def test_archive_installs_and_imports_outside_the_repository(request, archive, python, tmp_path):
    install(python, request.getfixturevalue(archive), cwd=tmp_path)
    assert imported_from(python, tmp_path).is_relative_to(tmp_path / "venv")


TRAIN = """
import numpy as np, fastbp
x, y = np.ones((8, 64), np.float32), np.zeros(8, np.int64)
fastbp.Trainer(fastbp.mlp([64, 10], rng=0)).fit(x, y, epochs=1)
print(fastbp.config()["cache folder"])
"""


def test_after_uninstall_there_is_no_fastbp(wheel, python, tmp_path):
    """Compiled code beside the sources would stay, and make the rest an empty package that imports."""
    install(python, wheel, cwd=tmp_path)
    site = imported_from(python, tmp_path).parent
    cache = Path(run(python, "-c", TRAIN, cwd=tmp_path))
    assert list(cache.glob("*.nbc"))
    assert not cache.is_relative_to(tmp_path)
    run(sys.executable, "-m", "pip", "--python", python, "uninstall", "--quiet", "--yes", "fastbp", cwd=tmp_path)
    assert [path for path in site.rglob("*") if "fastbp" in path.name] == []
    done = attempt(python, "-c", "import fastbp", cwd=tmp_path)
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'fastbp'" in done.stderr


@pytest.mark.parametrize("editable", [False, True])
def test_imports_from_the_repository_root_and_elsewhere(tree, python, tmp_path, editable):
    # In a copy for each: pip leaves build/ and fastbp.egg-info behind.
    root = tmp_path / "fastbp"
    shutil.copytree(tree, root, symlinks=True)
    install(python, *(["--editable"] if editable else []), ".", cwd=root)
    assert imported_from(python, root) == root / "fastbp"
    elsewhere = imported_from(python, tmp_path / "venv")
    assert elsewhere.is_relative_to(root if editable else tmp_path / "venv")


def test_kernels_is_a_relative_symlink():
    link = ROOT / "fastbp" / "kernels"
    assert link.is_symlink()
    assert link.readlink() == Path("../kernels")
