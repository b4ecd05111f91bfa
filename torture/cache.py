"""The cache of compiled kernels, damaged, full, unwritable, filled by many at once: right results, one warning."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from .frame import Result
from .room import LEAK_001, LOADED, Room


def expect_right(result, label, found, loads=None):
    """Count a try: the right result, one warning at most; all code from the cache, or not, where `loads` says so."""
    right = found["result"] == LEAK_001 and len(found["warnings"]) <= 1
    result.expect(right and loads in (None, found == LOADED), f"{label}: {found}")


def cut(data, rng):
    return data[: rng.integers(len(data))]


def garbage(data, rng):
    return rng.bytes(rng.integers(1, 2 * len(data)))


def flip(data, rng):
    data = bytearray(data)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(data)


def damaged(times):
    """Cut, replace or flip a bit of one file of the cache, or of all. Damaged machine code is never loaded."""
    result = Result("index and data files of the cache truncated, garbage, a bit flipped")
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder) / "room")
        room.run()
        shutil.copytree(room.cache, whole := Path(folder) / "whole")
        rng = np.random.default_rng(0)
        for i in range(times):
            damage, pattern = (flip, cut, garbage)[i % 3], ("*.nbc", "*.nbi")[i % 2]
            shutil.rmtree(room.cache)
            shutil.copytree(whole, room.cache)
            files = room.files(pattern)
            for path in files if i % 5 == 0 else [files[rng.integers(len(files))]]:
                path.write_bytes(damage(path.read_bytes(), rng))
            attempt(result, f"{damage.__name__}, {pattern}, try {i}", room, loads=False if pattern == "*.nbc" else None)
            attempt(result, f"after it, try {i}", room)
    return result


def attempt(result, label, room, loads=None, **options):
    """Run, and count a crash as a failure too."""
    try:
        found = room.run(**options)
    except AssertionError as problem:
        result.expect(False, f"{label}: {str(problem)[-200:]}")
    else:
        expect_right(result, label, found, loads)


def unwritable(times):
    """Run where the folder is full, or cannot be made, or can only be read."""
    result = Result("a full cache folder, none that can be made, one that can only be read")
    for i in range(times):
        with tempfile.TemporaryDirectory() as folder:
            room = Room(Path(folder) / "room")
            attempt(result, "full", room, most_bytes=100 + i * 20_000 // times)  # Numba's semaphore fits
            attempt(result, "after a full one", room)
            blocked = Path(folder) / "file"
            blocked.touch()
            attempt(result, "no folder", room, cache=blocked / "cache")
            shutil.rmtree(room.cache)
            own = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": ""}
            attempt(result, "no home", room, HOME=str(blocked), **own)
            attempt(result, "an empty home", room, HOME=folder, **own)
            attempt(result, "from the home folder, read-only", room, loads=True, most_bytes=100, HOME=folder, **own)
    return result


def cold(times, processes=8):
    """Let processes compile into an empty cache at once; the next loads all of it."""
    result = Result(f"{processes} processes that compile at once into an empty cache, and one after")
    for i in range(times):
        with tempfile.TemporaryDirectory() as folder:
            room = Room(Path(folder) / "room")
            for found in room.run_at_once(processes):
                expect_right(result, f"try {i}", found)
            attempt(result, f"after try {i}", room, loads=True)
    return result
