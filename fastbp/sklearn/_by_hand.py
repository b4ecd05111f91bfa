"""A loss and its gradients by the phases of a step: for L-BFGS and dropout."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from fastbp._base.calls import Calls
from fastbp._base.sparse import StoredRows, expect_unspoiled
from fastbp._base.threads import get_num_threads
from fastbp.kernels.compile.expected import Needed, expect
from fastbp.kernels.ops.fill import codes_of, fill
from fastbp.nn.loss import Targets
from fastbp.nn.planned import PlannedPass
from fastbp.nn.sequential import Sequential
from fastbp.sklearn._batches import Samples
from fastbp.sklearn._networks import sum_of_squares
from fastbp.sklearn._objectives import Objective

Array = NDArray[Any]


class Passes:
    """Passes of a model forward and back, over up to so many rows.

    Parameters
    ----------
    model : Sequential
    rows : int
    sparse : bool
        Whether they are `StoredRows`.
    """

    def __init__(self, model: Sequential, rows: int, sparse: bool) -> None:
        expect(_needs_of_passes, model, sparse)
        plan, layout = model._plan(rows, train=True, sparse=sparse)
        fill(plan, model.dtype, train=True)
        self._forward_calls, self._backward_calls = Calls(), Calls()
        self._model, self._pass = model, PlannedPass((plan, layout), model._params, model._grads)

    def loss_and_gradients(self, objective: Objective, x: Array | StoredRows, targets: Targets, weight: Array) -> float:
        """Return the weighted sum of the rows' losses; the model's gradients become those of it."""
        if isinstance(x, StoredRows):
            expect_unspoiled(x, "MLP", "X")
        count, work = len(x), self._model._work * len(x)
        tasks, began, kind = self._forward_calls.begin(count, work)
        z = self._pass.forward(x, self._model.out_features, tasks)
        if kind is not None:
            kind.end(tasks, began, count)
        value, d = objective.value_and_gradient(z, targets, weight)
        tasks, began, kind = self._backward_calls.begin(count, 2 * work)
        self._pass.backward(d, tasks)
        if kind is not None:
            kind.end(tasks, began, count)
        return value


def _needs_of_passes(model: Sequential, sparse: bool) -> Needed:
    codes = codes_of(model._rows_for(sparse=sparse, train=True), train=True)
    return Needed(codes, ["forward_batch", "backward_batch", "loss_of_rows"], model.dtype, get_num_threads())


def with_dropout(
    model: Sequential, objective: Objective, x: Array, targets: Targets, weight: Array, masks: Sequence[Array]
) -> float:
    """Return the weighted sum of the rows' losses, layer by layer; the model's gradients become those of it.

    masks : what the outputs of each hidden layer are multiplied with
    """
    a = x
    for i, layer in enumerate(model.layers):
        a = layer.forward(a)
        if i < len(masks):
            a = a * masks[i]
    value, d = objective.value_and_gradient(a, targets, weight)
    for i in range(len(model.layers) - 1, -1, -1):
        d = model.layers[i].backward(d)
        if i > 0:
            d *= masks[i - 1]
    return value


def minimize(
    model: Sequential, samples: Samples, objective: Objective, alpha: float, callback: Any, **options: Any
) -> Any:
    """Minimize the loss of all samples by L-BFGS, over the model's parameters; return SciPy's result."""
    weight = np.ones(len(samples)) if samples.weight is None else samples.weight.astype(np.float64)
    total = float(weight.sum())
    weight = weight / total
    passes = Passes(model, len(samples), samples.sparse)
    rows = samples.rows if isinstance(samples.rows, StoredRows) else samples.rows[:]  # an array, converted once

    def gradient_with_penalty(decay: float) -> NDArray[np.float64]:
        gradient, start = np.empty(model._grads.size), 0  # SciPy keeps it
        for layer in model.layers:
            end = start + layer._params.size
            of_weights = gradient[start : start + layer._w.size]
            np.multiply(layer._w.reshape(-1), decay, out=of_weights)  # rounded as the weights are
            gradient[start + layer._w.size : end] = 0.0
            gradient[start:end] += model._grads[start:end]
            start = end
        return gradient

    def loss_and_gradient(parameters: Array) -> tuple[float, Array]:
        model._params[...] = parameters
        value = 0.5 * alpha / total * sum_of_squares(model)
        value += passes.loss_and_gradients(objective, rows, samples.targets, weight)
        return value, gradient_with_penalty(alpha / total)

    result = scipy.optimize.minimize(
        loss_and_gradient, model._params.astype(np.float64), method="L-BFGS-B", jac=True, options=options,
        callback=callback,
    )  # fmt: skip
    model._params[...] = result.x
    return result
