"""Values and gradients of losses for arrays of any shape, as the functions of losses take them."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp.kernels import losses as kernels
from fastbp.nn.loss import Loss
from fastbp.nn.made_losses import by_output

__all__ = ["elementwise", "elementwise_by_output", "numbers", "rowwise"]

Array = NDArray[Any]


def numbers(x: Any, who: str, name: str, dtype: np.dtype[Any] | None = None) -> Array:
    """Return floats: of `dtype`, or float32 if x is that or narrower, else float64."""
    if dtype is None:
        given = np.asarray(x).dtype
        dtype = np.dtype(np.float32 if given.kind == "f" and given.itemsize <= 4 else np.float64)
    return check.floats(x, dtype, who, name)


def elementwise(loss: Loss, who: str, input: ArrayLike, target: ArrayLike, out: Array | None) -> tuple[Any, Array]:
    """Evaluate a loss of single elements for arrays of any shape."""
    z = numbers(input, who, "input")
    t = check.exact_shape(numbers(target, who, "target", z.dtype), z.shape, who, "target")
    if z.size == 0:
        raise ValueError(f"{who} expects input with at least one element, got {check.shape_text(z.shape)}")
    gradient = check.output(out, z.shape, z.dtype, who, z, t)
    # Without a reduction each element is a row of its own.
    shape = (z.size, 1) if loss.reduction == "none" else (z.shape[0] if z.ndim > 1 else 1, -1)
    value, _ = loss.evaluate(z.reshape(shape), t.reshape(shape), out=gradient.reshape(shape))
    return (value.reshape(z.shape) if loss.reduction == "none" else value), gradient


def elementwise_by_output(
    loss: Loss, entry: kernels.Loss, who: str, input: ArrayLike, target: ArrayLike, out: Array | None
) -> tuple[Any, Array]:
    """Evaluate a loss of single elements with a number for each output, which are along the last axis."""
    z = numbers(input, who, "input")
    t = numbers(target, who, "target", z.dtype)
    if z.size == 0 or z.ndim == 0:
        raise ValueError(f"{who} expects input with at least one element, got {check.shape_text(z.shape)}")
    outputs, width = z.shape[-1], loss.target_width(z.shape[-1])
    loss.check_outputs(outputs)
    check.exact_shape(t, (*z.shape[:-1], width), who, "target")
    gradient = check.output(out, z.shape, z.dtype, who, z, t)
    rows, targets, into = z.reshape(-1, outputs), t.reshape(-1, width), gradient.reshape(-1, outputs)
    if loss.reduction != "none":
        return loss.evaluate(rows, targets, out=into)[0], gradient
    assert entry.by_output is not None
    value = np.empty_like(rows)
    for j, number in enumerate(by_output(loss, entry, outputs, np.float64)):  # a column's elements are rows
        own: dict[str, Any] = {entry.by_output.name: float(number)}
        one = replace(loss, **own)
        column, of_column = np.ascontiguousarray(rows[:, j : j + 1]), np.ascontiguousarray(targets[:, j % width])
        value[:, j], slope = one.evaluate(column, of_column)
        into[:, j] = slope[:, 0]
    return value.reshape(z.shape), gradient


def rowwise(loss: Loss, who: str, input: ArrayLike, target: ArrayLike, out: Array | None) -> tuple[Any, Array]:
    """Evaluate a loss of whole rows."""
    z = numbers(input, who, "input")
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"{who} expects input of shape (batch, outputs), got {check.shape_text(z.shape)}")
    return loss.evaluate(z, target, out=out)
