"""Derivatives of a model's output by its input, in compiled calls."""

import threading
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check, memory
from fastbp._base.calls import Calls
from fastbp._base.inputs import Input, Readable
from fastbp._base.sparse import StoredRows
from fastbp._base.threads import get_num_threads
from fastbp.kernels import entries
from fastbp.kernels.compile.expected import Needed, expect
from fastbp.kernels.ops.fill import codes_of, fill
from fastbp.kernels.optimizers import HYPER_SIZE
from fastbp.kernels.run.frame import RECORD_ROWS, SETTINGS_SIZE, Frame
from fastbp.kernels.run.plan import EFFORT, SIZE, Layer, make_plan, place_buffers, without_training
from fastbp.nn.prediction import Predicting

__all__ = ["Derivable"]

Array = NDArray[Any]
# Numbers that a call writes at a time, and rows that it takes then at least: see `PREDICT_BYTES`
NUMBERS, FEWEST_ROWS = 1 << 20, 64


class Derivable(Predicting):
    """The part of a `Sequential` that differentiates what it predicts."""

    def _begin(self) -> None:
        """Be ready to differentiate the layers that are held."""
        super()._begin()
        self._deriving = threading.local()
        self._derive_calls = Calls()

    def input_gradient(self, x: ArrayLike | Readable, dy: ArrayLike) -> Array:
        """Return the gradient by x of what `predict` returns, along dy: each row of dy times that row's Jacobian.

        Of the parameters no gradients are made, and nothing is kept: `gradients` and a `forward` before stay as they
        are. Threads may call this at once.

        Parameters
        ----------
        x : array_like of shape (batch, in_features)
        dy : array_like of shape (batch, out_features)
            The gradient of any function of the output by the output.

        Returns
        -------
        ndarray of shape (batch, in_features)
            0 in columns of codes.

        Raises
        ------
        TypeError, ValueError
            If an argument holds no real numbers, is sparse, or has another shape.

        Examples
        --------
        How the first of two outputs depends on each input:

        >>> import numpy as np, fastbp
        >>> model = fastbp.Sequential(fastbp.Dense(3, 2, rng=0))
        >>> dx = model.input_gradient(np.zeros((4, 3)), np.tile([1, 0], (4, 1)))
        >>> bool((dx == model[0].weight[0]).all())
        True
        """
        rows = self._derived(x, "input_gradient")
        shape = len(rows), self.out_features
        direction = check.exact_shape(
            check.floats(dy, self.dtype, "input_gradient", "dy"), shape, "input_gradient", "dy"
        )
        dx = np.empty(rows.shape, self.dtype)
        for part in self._parts_of(rows, self.in_features):
            self._derive(rows[part], direction[part], dx[part], part.start)
        return dx

    def jacobian(self, x: ArrayLike | Readable) -> Array:
        """Return the derivatives of each output by each input, of what `predict` returns.

        Rows go through the model once, and back once for each output. Else it is as `input_gradient`.

        Parameters
        ----------
        x : array_like of shape (batch, in_features)

        Returns
        -------
        ndarray of shape (batch, out_features, in_features)

        Raises
        ------
        TypeError, ValueError
            If x holds no real numbers, is sparse, or has another shape.

        Examples
        --------
        >>> import numpy as np, fastbp
        >>> model = fastbp.Sequential(fastbp.Dense(3, 2, rng=0))
        >>> bool((model.jacobian(np.zeros((4, 3))) == model[0].weight).all())
        True
        """
        rows = self._derived(x, "jacobian")
        found = np.empty((len(rows), self.out_features, self.in_features), self.dtype)
        for part in self._parts_of(rows, self.out_features * self.in_features):
            own = rows[part]
            dx = np.empty((self.out_features, *own.shape), self.dtype)
            self._derive(own, np.empty((len(own), 0), self.dtype), dx.reshape(-1, self.in_features), part.start)
            found[part] = dx.swapaxes(0, 1)
        return found

    def _derived(self, x: ArrayLike | Readable, who: str) -> Array | Input:
        rows = check.inputs(x, self.in_features, self.dtype, who)
        if isinstance(rows, StoredRows):
            raise TypeError(f"{who} expects x to be a dense array, got a sparse matrix; call .toarray() first")
        return rows

    def _parts_of(self, rows: Array | Input, numbers: int) -> list[slice]:
        """Return which rows to take at a time, where so many numbers are written for each."""
        count = max(FEWEST_ROWS, NUMBERS // max(numbers, self._widest))
        return [slice(start, start + count) for start in range(0, len(rows), count)]

    def _rows_to_derive(self) -> list[Layer]:
        return without_training(self._rows())

    def _derive(self, rows: Array, direction: Array, dx: Array, first: int) -> None:
        """Write the gradients of rows, of which this is the first, to (directions * rows, in_features)."""
        _, effort, _, addresses = self._reserve_derivation(len(rows))
        if self._codes is not None:
            self._codes.expect(rows, "Sequential", range(first, first + len(rows)))
        tasks, began, kind = self._derive_calls.begin(len(dx), effort * (len(rows) + len(dx)))
        entries.input_gradients(addresses, rows, direction, dx, tasks)
        if kind is not None:
            kind.end(tasks, began, len(dx))

    def _reserve_derivation(self, capacity: int) -> tuple[int, int, Frame, Array]:
        """Return rows that there is room for, at least so many, the work of one, this thread's frame, its addresses."""
        saved: tuple[int, int, Frame, Array] | None = getattr(self._deriving, "saved", None)
        if saved is None or saved[0] < capacity:
            expect(_needs, self)
            plan, layout = make_plan(self._rows_to_derive(), self.dtype.itemsize, capacity, train=True, keeps=True)
            fill(plan, self.dtype, train=True)
            place_buffers(plan, self._buffers)
            none = np.empty(0, self.dtype)
            frame = Frame(
                plan, layout, np.zeros(SETTINGS_SIZE, np.int64), np.zeros(HYPER_SIZE), np.zeros(0), self._params, none,
                none, memory.zeros(int(layout[SIZE]), self.dtype), np.zeros((3, 0)), none, np.zeros(0, np.int64),
                np.zeros((RECORD_ROWS, 1)),
            )  # fmt: skip
            saved = self._deriving.saved = capacity, int(plan[:, EFFORT].sum()), frame, frame.addresses()
        return saved


def _needs(model: Derivable) -> Needed:
    codes = codes_of(model._rows_to_derive(), train=True)
    calls = ["input_gradients"] + ["first_wrong_code"] * (model._codes is not None)
    return Needed(codes, calls, model.dtype, get_num_threads())
