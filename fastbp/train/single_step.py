"""A training step by itself, in one compiled call."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastbp._base import check
from fastbp._base.guard import set_unguarded
from fastbp._base.inputs import Readable
from fastbp._base.sparse import StoredRows
from fastbp.kernels import entries
from fastbp.kernels.run.frame import NUMBERS, TASKS
from fastbp.train.by_hand import ByHand
from fastbp.train.given import samples_of
from fastbp.train.needs import STEP
from fastbp.train.samples import Part

INT64 = np.dtype(np.int64)
_ONE, _NO_ORDER = range(1), np.empty(0, np.int64)  # a step alone, on its rows as they stand


class SingleStep(ByHand):
    """The part of a `Trainer` that makes one step at a time."""

    def step(self, x: ArrayLike | Readable, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Make one training step: forward, loss, backward, update.

        Parameters
        ----------
        x : array_like or sparse matrix of shape (batch, in_features)
            Numbers of another dtype than the model's, or with gaps between them in memory, are converted in compiled
            code; `fit` converts a batch at a time and copies nothing whole. `fastbp.Scaled` scales them as well. Of a
            sparse matrix the stored numbers are read, see `Sequential.predict`. A data frame (of pandas; of polars,
            Arrow and others by narwhals, extra ``data``) has its columns in their order, and NaN for what is missing.
        y : array_like
            For softmax_cross_entropy class indices, (batch,) or (batch, 1), whole numbers of any type, or probabilities
            (batch, classes); else numbers (batch, outputs), or (batch,) if there is one output.
        sample_weight : array_like of shape (batch,), optional
            How much each row counts; the mean becomes the weighted mean.

        Returns
        -------
        float
            The loss before the update.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; nothing is changed then.
        RuntimeError
            If another thread is in this trainer.

        Examples
        --------
        >>> import numpy as np, fastbp
        >>> trainer = fastbp.Trainer(fastbp.mlp([2, 3], rng=0), optimizer=fastbp.SGD(0.1))
        >>> round(trainer.step(np.zeros((4, 2)), [0, 1, 2, 0]), 4)
        1.0986
        """
        with self._alone:
            if not (sample_weight is None and self._as_before(x, y) and self._quick_step(x, y)):
                samples = samples_of(self, x, y, sample_weight, STEP)
                targets, batch = samples.targets, len(samples.x)
                self._model._check_batch(batch, "Trainer.step")
                sparse = isinstance(samples.x, StoredRows)
                self._prepare(batch, sparse)
                tasks, began, kind = self._begin_step(batch)
                self._run(samples, Part(_ONE, batch, _NO_ORDER, self._record), tasks)
                if kind is not None:
                    kind.end(tasks, began, batch)
                given = not sparse and targets.code >= 0 and not self._loss._looks_at_targets()
                self._usual = (INT64 if targets.labels.size else self._model.dtype) if given else None
            set_unguarded(self, "_steps", self._steps + 1)
            return float(self._record[0, 0])

    def _as_before(self, x: Any, y: Any) -> bool:
        """Whether a step on x and y needs nothing but the kernel: arrays like those of the step before."""
        try:
            return (
                type(x) is np.ndarray
                and type(y) is np.ndarray
                and y.dtype is self._usual
                and self._freezes == self._model._freezes[0]
                and x.dtype is self._model.dtype
                and x.ndim == 2
                and self._fewest_rows <= len(x) == len(y) <= self._rows.shape[1]
                and x.shape[1] == self._model.in_features
                and (y.ndim == 1 if y.dtype is INT64 else y.shape == (len(x), self._target_width))
                and x.flags.carray
                and y.flags.carray
                # y is read before anything is written
                and (x.base is None or not check.overlaps(x, self._model._params, self._model._grads))
                and vars(self._optimizer) == self._numbers
                and self._optimizer.code == self._code
            )
        except ValueError:  # an array among the attributes of an optimizer's subclass
            return False

    def _quick_step(self, x: Any, y: Any) -> bool:
        """Make a step in a call of few arguments; False, and nothing done, if a label or a code is wrong.

        x and y are `_as_before`.
        """
        tasks, began, kind = self._begin_step(len(x))
        self._settings[TASKS] = tasks
        if self._varying is not None:
            self._addresses[NUMBERS] = self._varying.address(*self._progress(), 1)
        make = entries.train_on_labels if y.dtype is INT64 else entries.train_on_targets
        if make(self._addresses, x, y) != -1:
            return False
        if kind is not None:
            kind.end(tasks, began, len(x))
        return True
