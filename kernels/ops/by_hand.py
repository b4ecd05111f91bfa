"""A dense layer on arrays of its own, as Python calls it; compiled in `layer`."""

import functools
from typing import Any

import numpy as np

from .. import entries
from ..activations import BY_CODE
from ..activations.functions import functions_of
from ..run.plan import (
    ACTIVATE,
    APPLY_SLOPE,
    COLUMNS,
    DIFFERENTIATE,
    FINISH,
    FORWARD,
    INPUT_GRADIENT,
    MEMBERS,
    NOTHING,
    WEIGHT_GRADIENT,
)
from .kinds import DENSE


@functools.cache
def functions(code: int, dtype: np.dtype, with_slope: bool) -> np.ndarray:
    """Return what the entries take: a row of a plan with the addresses of an activation and of a dense layer."""
    row = np.full(COLUMNS, NOTHING)
    row[MEMBERS] = 1
    row[[FINISH, DIFFERENTIATE, ACTIVATE, APPLY_SLOPE]] = functions_of(BY_CODE[code], dtype, with_slope)
    ops = DENSE.functions()
    row[FORWARD] = ops.forward.address(dtype)
    if with_slope:
        row[[INPUT_GRADIENT, WEIGHT_GRADIENT]] = [op.address(dtype) for op in (ops.input_gradient, ops.weight_gradient)]
    return row


def dense_forward(  # arrays as Python has them
    x: Any, w: Any, b: Any, activation: int, with_slope: bool, tasks: int, a: Any, slope: Any
) -> None:
    """Compute a dense layer: ``Z = X @ W + b``, ``A = g(Z)``, and ``g'(Z)`` for the backward pass.

    x : (batch, in_features), read
    w : (in_features, out_features), read
    b : (out_features,), or empty for no bias; read
    activation : code from `activations`
    with_slope : whether to write `slope`
    a : (batch, out_features), written
    slope : (batch, out_features), written where `with_slope` and the activation stores one, else untouched

    One task owns one block of A and reduces it over all of in_features.
    """
    entries.layer_forward(functions(activation, x.dtype, bool(with_slope)), x, w, b, tasks, a, slope)


def dense_backward(  # arrays as Python has them
    x: Any,
    w: Any,
    dz: Any,
    below_activation: int,
    below: Any,
    slope: Any,
    with_dx: bool,
    partials: Any,
    tasks: int,
    dx: Any,
    dw: Any,
    db: Any,
) -> None:
    """Compute the gradients of a dense layer: ``dW = X.T @ dZ``, ``db = dZ.sum(0)``, ``dX = dZ @ W.T * g'``.

    x : (batch, in_features), read: the layer's input, the output of the layer below
    w : (in_features, out_features), read
    dz : (batch, out_features), read
    below_activation, below, slope : the layer below: its activation's code, and as this needs them its output and
        stored slope, (batch, in_features), read. With IDENTITY, dx is the plain ``dZ @ W.T``.
    with_dx : whether to compute dx
    partials : room for ``gradient_chunks(...) * (in_features + 1) * out_features`` elements where that is several
    dx : (batch, in_features), written where `with_dx`: dz of the layer below
    dw : (in_features, out_features), written
    db : (out_features,), or empty for no bias; written

    One task owns one block of dX or of dW. A small dW over a large batch is summed in fixed chunks of the batch.
    """
    own, source = functions(0, x.dtype, True), functions(below_activation, x.dtype, True)
    entries.layer_backward(own, source, x, w, dz, below, slope, bool(with_dx), partials, tasks, dx, dw, db)


def activation_backward(da: Any, activation: int, a: Any, slope: Any, dz: Any) -> None:
    """Compute ``dz = da * g'(z)``, for a gradient that comes from outside; all (batch, features), C-contiguous."""
    entries.layer_slope(functions(activation, da.dtype, True)[APPLY_SLOPE], da, a, slope, dz)
