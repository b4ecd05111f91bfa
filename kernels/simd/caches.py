"""How large the caches of this machine are: blocks of a product are cut to fit. No bit of a result depends on it."""

import functools
from pathlib import Path

CPU = Path("/sys/devices/system/cpu/cpu0/cache")
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# Small ones, for where the system does not tell.
UNKNOWN = {1: 32 << 10, 2: 512 << 10, 3: 32 << 20}


@functools.cache
def caches() -> dict[int, int]:
    """Return the bytes of the first CPU's caches for data, by level."""
    found = dict(UNKNOWN)
    for index in CPU.glob("index*"):
        try:
            kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
            if kind != "Instruction":
                found[int(level)] = int(size[:-1]) * UNITS[size[-1]]
        except (OSError, ValueError, KeyError, IndexError):
            continue
    return found
