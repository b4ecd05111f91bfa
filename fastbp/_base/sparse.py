"""Sparse matrices of SciPy's as the kernels take them. SciPy is not imported: who passes one has done so."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.kernels import entries
from fastbp.kernels.run.stored import DATA, INDICES, INDPTR, ROWS, STEP, STORED_SIZE

Array = NDArray[Any]
MOST_FEATURES = np.iinfo(np.int32).max


def is_sparse(x: Any) -> bool:
    """Return whether x is a sparse matrix or array of SciPy's, or `StoredRows`."""
    if type(x) is np.ndarray:
        return False
    scipy = sys.modules.get("scipy.sparse")
    return isinstance(x, StoredRows) or (scipy is not None and bool(scipy.issparse(x)))


class StoredRows:
    """Rows of a sparse matrix (CSR): what is stored, in the order of columns, and each column once in a row.

    Parameters
    ----------
    data : ndarray of shape (stored,)
        Of the model's dtype.
    indices : ndarray of shape (stored,), int32
        The column of each number.
    indptr : ndarray of shape (rows + 1,), int64
        Row r has the numbers from ``indptr[r]`` to before ``indptr[r + 1]``.
    features : int
    """

    __slots__ = ("data", "features", "indices", "indptr")

    def __init__(self, data: Array, indices: NDArray[np.int32], indptr: NDArray[np.int64], features: int) -> None:
        self.data, self.indices, self.indptr, self.features = data, indices, indptr, features

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), self.features

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""
        return self.data.dtype

    @property
    def stored(self) -> int:
        """How many numbers are stored in these rows."""
        return int(self.indptr[-1] - self.indptr[0])

    @property
    def memory(self) -> tuple[Array, ...]:
        """What is read."""
        return self.data, self.indices, self.indptr

    @property
    def stand_in(self) -> Array:
        """What kernels take in the place of dense rows: as many rows, of no columns."""
        return np.empty((len(self), 0), self.dtype)

    def copy(self) -> "StoredRows":
        """Return the same rows in memory of their own."""
        data, indices, indptr = (array.copy() for array in self.memory)
        return StoredRows(data, indices, indptr, self.features)

    def table(self) -> NDArray[np.int64]:
        """Return a new table of the rows for one call, which may write to it. Keep the rows alive."""
        table = np.zeros(STORED_SIZE, np.int64)
        table[[DATA, INDICES, INDPTR]] = [array.ctypes.data for array in self.memory]
        table[[ROWS, STEP]] = table[INDPTR], 1
        return table

    def __getitem__(self, which: Any) -> "StoredRows":
        """Return some rows: of a slice of step 1 their numbers stay where they are, else they are copied."""
        if isinstance(which, slice) and which.step in (None, 1):
            start, stop, _ = which.indices(len(self))
            return StoredRows(self.data, self.indices, self.indptr[start : max(start, stop) + 1], self.features)
        rows = np.arange(len(self))[which]
        first, lengths = self.indptr[rows], self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(first - indptr[:-1], lengths) + np.arange(indptr[-1])
        return StoredRows(self.data[places], self.indices[places], indptr, self.features)

    def finite(self) -> NDArray[np.bool_]:
        """Return of each row whether all its stored numbers are finite."""
        wrong = np.concatenate([[0], np.cumsum(~np.isfinite(self.data))])
        found: NDArray[np.bool_] = wrong[self.indptr[1:]] == wrong[self.indptr[:-1]]
        return found


def stored_rows(x: Any, dtype: np.dtype[Any], who: str, name: str) -> StoredRows:
    """Return a sparse matrix as `StoredRows`, the numbers that ``x.toarray()`` has; what fits is not copied.

    TypeError or ValueError if its numbers are no real ones, or if it is damaged.
    """
    if isinstance(x, StoredRows):
        return x
    if x.dtype.kind not in "fiub" or x.dtype.itemsize > 8:
        raise TypeError(f"{who} expects {name} of real numbers up to 64 bits, got dtype {x.dtype}")
    if x.ndim != 2 or x.shape[1] > MOST_FEATURES:
        raise ValueError(f"{who} expects {name} of shape (batch, at most {MOST_FEATURES}), got {x.shape}")
    csr = x.tocsr()
    rows = _taken(csr, dtype)
    if len(rows) != x.shape[0] or not _is_in_order(rows):
        try:
            csr = csr.copy()
            csr.check_format()
        except ValueError as error:
            raise ValueError(f"{who} expects {name} to be a sound sparse matrix: {error}") from None
        csr.has_canonical_format = csr.has_sorted_indices = False  # SciPy's note may be of another time
        csr.sum_duplicates()
        rows = _taken(csr, dtype)
    return rows


def spoiled(who: str, name: str) -> ValueError:
    """Return the error about rows in use that are no longer as kernels take them: their memory is the caller's."""
    return ValueError(f"{who} expects {name} as it was: the columns of its stored numbers have been changed")


def expect_unspoiled(rows: StoredRows, who: str, name: str) -> None:
    """Raise that error where it is so."""
    if not _is_in_order(rows):
        raise spoiled(who, name)


def _taken(csr: Any, dtype: np.dtype[Any]) -> StoredRows:
    """Return the arrays of a CSR matrix in the types of the kernels."""
    features, indices = int(csr.shape[1]), csr.indices
    if indices.dtype != np.int32:
        indices = np.clip(indices, -1, features)  # what is no column is none then
    data, indices = (np.require(array, kind, ("C", "A")) for array, kind in ((csr.data, dtype), (indices, np.int32)))
    # Kernels follow indptr without a check, so it is a copy; of the columns they look at each row again in each step.
    return StoredRows(data, indices, np.array(csr.indptr, np.int64), features)


def _is_in_order(rows: StoredRows) -> bool:
    count = min(rows.data.size, rows.indices.size)
    return int(entries.first_wrong_row(rows.table(), len(rows), rows.features, count)) < 0
