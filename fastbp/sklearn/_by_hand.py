"""A loss and its gradients layer by layer: for L-BFGS, for dropout, and for losses that the kernels have not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from fastbp.nn.loss import Targets
from fastbp.nn.sequential import Sequential
from fastbp.sklearn._batches import Samples, piece_of, pieces
from fastbp.sklearn._networks import sum_of_squares
from fastbp.sklearn._objectives import Objective

Array = NDArray[Any]


def loss_and_gradients(
    model: Sequential, objective: Objective, x: Array, targets: Targets, weight: Array, masks: Sequence[Array] = ()
) -> float:
    """Return the weighted sum of the rows' losses; the model's gradients become those of it.

    masks : what the outputs of each hidden layer are multiplied with, or none
    """
    a = x
    for i, layer in enumerate(model.layers):
        a = layer.forward(a)
        if i < len(masks):
            a = a * masks[i]
    value, d = objective.value_and_gradient(a, targets, weight)
    if not masks:
        model.backward(d)
        return value
    for i in range(len(model.layers) - 1, -1, -1):
        d = model.layers[i].backward(d)
        if i > 0:
            d *= masks[i - 1]
    return value


def minimize(
    model: Sequential, samples: Samples, objective: Objective, alpha: float, callback: Any, **options: Any
) -> Any:
    """Minimize the loss of all samples by L-BFGS, over the model's parameters; return SciPy's result.

    Sparse rows are made dense a piece at a time.
    """
    weight = np.ones(len(samples)) if samples.weight is None else samples.weight.astype(np.float64)
    total = float(weight.sum())
    weight = weight / total
    all_targets = samples.targets
    whole = None if samples.sparse else samples.x[:]  # an array, converted once
    sums = np.empty(model._params.size)

    def loss_and_gradient(parameters: Array) -> tuple[float, Array]:
        model._params[...] = parameters
        value = 0.5 * alpha / total * sum_of_squares(model)
        sums[...] = 0.0
        for part in pieces(samples.x, samples.dtype):
            x, targets = (whole, all_targets) if whole is not None else piece_of(samples, part)
            value += loss_and_gradients(model, objective, x, targets, weight[part])
            sums[...] += model._grads
        start = 0
        for layer in model.layers:
            sums[start : start + layer._w.size] += alpha / total * layer._w.ravel()
            start += layer._params.size
        return value, sums.copy()

    result = scipy.optimize.minimize(
        loss_and_gradient, model._params.astype(np.float64), method="L-BFGS-B", jac=True, options=options,
        callback=callback,
    )  # fmt: skip
    model._params[...] = result.x
    return result
