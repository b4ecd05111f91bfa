"""A model forward and back through its plan, where its layers do not compute by themselves."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import memory
from fastbp._base.sparse import StoredRows
from fastbp.kernels import entries
from fastbp.kernels.optimizers import HYPER_SIZE
from fastbp.kernels.run.frame import DX, RECORD_ROWS, SETTINGS_SIZE, STORED, Frame
from fastbp.kernels.run.plan import SIZE, set_stored

Array = NDArray[Any]


class PlannedPass:
    """What a forward pass keeps for the backward pass after it.

    plan : plan and layout with ``train=True``, filled, for the rows of the batch
    """

    x: Array | StoredRows

    def __init__(self, plan: tuple[Array, Array], params: Array, grads: Array) -> None:
        rows, layout = plan
        none = np.empty(0, params.dtype)
        self._frame = Frame(
            rows, layout, np.zeros(SETTINGS_SIZE, np.int64), np.zeros(HYPER_SIZE), np.zeros(0), params, grads, none,
            memory.zeros(int(layout[SIZE]), params.dtype), np.zeros((3, 0)), none, np.zeros(0, np.int64),
            np.zeros((RECORD_ROWS, 1)),
        )  # fmt: skip
        self._addresses = self._frame.addresses()

    def forward(self, x: Array | StoredRows, out_features: int, tasks: int) -> Array:
        """Return the output of the last layer."""
        self.x, self._given = x, x
        if isinstance(x, StoredRows):
            set_stored(self._frame.plan, x.stored, len(x), len(x))
            self._given, self._table = x.stand_in, x.table()
            self._addresses[STORED] = self._table.ctypes.data
        out = np.empty((len(x), out_features), x.dtype)
        entries.forward_batch(self._addresses, self._given, out, tasks)
        return out

    def backward(self, dout: Array, tasks: int, dx: Array | None = None) -> None:
        """Write all gradients from that of the output, and to `dx` that of a dense input."""
        self._addresses[DX] = 0 if dx is None else dx.ctypes.data
        entries.backward_batch(self._addresses, self._given, dout, tasks)
