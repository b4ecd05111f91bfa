"""How much address space is left: LLVM and OpenMP end the process where they miss some."""

import mmap

# Bytes that importing Numba takes, loading kernels and threads, compiling, and prebuilt kernels, with much to spare
IMPORTING, LOADING, COMPILING, PREBUILT = 320 << 20, 64 << 20, 256 << 20, 8 << 20


def is_room_for(size: int) -> bool:
    """Return whether so many bytes of address space are left."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, OverflowError):
        return False
    return True


def require_room(size: int) -> None:
    """Raise MemoryError where LLVM, or the loading of a library, would end the process."""
    if not is_room_for(size):
        raise MemoryError(f"fastbp expects {size >> 20} MB of free address space to load or compile its kernels")
