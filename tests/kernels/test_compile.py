"""The cache of compiled kernels serves the next process and sees every change; `torture/cache.py` damages it."""

import os
import random
import shutil
from pathlib import Path

import numba
import numpy as np
import pytest

from fastbp.kernels._numba import JITCodeLibrary
from fastbp.kernels.compile import folder as cache_folder
from fastbp.kernels.compile.functions import CheckedFile, kernel
from torture.room import LEAK_001, LEAK_025, LOADED, Room

pytestmark = pytest.mark.jit


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Return a room whose cache is filled."""
    room = Room(tmp_path_factory.mktemp("room"))
    assert room.run() == {"result": LEAK_001, "hits": 0, "outlined_hits": [0, 0], "warnings": []}
    return room


@pytest.fixture
def room(warm, tmp_path):
    """Return the filled room; what a test does to its files is undone."""
    shutil.copytree(warm.root, tmp_path / "before")
    yield warm
    shutil.rmtree(warm.root)
    shutil.copytree(tmp_path / "before", warm.root)


def test_a_second_process_compiles_nothing(warm):
    assert warm.run() == LOADED


def test_an_outlined_function_from_the_cache_brings_those_it_calls(warm):
    found = warm.run("uncached")
    assert (found["result"], found["outlined_hits"], found["warnings"]) == (LEAK_001, [1, 1], [])


def test_a_change_in_a_called_file_is_seen_though_the_cache_is_warm(room):
    path = room.kernels / "activations" / "leaky_relu.py"
    source = path.read_text()
    assert source.count("\nLEAK = 0.01\n") == 1
    path.write_text(source.replace("\nLEAK = 0.01\n", "\nLEAK = 0.25\n"))
    changed = room.run()
    assert changed == {"result": LEAK_025, "hits": 0, "outlined_hits": [0, 0], "warnings": []}


def test_kernels_alone_become_no_machine_code(monkeypatch):
    made, finalize = [], JITCodeLibrary._finalize_specific
    monkeypatch.setattr(JITCodeLibrary, "_finalize_specific", lambda self: made.append(self.name) or finalize(self))

    @kernel
    def square(x):
        return x * x

    @kernel
    def cube(x):
        return x * square(x)

    def caller(x):
        return cube(x)

    assert numba.njit(caller)(3) == 27
    assert [name for name in made if "<locals>" in name] == [caller.__qualname__]


def test_the_error_of_a_kernel_that_does_not_compile_names_it():
    @kernel
    def wrong_kernel(x):
        return x.nothing

    with pytest.raises(numba.errors.TypingError, match=r"def wrong_kernel\(x\)"):
        numba.njit(lambda x: wrong_kernel(x))(3)


def test_no_changed_byte_of_the_data_is_loaded(tmp_path):
    """An error, or nothing found; machine code that were run with a bit flipped could do anything."""
    file, code = CheckedFile(str(tmp_path), "probe", "stamp"), np.random.default_rng(0).bytes(300)
    file.save("types", code)
    assert file.load("types") == code
    (data,) = tmp_path.glob("*.nbc")
    whole = data.read_bytes()
    for i in range(len(whole)):
        data.write_bytes(whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :])
        try:
            found = file.load("types")
        except Exception:
            continue
        assert found in (None, code), f"byte {i}"


# The folder


@pytest.fixture
def where(monkeypatch, tmp_path):
    """Return a function that names the folder below `tmp_path` for settings of the environment."""

    def call(numba="", xdg=None, home=tmp_path / "home"):
        monkeypatch.setattr(cache_folder.config, "CACHE_DIR", numba)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        if xdg is not None:
            monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        return cache_folder.cache_folder.__wrapped__().parent

    return call


def test_the_folder_is_numbas_or_the_users(where, tmp_path, monkeypatch):
    own, home = str(tmp_path / "own"), tmp_path / "home" / ".cache" / "fastbp"
    assert where() == home
    for ignored in ("", "relative"):
        assert where(xdg=ignored) == home
    assert where(xdg=own) == tmp_path / "own" / "fastbp"
    assert where(own, xdg="/elsewhere") == tmp_path / "own" / "fastbp"
    monkeypatch.chdir(tmp_path)
    assert where("own") == tmp_path / "own" / "fastbp"
    assert not list(tmp_path.iterdir())  # nothing is made before there is something to keep


def test_nothing_is_written_beside_the_sources_and_another_copy_of_them_compiles_nothing(tmp_path):
    elsewhere = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "user")}
    one, other = Room(tmp_path / "one"), Room(tmp_path / "other")
    before = {path.name for path in one.root.rglob("*")}
    assert one.run(**elsewhere)["warnings"] == []
    assert {path.name for path in one.root.rglob("*")} == before
    assert other.run(**elsewhere) == LOADED
    assert other.run(**elsewhere, most_bytes=100) == LOADED  # as in a folder that is for reading


def test_of_old_folders_those_used_last_are_kept(where, tmp_path):
    rng = random.Random(0)
    for i in range(20):
        folder = where(str(tmp_path / f"{i}")) / f"kernels-{rng.getrandbits(64):016x}"
        folder.parent.mkdir(parents=True)
        others = {folder.parent / name for name in ("kernels", "kernels-old", "kernels-0", "data")}
        ages = rng.sample(range(1, 10_000), rng.randrange(2 * cache_folder.MOST))
        old = {age: folder.parent / f"kernels-{rng.getrandbits(64):016x}" for age in ages}
        for path in [*others, *old.values()]:
            path.mkdir()
            (path / "a.nbc").touch()
        for age, path in old.items():
            os.utime(path, (1e9 - age, 1e9 - age))
        cache_folder.make_folder(folder)
        used_last = {old[age] for age in sorted(old)[: cache_folder.MOST - 1]}
        assert set(folder.parent.iterdir()) == others | used_last | {folder}
        cache_folder.make_folder(folder)  # it is there


def test_a_folder_that_is_used_counts_as_used_last(warm):
    (data, *_) = warm.files("*.nbc")
    os.utime(data.parent, (1e9, 1e9))
    assert warm.run() == LOADED
    assert data.parent.stat().st_mtime > 1e9


def test_without_a_folder_there_is_a_warning_and_a_result(tmp_path):
    room = Room(tmp_path / "room")
    blocked = tmp_path / "file"
    blocked.touch()
    for home in (blocked, tmp_path / "x" / "y"):
        found = room.run(NUMBA_CACHE_DIR="", XDG_CACHE_HOME="", HOME=str(home))
        assert found["result"] == LEAK_001
        assert len(found["warnings"]) == (home == blocked)
    assert (tmp_path / "x" / "y" / ".cache" / "fastbp").is_dir()
    assert not Path("~").exists()
