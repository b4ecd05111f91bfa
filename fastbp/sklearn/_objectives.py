"""What is minimized: scikit-learn's losses in the words of fastbp's kernels.

scikit-learn divides the sum over a batch's rows by the sum of their weights. Its squared error is halved; over several
outputs `loss_` is the mean, but the gradient that of the sum.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.kernels.losses.poisson_nll import DEVIANCE, FULL
from fastbp.nn.loss import Loss, Targets, loss_and_gradient
from fastbp.nn.losses import LOSSES, BCEWithLogitsLoss, CrossEntropyLoss, GaussianNLLLoss, MSELoss

Array = NDArray[Any]


@dataclass
class Objective:
    """A loss that fastbp's kernels know.

    Attributes
    ----------
    loss : Loss
    weight_scale : float
        What a row's gradient is multiplied with.
    value_scale : float
        What the loss that is so weighted is multiplied with, to be what `loss_` says.
    smoothing : float
        The part of a yes or no that is spread over both; `CrossEntropyLoss` smooths by itself.
    """

    loss: Loss
    weight_scale: float = 1.0
    value_scale: float = 1.0
    smoothing: float = 0.0

    def options(self, reduction: str | None = None) -> NDArray[np.float64]:
        """Return the kernels' options."""
        return self.loss.options(reduction)

    def targets(self, y: Array, outputs: int, dtype: np.dtype[Any]) -> Targets:
        """Return targets as the kernels take them; a class out of many comes as a row with one 1."""
        if isinstance(self.loss, CrossEntropyLoss):
            y = y.argmax(axis=1)
        elif self.smoothing:
            y = y + self.smoothing * (0.5 - y)
        targets = self.loss.targets(y, len(y), outputs, dtype)
        return targets._replace(values=targets.values[:])  # an array, for the solvers that take whole ones

    def value_and_gradient(self, z: Array, targets: Targets, weight: Array) -> tuple[float, Array]:
        """Return the sum of the rows' losses times their weights, and its gradient by the network's outputs."""
        gradient = np.empty_like(z)
        counts = (self.weight_scale * weight).astype(z.dtype, copy=False)
        value = loss_and_gradient(z, targets, self.options("sum"), counts, np.zeros((3, len(z))), gradient)
        return self.value_scale * value, gradient


class Poisson(Objective):
    """Half the Poisson deviance of ``exp(z)``."""

    def options(self, reduction: str | None = None) -> NDArray[np.float64]:
        """Return the kernels' options."""
        options = super().options(reduction)
        options[FULL] = DEVIANCE
        return options


def softmax(label_smoothing: float) -> Objective:
    """Return the cross-entropy of one class out of many."""
    return Objective(CrossEntropyLoss(label_smoothing=label_smoothing, reduction="sum"))


def logistic(label_smoothing: float) -> Objective:
    """Return the cross-entropy of yes or no, for each output."""
    return Objective(BCEWithLogitsLoss(reduction="sum"), smoothing=label_smoothing)


def regression(name: str, n_targets: int) -> Objective:
    """Return a regressor's loss: "squared_error", "poisson" or "gaussian_nll"."""
    if name == "poisson":
        return Poisson(LOSSES["poisson_nll"](reduction="sum"))
    if name == "gaussian_nll":
        return Objective(GaussianNLLLoss(reduction="sum"))
    return Objective(MSELoss(reduction="sum"), weight_scale=0.5, value_scale=1 / n_targets)


def subset(targets: Targets, rows: Any) -> Targets:
    """Return the targets of some rows."""
    labels = targets.labels[rows] if targets.labels.size else targets.labels
    values = targets.values[rows] if targets.values.size else targets.values
    return targets._replace(labels=labels, values=values)
