"""Losses of arrays of their own, as Python calls them; compiled in `entries`."""

import functools
from typing import Any

import numpy as np

from .. import entries
from .functions import op_of_loss, value_op_of_loss
from .registry import BY_CODE


@functools.cache
def _function(code: int, dtype: np.dtype, alone: bool) -> int:
    loss = BY_CODE[code]
    return (value_op_of_loss(loss) if alone else op_of_loss(loss)).address(dtype)


def loss_and_gradient(  # arrays as Python has them
    code: int,
    z: Any,
    labels: Any,
    targets: Any,
    class_weight: Any,
    options: Any,
    sample_weight: Any,
    rows: Any,
    tasks: int,
    gradient: Any,
) -> float:
    """Compute a loss of the rows of z and its gradient; return the loss, the sum of the rows' as they count.

    code : of the loss, in `registry`
    z, gradient : (batch, n), read, written; None for no gradient: the loss has the same bits
    labels : (batch,) int64 class indices, or empty for a loss of other targets
    targets : (batch, n), or (batch, n / 2) for gaussian_nll, for the other losses
    class_weight : (n,), or empty for none; needed with label smoothing and with probabilities
    options : float64, see `registry`
    sample_weight : (batch,), or empty for none
    rows : (3, >= batch) float64, written: what each row counts for, its loss, and, beside a gradient, 1 where its
        label's is the first of the largest logits

    One task owns a range of rows.
    """
    loss, alone = BY_CODE[code], gradient is None
    if alone:  # an op of the value does not write, any other needs room
        gradient = z if "value" in loss.others else np.empty_like(z)
    value: float = entries.loss_of_rows(
        _function(code, z.dtype, alone),
        loss.terms(z.shape[1]),
        z,
        labels,
        targets,
        class_weight,
        options,
        sample_weight,
        rows,
        tasks,
        gradient,
    )
    return value
