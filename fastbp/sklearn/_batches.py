"""The rows of a solver's steps: which they are, and what they count for."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fastbp._base import check
from fastbp._base.inputs import gathered
from fastbp._base.sparse import stored_rows
from fastbp.kernels.losses import MEAN, SUM
from fastbp.nn.sequential import Sequential
from fastbp.sklearn._objectives import Objective

Array = NDArray[Any]
_NO_WEIGHTS = {dtype: np.empty(0, dtype) for dtype in (np.dtype(np.float32), np.dtype(np.float64))}


class Samples:
    """All samples of a fit, as the kernels take them.

    Parameters
    ----------
    x : ndarray or sparse matrix of shape (samples, features)
        Kept as it comes, for scores; `rows` are what the kernels take of it.
    y : ndarray of shape (samples, targets)
    weight : ndarray of shape (samples,), optional
    model : Sequential
    objective : Objective
    """

    def __init__(self, x: Any, y: Array, weight: Array | None, model: Sequential, objective: Objective) -> None:
        self.dtype = model.dtype
        self._sizes = int(x.shape[1]), model.out_features
        self.check(model)
        self.sparse = sparse.issparse(x)
        self.x: Any = x.tocsr() if self.sparse else gathered(check.read_later(x, model.dtype, "MLP", "X"))
        self.rows = stored_rows(self.x, model.dtype, "MLP", "X") if self.sparse else self.x
        self.targets = objective.targets(y, model.out_features, model.dtype)
        self.weight = weight

    def check(self, model: Sequential) -> None:
        """Refuse a model that takes other rows, or has other outputs, than these samples were made for."""
        sizes = model.in_features, model.out_features
        if (sizes, model.dtype) != (self._sizes, self.dtype):
            raise ValueError(
                f"MLP expects coefs_ and intercepts_ of a network with {self._sizes[0]} inputs and {self._sizes[1]} "
                f"outputs in {self.dtype}, got {sizes[0]} inputs and {sizes[1]} outputs in {model.dtype}"
            )

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def dense(self, which: Any) -> Array:
        """Return some rows as a dense array."""
        rows = self.x[which]
        return np.ascontiguousarray(rows.toarray() if self.sparse else rows, self.dtype)


class Epoch(NamedTuple):
    """What the rows of an epoch count for.

    Attributes
    ----------
    counts, totals : ndarray of shape (steps,)
        Rows of each batch, and what the batch's sum is divided by.
    weight : ndarray of shape (samples,), or empty
        What each sample counts for in its batch's sum, `Objective.weight_scale` included; empty where a mean will do.
    """

    counts: NDArray[np.int64]
    totals: NDArray[np.float64]
    weight: Array

    @property
    def reduction(self) -> int:
        """How the kernels put the rows' losses together."""
        return SUM if self.weight.size else MEAN


def batch_sizes(samples: int, batch: int) -> NDArray[np.int64]:
    """Return how many samples each batch of an epoch has."""
    counts = np.full(-(-samples // batch), batch)
    counts[-1] -= counts.size * batch - samples
    return counts


def epoch_of(samples: Samples, objective: Objective, order: NDArray[np.int64], batch: int, width: int) -> Epoch:
    """Return what the rows count for where batches follow one another in this order.

    width : columns of the targets; a kernel's mean over numbers is one over all of them
    """
    counts = batch_sizes(len(order), batch)
    if samples.weight is None:
        totals = counts.astype(np.float64)
        if objective.weight_scale == 1.0 and width <= 1:
            return Epoch(counts, totals, _NO_WEIGHTS[samples.dtype])
        each: Any = objective.weight_scale
    else:
        ordered = samples.weight[order].astype(np.float64)
        totals = np.add.reduceat(ordered, np.arange(0, len(order), batch))
        each = objective.weight_scale * ordered
    weight = np.empty(len(order), samples.dtype)
    # A batch in which nothing counts is left out by the solver.
    weight[order] = each / np.repeat(np.where(totals > 0, totals, 1.0), counts)
    return Epoch(counts, totals, weight)
