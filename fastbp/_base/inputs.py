"""Rows that the kernels read and convert a batch at a time, wherever and as whatever they stand."""

import functools
import mmap
from collections import defaultdict
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastbp._base.calls import Calls
from fastbp.kernels import entries
from fastbp.kernels.code import Code
from fastbp.kernels.inputs import ELEMENTS, READ, numbers_table, reader

Array = NDArray[Any]
Given = TypeVar("Given")
LINE = 64  # bytes of a cache line
STAGED_BYTES = 1 << 26  # of a copy of rows that are scattered, at most: of all of them, or of some at a time
READ_WORK = 8  # floating-point operations that reading a number takes as long as
_calls: defaultdict[Code, Calls] = defaultdict(Calls)  # of each reader
_IN_PLACE = np.empty(0, np.int64)


@functools.cache
def _address(code: Code, dtype: np.dtype[Any]) -> int:
    return code.address(dtype)


class Readable:
    """What is no array, but has rows that kernels can read: base class of what users may pass in the place of one."""

    def _input(self, dtype: np.dtype[Any]) -> "Input":
        """Return its rows, which are read as numbers of a dtype."""
        raise NotImplementedError


class Input(Readable):
    """Rows of numbers that are no array of a model's dtype, and are never made one as a whole.

    Kernels read some rows of it, as numbers of that dtype; so does ``rows[a:b]``, or ``rows[which]`` for an array of
    row numbers, and returns an array.

    Parameters
    ----------
    shape : (rows, features)
    dtype : float32 or float64
        What the numbers are read as.
    code : Code
        Its reader, see `fastbp.kernels.inputs`.
    table : ndarray of int64
        What the reader takes; its first entry is left to `address`.
    memory : tuple of arrays
        What the reader reads, which stays alive with the input.
    scattered : bool
        Whether the numbers of a row stand far from each other, each in a cache line that holds other rows: rows in any
        order then take several times as long to read as out of an array of their own. `fit` copies many at a time.
    """

    __slots__ = ("_table", "code", "dtype", "memory", "scattered", "shape")

    def __init__(
        self, shape: tuple[int, int], dtype: np.dtype[Any], code: Code, table: Array, memory: tuple[Array, ...],
        scattered: bool = False,
    ) -> None:  # fmt: skip
        self.shape, self.dtype, self.code, self._table, self.memory = shape, dtype, code, table, memory
        self.scattered = scattered

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self.shape[0] * self.shape[1]

    @property
    def address(self) -> int:
        """Where kernels find it. Its reader is compiled or loaded before."""
        return int(self._ready().__array_interface__["data"][0])

    @property
    def stand_in(self) -> Array:
        """An array without rows, for where a call takes an array of the model's dtype beside the input."""
        return np.empty((0, self.shape[1]), self.dtype)

    def __getitem__(self, rows: slice | NDArray[np.integer[Any]]) -> Array:
        if isinstance(rows, slice):
            first, stop, _ = rows.indices(len(self))
            count, order = max(0, stop - first), _IN_PLACE
        else:
            first, order = 0, np.ascontiguousarray(rows, np.int64)
            count = len(order)
        out = np.empty((count, self.shape[1]), self.dtype)
        tasks, began, kind = _calls[self.code].begin(out.size, READ_WORK * out.size)
        entries.read_rows(self._ready(), order, first, out, tasks)
        if kind is not None:
            kind.end(tasks, began, out.size)
        return out

    def copy(self) -> Array:
        """Return all rows as an array."""
        return self[:]

    def _input(self, dtype: np.dtype[Any]) -> "Input":
        return self

    def _ready(self) -> Array:
        if self._table[READ] == 0:
            self._table[READ] = _address(self.code, self.dtype)
        return self._table


def numbers_input(
    x: Array, dtype: np.dtype[Any], shift: NDArray[np.float64] | None = None, scale: NDArray[np.float64] | None = None
) -> Input:
    """Return a two-dimensional array of real numbers up to 64 bits as an input.

    shift, scale : of each column, so that ``(x - shift) / scale`` is read; each operation is one of float64, and is
        rounded to `dtype`
    """
    rows, columns = x.shape
    memory = (x,) if shift is None or scale is None else (x, shift, scale)
    code = reader(ELEMENTS[x.dtype.str[1:]])
    return Input((rows, columns), dtype, code, numbers_table(x, shift, scale), memory, abs(x.strides[1]) > LINE)


def is_mapped(x: Any) -> bool:
    """Whether an array or an input shows a file: what is read of it takes no memory that belongs to the process."""
    if isinstance(x, Input):
        x = x.memory[0]
    while x is not None and not isinstance(x, mmap.mmap):
        x = x.base if isinstance(x, np.ndarray) else getattr(x, "keep_alive", None)  # an alias of a read-only array
    return x is not None


def gathered(rows: Given) -> Given | Array:
    """Return rows that will be read in any order, again and again: an array of scattered ones that are not many."""
    if isinstance(rows, Input) and rows.scattered and rows.size * rows.dtype.itemsize <= STAGED_BYTES:
        return rows[:]
    return rows
