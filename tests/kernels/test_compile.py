"""The cache of compiled kernels serves the next process and sees every change; `torture/cache.py` damages it."""

import shutil

import numpy as np
import pytest

from fastbp.kernels.compile import CheckedFile
from torture.room import LEAK_001, LEAK_025, LOADED, Room


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
    path = room.kernels / "activations.py"
    source = path.read_text()
    assert source.count("\nLEAK = 0.01\n") == 1
    path.write_text(source.replace("\nLEAK = 0.01\n", "\nLEAK = 0.25\n"))
    changed = room.run()
    assert changed == {"result": LEAK_025, "hits": 0, "outlined_hits": [0, 0], "warnings": []}


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
