"""Outputs of a network with members: a row for each, as losses take them, and their average, as metrics do."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp.nn.loss import Loss

__all__ = ["average_members", "averaged_for", "each_member"]

Array = NDArray[Any]
# What outputs may be, see `Loss._says`, whose averages are not those of numbers
KINDS = ("classes", "labels")


def average_members(outputs: ArrayLike, members: int, what: str = "numbers") -> Array:
    """Return the average of the members' outputs, (rows, outputs).

    Parameters
    ----------
    outputs : array_like of shape (rows, members * outputs)
        As `Sequential.predict` returns them.
    members : int
        ``model.members``.
    what : {"numbers", "classes", "labels"}, default "numbers"
        What they are. Numbers are averaged as they are. Of logits of classes the probabilities are: their softmax is
        the average of the members' softmaxes. Of logits of labels, each true or not, so are the sigmoids.

    Returns
    -------
    ndarray of shape (rows, outputs)

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or shape.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> fastbp.average_members([[1.0, 10.0, 3.0, 20.0]], 2)
    array([[ 2., 15.]])
    >>> z = fastbp.average_members(np.log([[0.9, 0.1, 0.5, 0.5]]), 2, "classes")
    >>> np.exp(z).round(2)
    array([[0.7, 0.3]])
    """
    check.choice(what, {"numbers": None, **dict.fromkeys(KINDS)}, "average_members", "what")
    members = check.integer(members, "average_members", "members")
    z = np.asarray(outputs)
    if z.ndim != 2 or z.shape[1] % members or z.dtype.kind != "f":
        raise ValueError(
            f"average_members expects outputs of shape (rows, {members} * outputs), got an array of shape "
            f"{check.shape_text(z.shape)} and dtype {z.dtype}"
        )
    each = z.reshape(len(z), members, z.shape[1] // members)
    if members == 1:
        return each[:, 0]
    if what == "numbers":
        return np.asarray(each.mean(axis=1, dtype=np.float64).astype(z.dtype))
    each = each.astype(np.float64)
    if what == "classes":
        found = _log_mean(each - np.logaddexp.reduce(each, axis=2, keepdims=True))
    else:
        found = _log_mean(-np.logaddexp(0.0, -each)) - _log_mean(-np.logaddexp(0.0, each))
    return np.asarray(found.astype(z.dtype))


def _log_mean(logarithms: Array) -> Array:
    """Return the logarithm of the mean over members, (rows, outputs)."""
    return np.asarray(np.logaddexp.reduce(logarithms, axis=1) - np.log(logarithms.shape[1]))


def averaged_for(loss: Loss, z: Array, members: int) -> Array:
    """Return outputs as metrics judge them."""
    return z if members == 1 else average_members(z, members, loss._says if loss._says in KINDS else "numbers")


def each_member(loss: Loss, z: Array, y: Any, weight: Any, members: int) -> tuple[Array, Any, Any]:
    """Return outputs, targets and weights as a loss takes them: with a row for each member; weights may be None."""
    if members == 1 or not loss._of_members:
        return z, y, weight
    rows = z.reshape(len(z) * members, z.shape[1] // members)
    return rows, np.repeat(np.asarray(y), members, axis=0), None if weight is None else np.repeat(weight, members)
