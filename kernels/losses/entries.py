"""Losses as Python calls them."""

from ..activations import IDENTITY
from ..compile.functions import entry
from ..compile.pointers import at
from ..simd.rows import summed
from .compiled import loss
from .gaussian_nll import gaussian_variance
from .labels import first_wrong

gaussian_variance_row = summed(gaussian_variance, reads=3, writes=2, numbers=3)


@entry
def first_wrong_label(labels, classes, ignore_index):
    """`first_wrong`, for Python."""
    return first_wrong(labels, classes, ignore_index)


@entry
def loss_and_gradient(code, z, labels, targets, class_weight, options, sample_weight, rows, tasks, gradient):
    """Compute a loss and its gradient, return the loss; see `loss`.

    z, gradient : (batch, n), read, written
    targets : (batch, n), or (batch, n / 2) for GAUSSIAN_NLL
    """
    batch, n = z.shape
    value, _ = loss(
        code, z.reshape(z.size), 0, n, 0, batch, n, labels, targets.reshape(targets.size), 0, targets.shape[1],
        class_weight, options, sample_weight, rows, IDENTITY, z.reshape(z.size), 0, gradient.reshape(gradient.size),
        0, tasks,
    )  # fmt: skip
    return value


@entry
def gaussian_nll(mean, target, var, scale, eps, constant, losses, dmean, dvar):
    """Compute the Gaussian negative log-likelihood with given variances; gradients times `scale`.

    mean, target, var : (rows, n), read
    losses : (rows,) float64, written: each row's sum
    dmean, dvar : (rows, n), written
    """
    n = mean.shape[1]
    for i in range(mean.shape[0]):
        o = i * n
        losses[i] = gaussian_variance_row(
            at(mean, o), at(target, o), at(var, o), at(dmean, o), at(dvar, o), scale, eps, constant, n
        )
