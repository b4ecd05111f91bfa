"""Losses as functions that return value and gradient. Each means what PyTorch's of that name means."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp.kernels import entries
from fastbp.nn.array_losses import elementwise, elementwise_by_output, numbers
from fastbp.nn.loss import REDUCTIONS
from fastbp.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, positive_eps
from fastbp.nn.made_functions import FUNCTIONS

__all__ = ["binary_cross_entropy_with_logits", "gaussian_nll_loss", "mse_loss", "softmax_cross_entropy"]

Array = NDArray[Any]


def softmax_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    out: Array | None = None,
) -> tuple[Any, Array]:
    """Return the cross-entropy of softmax(logits) against targets, and its gradient.

    For a row with target distribution q the loss is ``-sum_c q_c log softmax(z)_c`` in nats and its gradient
    ``softmax(z) - q``. It means what ``torch.nn.functional.cross_entropy`` means, in all options, but see the notes.

    Parameters
    ----------
    logits : array_like of shape (batch, classes)
        float32 or float64; other numbers are converted.
    targets : array_like of shape (batch,), (batch, 1) or (batch, classes)
        Class indices, whole numbers of any type, or for each sample a float row of probabilities, or a row of integers
        or bools with a single 1.
    weight : array_like of shape (classes,), optional
        A weight for each class. It may be negative; where the weights of the labels cancel, the mean divides by 0.
    ignore_index : int, default -100
        Rows with this label have loss 0 and gradient 0, whatever their logits.
    label_smoothing : float in [0, 1], default 0.0
        The part of each target that is spread over all classes.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the sum of the labels' weights (for probabilities: by batch), "sum" adds the rows, "none"
        returns each row's own loss and gradient.
    out : ndarray of shape (batch, classes), optional
        Receives the gradient.

    Returns
    -------
    loss : float, or ndarray of shape (batch,) for "none"
        In nats. NaN if all rows are ignored and the mean is asked for.
    gradient : ndarray of shape (batch, classes)
        Of the loss by the logits.

    Raises
    ------
    TypeError
        If targets or logits have a dtype that fits no reading.
    ValueError
        If a shape does not fit, there is no row, a label is out of range, or an option is.

    Notes
    -----
    Where this is not PyTorch's value, and why:

    - ``0 log 0`` is 0. A class with target 0, or of weight 0, costs nothing although its logit is -inf, as a masked
      class's is; PyTorch's loss is NaN then.
    - An ignored row has the gradient 0 whatever its logits. PyTorch's is NaN for logits of NaN or +inf, or all -inf:
      the loss looks right, and the next update makes all weights NaN.
    - An empty batch is an error. PyTorch's mean over no row is NaN, and a step of it does nothing.
    - Where all labels are of classes of weight 0 the mean is NaN as in PyTorch, but the gradient 0.

    As in PyTorch, the loss and the gradient of a row that counts are NaN where a logit is NaN or +inf, or all are -inf;
    the loss is +inf where the label's logit is -inf; and probabilities need not sum to 1: the gradient is
    ``sum(q) softmax(z) - q``.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> loss, gradient = fastbp.softmax_cross_entropy(np.zeros((1, 4)), [2])
    >>> round(loss, 4), gradient
    (1.3863, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """
    who = "softmax_cross_entropy"
    loss = CrossEntropyLoss(
        weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction
    )
    z = numbers(logits, who, "logits")
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"{who} expects logits of shape (batch, classes), got {check.shape_text(z.shape)}")
    return loss.evaluate(z, targets, out=out)


def mse_loss(
    input: ArrayLike, target: ArrayLike, *, reduction: str = "mean", out: Array | None = None
) -> tuple[Any, Array]:
    """Return the squared error ``(input - target)**2`` and its gradient by `input`.

    Parameters
    ----------
    input, target : array_like of one shape
        Predictions and true values.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the number of elements, "none" returns each element's own loss and gradient.
    out : ndarray, optional
        Receives the gradient.

    Returns
    -------
    loss : float, or ndarray for "none"
    gradient : ndarray

    Raises
    ------
    ValueError
        If the shapes differ or are empty.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.mse_loss([1.0, 2.0], [1.0, 4.0])
    (2.0, array([ 0., -2.]))
    """
    return elementwise(MSELoss(reduction=reduction), "mse_loss", input, target, out)


def binary_cross_entropy_with_logits(
    input: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    reduction: str = "mean",
    out: Array | None = None,
) -> tuple[Any, Array]:
    """Return ``-t log s(z) - (1 - t) log(1 - s(z))``, s the logistic function, and its gradient by the logits z.

    An infinite logit that is certain and right costs 0, where PyTorch's loss is NaN; one that is wrong costs +inf.

    Parameters
    ----------
    input, target : array_like of one shape
        Logits, and probabilities in 0..1.
    pos_weight : float or array_like, optional
        What the first term of the loss is multiplied with: one number, or one for each place along the last axis.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the number of elements, "none" returns each element's own loss and gradient.
    out : ndarray, optional
        Receives the gradient.

    Returns
    -------
    loss : float, or ndarray for "none"
        In nats.
    gradient : ndarray

    Raises
    ------
    ValueError
        If the shapes differ or are empty.

    Examples
    --------
    >>> import fastbp
    >>> loss, gradient = fastbp.binary_cross_entropy_with_logits([0.0], [1.0])
    >>> round(loss, 4), gradient
    (0.6931, array([-0.5]))
    """
    who = "binary_cross_entropy_with_logits"
    loss = BCEWithLogitsLoss(pos_weight=pos_weight, reduction=reduction)
    if isinstance(loss.pos_weight, tuple):
        return elementwise_by_output(loss, loss._weighted, who, input, target, out)
    return elementwise(loss, who, input, target, out)


def gaussian_nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    var: ArrayLike,
    *,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
    out: Array | None = None,
    var_out: Array | None = None,
) -> tuple[Any, Array]:
    """Return the negative log-likelihood of normal distributions, and its gradient by their means.

    ``(log var + (input - target)**2 / var) / 2``, with ``log(2 pi) / 2`` added in the full form: then ``exp(-loss)`` is
    the probability density.

    Parameters
    ----------
    input, target : array_like of one shape
        Means, and the values observed.
    var : array_like
        Variances, not negative; of the same shape, or one that broadcasts to it.
    full : bool, default False
        Whether to add the constant.
    eps : float, default 1e-6
        Smaller variances count as this.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the number of elements, "none" returns each element's own loss and gradient.
    out, var_out : ndarray of input's shape, optional
        Receive the gradients by `input` and by `var` (element by element, before any broadcasting).

    Returns
    -------
    loss : float, or ndarray for "none"
        In nats.
    gradient : ndarray
        By `input`.

    Raises
    ------
    ValueError
        If shapes do not fit, a variance is negative, or eps is not a positive normal number of input's dtype.

    Examples
    --------
    >>> import math, fastbp
    >>> loss, _ = fastbp.gaussian_nll_loss([4.0], [5.0], [0.25], full=True)
    >>> round(math.exp(-loss), 3)  # the density at 5 of a normal with mean 4 and sd 0.5
    0.108
    """
    who = "gaussian_nll_loss"
    check.choice(reduction, REDUCTIONS, who, "reduction")
    mean = numbers(input, who, "input")
    t = check.exact_shape(numbers(target, who, "target", mean.dtype), mean.shape, who, "target")
    variance = numbers(var, who, "var", mean.dtype)
    if mean.size == 0:
        raise ValueError(f"{who} expects input with at least one element, got {check.shape_text(mean.shape)}")
    if variance.ndim == mean.ndim - 1 and variance.shape == mean.shape[:-1] and variance.shape != mean.shape[1:]:
        variance = variance[..., None]  # one for each row, as in PyTorch
    try:
        if variance.shape != mean.shape:
            variance = np.broadcast_to(variance, mean.shape).copy()
    except ValueError:
        shapes = check.shape_text(mean.shape), check.shape_text(variance.shape)
        raise ValueError(f"{who} expects var that broadcasts to {shapes[0]}, got {shapes[1]}") from None
    if (variance < 0).any():
        raise ValueError(f"{who} expects var that is not negative, got {variance.min()}")
    smallest = positive_eps(eps, who, mean.dtype)
    gradient = check.output(out, mean.shape, mean.dtype, who, mean, t, variance)
    var_gradient = check.output(var_out, mean.shape, mean.dtype, who, mean, t, variance, gradient)
    shape = (mean.size, 1) if reduction == "none" else (mean.shape[0] if mean.ndim > 1 else 1, -1)
    scale = 1.0 / mean.size if reduction == "mean" else 1.0
    losses = np.empty(mean.reshape(shape).shape[0])
    number = mean.dtype.type
    entries.gaussian_nll(
        mean.reshape(shape),
        t.reshape(shape),
        variance.reshape(shape),
        number(scale),
        number(smallest),
        number(0.5 * math.log(2 * math.pi) if full else 0.0),
        losses,
        gradient.reshape(shape),
        var_gradient.reshape(shape),
    )
    if reduction == "none":
        return losses.reshape(mean.shape).astype(mean.dtype), gradient
    return float(losses.sum() * scale), gradient


globals().update(FUNCTIONS)  # those of the kernels' table too
