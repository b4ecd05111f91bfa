"""Rows that were encoded once, kept in a temporary file: the next epochs read them as they are."""

import math
import os
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.data.reading.temporary import temporary_file

Arrays = tuple[NDArray[Any], ...]
ROOM = 2  # times its size that the disk has to have free


class KeptBlocks:
    """Blocks of rows in a file without a name, which goes with the process; none if the disk has no room.

    Parameters
    ----------
    sizes : ndarray of int64, (blocks,)
        Rows of each block.
    """

    def __init__(self, sizes: NDArray[np.int64]) -> None:
        self._ends = np.cumsum(sizes)
        self._there = np.zeros(len(sizes), bool)
        self._maps: Sequence[NDArray[Any]] | None = None  # of all rows; empty where there is no room

    def get(self, block: int) -> Arrays | None:
        """Return the arrays of a block; None if they are not kept."""
        if self._maps is None or not self._there[block]:
            return None
        return tuple(array[self._rows(block)] for array in self._maps)

    def keep(self, block: int, arrays: Arrays) -> None:
        """Keep the arrays of a block."""
        if self._maps is None:
            self._maps = _mapped(arrays, int(self._ends[-1]))
        for whole, array in zip(self._maps, arrays, strict=False):
            whole[self._rows(block)] = array
        self._there[block] = bool(self._maps)

    def _rows(self, block: int) -> slice:
        return slice(int(self._ends[block - 1]) if block else 0, int(self._ends[block]))


def _mapped(like: Arrays, rows: int) -> Sequence[NDArray[Any]]:
    """Return arrays of so many rows in a temporary file; none if there is no room for them."""
    shapes = [(rows, *array.shape[1:]) for array in like]
    sizes = [math.prod(shape) * array.itemsize for shape, array in zip(shapes, like, strict=True)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    try:
        with temporary_file() as file:
            if shutil.disk_usage(file.fileno()).free < ROOM * sum(sizes):
                return []
            os.posix_fallocate(file.fileno(), 0, sum(sizes))  # a map of a file that the disk cannot hold would crash
            return [
                np.memmap(file, array.dtype, "r+", start, shape)
                for array, start, shape in zip(like, starts, shapes, strict=True)
            ]
    except (AttributeError, OSError):
        return []
