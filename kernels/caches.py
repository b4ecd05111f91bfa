"""How large the caches of this machine are: blocks of a product are cut to fit. No bit of a result depends on it."""

import functools
from pathlib import Path
from typing import NamedTuple

CPU = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Cache(NamedTuple):
    """A cache: its size in bytes, and how many lines of the same place it holds."""

    size: int
    ways: int


# Small ones, for where the system does not tell.
UNKNOWN = {1: Cache(32 << 10, 8), 2: Cache(512 << 10, 8), 3: Cache(32 << 20, 16)}


@functools.cache
def caches() -> dict[int, Cache]:
    """Return the first CPU's caches for data, by level."""
    found = dict(UNKNOWN)
    for index in CPU.glob("index*"):
        try:
            kind, level, size, ways = (
                (index / name).read_text().strip() for name in ("type", "level", "size", "ways_of_associativity")
            )
            if kind != "Instruction":
                found[int(level)] = Cache(int(size[:-1]) * UNITS[size[-1]], int(ways))
        except (OSError, ValueError, KeyError, IndexError):
            continue
    return found
