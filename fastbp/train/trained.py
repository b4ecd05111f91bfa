"""What is trained, and by what: a model, a loss, an optimizer with its state, and averages of the parameters."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import memory
from fastbp._base.guard import Guarded, refuse_overrides
from fastbp.kernels import optimizers as updates
from fastbp.nn.loss import Loss
from fastbp.nn.sequential import Sequential
from fastbp.train.alone import Alone
from fastbp.train.averages import evaluated
from fastbp.train.groups import group_table
from fastbp.train.optimizers import Optimizer

Array = NDArray[Any]


class Trained(Guarded):
    """What a trainer holds from its beginning to its end. All arguments are checked."""

    _fewest_rows: int = 1  # of a batch

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        optimizer: Optimizer,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema: float | None = None,
        total_steps: int | None = None,
    ) -> None:
        self._model, self._loss, self._optimizer = model, loss, optimizer
        self._fewest_rows = model._fewest_rows
        self._target_width = loss.target_width(model._outputs)
        self._code = optimizer.code
        dtype, size = model.dtype, model._params.size
        arrays = updates.STATE_ARRAYS[self._code]
        self._state = memory.zeros((arrays + (ema is not None)) * size, dtype)
        if begins := optimizer.numbers()[updates.INITIAL]:
            self._state[: arrays * size] = begins
        if ema is not None:  # the averages are the last array
            self._state[arrays * size :] = model._params
        self._hyper = np.zeros(updates.HYPER_SIZE)
        self._hyper[[updates.FIRST_POWER, updates.SECOND_POWER, updates.MOMENTUM_POWER]] = 1.0
        self._hyper[[updates.CLIP_VALUE, updates.CLIP_NORM]] = clip_value or 0.0, clip_norm or 0.0
        self._hyper[updates.AVERAGING] = ema or 0.0
        self._groups = group_table(optimizer.groups, model, type(optimizer).__name__)
        self._options = loss.options()
        self._total_steps = total_steps
        self._alone = Alone()

    @property
    def model(self) -> Sequential:
        """The model that is trained; another one needs a trainer of its own."""
        return self._model

    @property
    def loss(self) -> Loss:
        """The loss; another one needs a trainer of its own."""
        return self._loss

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer; one of the same kind may take its place between steps."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"Trainer expects optimizer to be an optimizer, got {type(optimizer).__name__}")
        refuse_overrides(optimizer, "Trainer", "an optimizer")
        self._optimizer = optimizer

    @property
    def clip_norm(self) -> float | None:
        """The largest norm of all gradients together that an update takes, or None."""
        return float(self._hyper[updates.CLIP_NORM]) or None

    @property
    def clip_value(self) -> float | None:
        """The largest gradient that an update takes, or None."""
        return float(self._hyper[updates.CLIP_VALUE]) or None

    @property
    def ema(self) -> float | None:
        """What the averages of the parameters keep of themselves in a step, or None where there are none."""
        return float(self._hyper[updates.AVERAGING]) or None

    @property
    def _averages(self) -> Array | None:
        """The averages of the parameters, once there are any."""
        if not self._hyper[updates.AVERAGING] or not self._hyper[updates.STEPS]:
            return None
        return self._state[-self._model._params.size :]

    def _kept(self) -> dict[str, Array]:
        """Return a copy of what is evaluated, by name: for `_bring_back`."""
        return self._model._kept() | {"params": evaluated(self._model, self._averages)}

    def _bring_back(self, kept: Mapping[str, Array]) -> None:
        """Set what `_kept` returned, the averages of the parameters to these where there are any."""
        self._model._bring_back(kept)
        if self._averages is not None:
            self._averages[...] = self._model._params

    @property
    def total_steps(self) -> int | None:
        """How many updates the schedules of this trainer span, or None: those of each `fit`."""
        return self._total_steps
