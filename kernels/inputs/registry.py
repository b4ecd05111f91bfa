"""What an input is to kernels, and the table of the elements that an array may have."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..code import Code

# The first entry of every input: the address of its reader. What follows is the reader's own.
READ = 0
# The entries of an array of numbers. DATA: the address of its first number; ROW_STRIDE, COLUMN_STRIDE: from one row, or
# column, to the next, in bytes, which may be 0 or negative; SWAPPED: whether the bytes of a number are in the other
# order than this CPU's; SHIFT, SCALE: addresses of a float64 for each column, both 0 where the numbers are as they are.
DATA, ROW_STRIDE, COLUMN_STRIDE, SWAPPED, SHIFT, SCALE, NUMBERS_SIZE = range(1, 8)


@dataclass(frozen=True)
class Element:
    """A type of numbers, as NumPy names it.

    name : of the dtype
    kind : "b", "i", "u" or "f", as of the dtype
    size : in bytes
    """

    name: str
    kind: str
    size: int


# By what NumPy writes behind the byte order: "f4"
ELEMENTS: dict[str, Element] = {
    dtype.str[1:]: Element(dtype.name, dtype.kind, dtype.itemsize) for dtype in map(np.dtype, "?bBhHiIqQefd")
}


def read_numbers(
    x: np.ndarray, dtype: np.dtype, shift: np.ndarray | None = None, scale: np.ndarray | None = None
) -> np.ndarray:
    """Return rows as their reader does: ``(x - shift) / scale``, each operation in float64 and rounded to `dtype`."""
    with np.errstate(all="ignore"):
        if shift is None or scale is None:
            return x.astype(dtype)
        shifted: np.ndarray = np.subtract(x, shift, dtype=np.float64).astype(dtype)
        quotient: np.ndarray = np.divide(shifted, scale, dtype=np.float64)
        return quotient.astype(dtype)


@functools.cache
def reader(element: Element) -> Code:
    """Return what reads rows of an array of such numbers."""
    name = f"read_{element.name}"

    def compiled() -> Any:
        return importlib.import_module(".numbers", __package__).reader(element, name)

    return Code(read_numbers.__module__, name, compiled)


def numbers_table(x: np.ndarray, shift: np.ndarray | None = None, scale: np.ndarray | None = None) -> np.ndarray:
    """Return the input that a two-dimensional array is, but for READ. Keep all of them alive.

    shift, scale : (columns,) float64, or None
    """
    table = np.zeros(NUMBERS_SIZE, np.int64)
    table[DATA : SWAPPED + 1] = _place(x), *x.strides, not x.dtype.isnative
    if shift is not None and scale is not None:
        table[[SHIFT, SCALE]] = _place(shift), _place(scale)
    return table


def _place(x: np.ndarray) -> int:
    return int(x.__array_interface__["data"][0])
