"""What a model predicts: some rows at a time, in the workspace of the thread that calls."""

import itertools
import operator
import threading

import numpy as np
from numpy.typing import ArrayLike

from fastbp._base import check, memory
from fastbp._base.calls import Calls
from fastbp._base.inputs import Input, Readable
from fastbp._base.sparse import StoredRows
from fastbp._base.threads import get_num_threads
from fastbp.kernels import entries
from fastbp.kernels.code import Code
from fastbp.kernels.compile.expected import Needed, expect
from fastbp.kernels.ops.fill import codes_of, fill
from fastbp.kernels.run.plan import CAPACITY, EFFORT, SIZE, members_of, set_stored
from fastbp.nn.stack import Array, Stack

__all__ = ["Predicting"]

# Rows that `predict` runs at a time: few enough for their activations to stay in a cache, enough to repay packing the
# weights.
PREDICT_BYTES = 1 << 22
FEWEST_PREDICT_ROWS = 256


class Predicting(Stack):
    """The part of a `Sequential` that predicts."""

    def _begin(self) -> None:
        """Be ready to predict with the layers that are held."""
        self._local = threading.local()
        self._predict_calls = Calls()
        members = itertools.accumulate((layer._spreads for layer in self.layers), operator.mul)
        # Floating-point operations of a forward pass of one row, and the most numbers that one has
        self._work = sum(layer._work * each for layer, each in zip(self.layers, members, strict=True))
        rows = self._rows()
        self._widest = max(row.out_features * each for row, each in zip(rows, members_of(rows), strict=True))
        self._predict_rows = self._rows_at_a_time(self._widest)
        self._read_rows = self._rows_at_a_time(max(self._widest, self.in_features))  # of what is no array of this dtype

    def predict(self, x: ArrayLike | Readable | StoredRows, batch_size: int | None = None) -> Array:
        """Return the last layer's output (for a classifier: logits) and keep nothing.

        A row's result does not depend on the rows beside it, so `batch_size` changes time and memory, never a bit.
        Threads may call this at once.

        Parameters
        ----------
        x : array_like or sparse matrix of shape (batch, in_features)
            Numbers of another dtype, or with gaps between them in memory, are converted so many rows at a time too: a
            memory map, say, is never copied whole. Of a sparse matrix of SciPy's the stored numbers alone are read, for
            which the layers that read x have to be Dense ones. 0 times an infinite or NaN weight, NaN in a dense
            product, counts for nothing there.
        batch_size : int, optional
            Rows to run at a time; by default as many as keep their activations in the cache.

        Returns
        -------
        ndarray of shape (batch, out_features)

        Raises
        ------
        TypeError, ValueError
            If x holds no real numbers, or has another shape.
        """
        rows = check.inputs(x, self.in_features, self.dtype, "Sequential")
        count = len(rows)
        if batch_size is None:
            batch_size = self._read_rows if isinstance(rows, Input) else self._predict_rows
        else:
            batch_size = check.integer(batch_size, "Sequential", "batch_size")
        out = np.empty((count, self.out_features), self.dtype)
        if isinstance(rows, StoredRows):
            self._predict_sparse(rows, batch_size, out)
            return out
        if isinstance(rows, Input):
            self._reserve_prediction(min(batch_size, count), (rows.code,))
        elif count <= batch_size:
            self._predict(rows, out)
            return out
        for start in range(0, count, batch_size):
            part = slice(start, start + batch_size)
            self._predict(rows[part], out[part], start)
        return out

    def _rows_at_a_time(self, width: int) -> int:
        return max(FEWEST_PREDICT_ROWS, PREDICT_BYTES // (width * self.dtype.itemsize))

    def _predict(self, rows: Array, out: Array, first: int = 0) -> None:
        """Write what the last layer gives for rows, of which this is the first, in this thread's workspace."""
        count = len(rows)
        _, plan, work = self._reserve_prediction(count)
        if self._codes is not None:
            self._codes.expect(rows, "Sequential", range(first, first + count))
        tasks, began, kind = self._predict_calls.begin(count, self._work * count)
        entries.predict(plan, self._params, work, rows, out, tasks)
        if kind is not None:
            kind.end(tasks, began, count)

    def _predict_sparse(self, rows: StoredRows, batch_size: int, out: Array) -> None:
        """Write what the last layer gives for rows of a sparse matrix, some at a time."""
        _, plan, work = self._reserve_prediction(min(batch_size, len(rows)), sparse=True)
        set_stored(plan, rows.stored, len(rows))
        effort, table = float(plan[:, EFFORT].sum()), rows.table()
        for start in range(0, len(rows), batch_size):
            part = out[start : start + batch_size]
            tasks, began, kind = self._predict_calls.begin(len(part), effort * len(part))
            entries.predict_sparse(plan, self._params, work, table, start, part, tasks)
            if kind is not None:
                kind.end(tasks, began, len(part))

    def _reserve_prediction(
        self, capacity: int, readers: tuple[Code, ...] = (), *, sparse: bool = False
    ) -> tuple[int, Array, Array]:
        """Return this thread's plan and workspace for at least so many rows, which these read if they are given."""
        name = "of_sparse" if sparse else "of_dense"
        saved: tuple[int, Array, Array] | None = getattr(self._local, name, None)
        if saved is None or saved[0] < capacity:
            expect(_needs_of_prediction, self, readers, sparse)
            plan, layout = self._plan(capacity, train=False, sparse=sparse)
            fill(plan, self.dtype, train=False)
            saved = int(layout[CAPACITY]), plan, memory.zeros(int(layout[SIZE]), self.dtype)
            setattr(self._local, name, saved)
        return saved


def _needs_of_prediction(model: Predicting, readers: tuple[Code, ...], sparse: bool) -> Needed:
    calls = ["predict_sparse"] if sparse else ["predict", "read_rows"] if readers else ["predict"]
    calls += ["first_wrong_code"] * (model._codes is not None)
    codes = codes_of(model._rows_for(sparse=sparse, train=False), train=False)
    return Needed([*codes, *readers], calls, model.dtype, get_num_threads())
