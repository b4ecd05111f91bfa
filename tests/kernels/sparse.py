"""Sparse batches for tests: random rows of stored numbers, and networks that take them."""

import numpy as np

from fastbp.kernels import entries
from fastbp.kernels.ops.fill import fill
from fastbp.kernels.run import frame, plan, train
from fastbp.kernels.run.stored import DATA, INDICES, INDPTR, ROWS, STEP, STORED_SIZE
from tests.kernels.graphs import Network


class Stored:
    """A dense array as stored rows; what is not 0 is stored, and zeros where `also` says."""

    def __init__(self, x, also=False):
        which = (x != 0) | also
        self.data, self.indices = np.ascontiguousarray(x[which]), np.nonzero(which)[1].astype(np.int32)
        self.indptr = np.concatenate([[0], np.cumsum(which.sum(axis=1))]).astype(np.int64)

    def table(self):
        """Return the table of the rows. Keep them alive."""
        table = np.zeros(STORED_SIZE, np.int64)
        table[[DATA, INDICES, INDPTR]] = [a.ctypes.data for a in (self.data, self.indices, self.indptr)]
        table[[ROWS, STEP]] = table[INDPTR], 1
        return table


def random_rows(rng, rows, features, density, dtype):
    """Return random numbers, most of them 0 and some rows and columns whole."""
    x = rng.standard_normal((rows, features)) * (rng.random((rows, features)) < density)
    x[rng.random(rows) < 0.2] = 0
    x[:, rng.random(features) < 0.2] = 0
    return x.astype(dtype)


class SparseNetwork(Network):
    """A network that takes `x`, a dense array, as stored rows."""

    def __init__(self, layers, dtype, x, *, also=False, **more):
        super().__init__(plan.on_sparse(layers), dtype, batch=len(x), **more)
        dense = Network(layers, dtype, batch=len(x), **more)
        self.params[:] = dense.params
        self.give(x, also)

    def give(self, x, also=False):
        """Take another batch."""
        self.x, self.stored = x, Stored(x, also)
        self.table = self.stored.table()
        self.addresses[frame.STORED] = self.table.ctypes.data
        plan.set_stored(self.plan, self.stored.data.size, len(x), len(x))

    def step(self, tasks=1):
        """Make a step; return the loss before its update."""
        self.settings[frame.TASKS] = tasks
        train.train_on_labels(self.addresses, np.empty((self.batch, 0), self.dtype), self.y)
        return self.record[0, 0]

    def predict(self, tasks=1, first=0):
        """Predict the rows from the first on."""
        table, layout = plan.make_plan(self.layers, self.dtype.itemsize, self.batch, train=False)
        fill(table, self.dtype, train=False)
        plan.set_stored(table, self.stored.data.size, len(self.x))
        out = np.full((self.batch - first, self.layers[-1].out_features), np.nan, self.dtype)
        work = np.full(layout[plan.SIZE], np.nan, self.dtype)
        entries.predict_sparse(table, self.params, work, self.stored.table(), first, out, tasks)
        return out
