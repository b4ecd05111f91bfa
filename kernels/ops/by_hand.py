"""A dense layer on arrays of its own, as Python calls it: a plan of one layer, made for the call."""

import functools
from typing import Any

import numpy as np
from numba import types

from ..activations import BY_CODE
from ..activations.compiled import functions_of
from ..compile.functions import element_type_of, entry, kernel
from ..compile.outlined import outlined
from ..compile.pointers import address_of, at
from ..compile.records import INT, POINTER, record
from ..linalg.matrix import Matrix, through
from ..run.frame import DX, FRAME_SIZE, GRADS, LAYERS, PARAMS, PLAN, WORK
from ..run.passes import backward_pass, copy_row, run_forward
from ..run.plan import (
    ABSENT,
    ACTIVATE,
    APPLY_SLOPE,
    BATCH_ROWS,
    COLUMNS,
    DB,
    DEPTH,
    DIFFERENTIATE,
    DW,
    EFFORT,
    FINISH,
    FLAGS,
    FORWARD,
    IN,
    INPUT_GRADIENT,
    LAST,
    LD,
    NOTHING,
    OUT,
    PARTIALS,
    SLOPE,
    SOURCE,
    WEIGHT_GRADIENT,
    A,
    B,
    D,
    W,
)
from .call import FIRST, PLACE, ROWS, new_span, row_at, run_row, table_of
from .dense import dense_forward as _forward
from .dense import dense_input_gradient as _input_gradient
from .dense import dense_weight_gradient as _weight_gradient

new_frame, new_rows = table_of(FRAME_SIZE), table_of(2 * COLUMNS)


@functools.cache
def functions(code: int, dtype: np.dtype, with_slope: bool) -> np.ndarray:
    """Return what the entries below take: a row of a plan with the addresses of an activation and of a dense layer."""
    real = element_type_of(dtype)
    row = np.full(COLUMNS, NOTHING)
    row[[FINISH, DIFFERENTIATE, ACTIVATE, APPLY_SLOPE]] = functions_of(BY_CODE[code], real, with_slope)
    row[FORWARD] = _forward.address(real)
    if with_slope:
        row[[INPUT_GRADIENT, WEIGHT_GRADIENT]] = _input_gradient.address(real), _weight_gradient.address(real)
    return row


@kernel
def start_row(frame, i, functions, ins, outs):
    """Write row i of a plan but for its places: (batch, ins) to (batch, outs), rows without room."""
    row = row_at(frame, i)
    for column in range(COLUMNS):
        row[column] = functions[column]
    row[IN], row[OUT], row[DEPTH], row[LD], row[EFFORT] = ins, outs, ins, outs, 2 * ins * outs
    row[SOURCE], row[FLAGS] = BATCH_ROWS, LAST
    return row


@kernel
def start_frame(frame, rows):
    """Write a frame whose places are addresses, for a plan of one row or two."""
    frame[PLAN], frame[LAYERS] = address_of(rows), 1
    frame[PARAMS], frame[GRADS], frame[WORK], frame[DX] = 0, 0, 0, 0


# What a dense layer is given: `batch` rows, `ins` and `outs` columns. `below` and `slope` are of the layer below;
# `biased` says whether there is a bias, `with_dx` whether dx is wanted.
Given = record(
    "Given", x=POINTER, w=POINTER, b=POINTER, a=POINTER, slope=POINTER, dz=POINTER, below=POINTER, partials=POINTER,
    dx=POINTER, dw=POINTER, db=POINTER, batch=INT, ins=INT, outs=INT, biased=INT, with_dx=INT,
)  # fmt: skip


def _types(dtype):
    ints = types.CPointer(types.int64)
    return types.void(Given.of(dtype), ints, ints, types.int64)


@outlined(_types)
def forward_of_layer(given, functions, below_functions, tasks):
    """`dense_forward`, on pointers."""
    frame, rows, span = new_frame(functions), new_rows(functions), new_span(functions)
    start_frame(frame, rows)
    row = start_row(frame, 0, functions, given.ins, given.outs)
    row[W], row[B] = address_of(given.w), address_of(given.b) if given.biased else ABSENT
    row[A], row[SLOPE] = address_of(given.a), address_of(given.slope)
    span[FIRST], span[ROWS], span[PLACE] = 0, given.batch, 0
    run_forward(given.x, frame, span, tasks)


@outlined(_types)
def backward_of_layer(given, functions, below_functions, tasks):
    """`dense_backward`, on pointers."""
    frame, rows, span = new_frame(functions), new_rows(functions), new_span(functions)
    start_frame(frame, rows)
    source = start_row(frame, 0, below_functions, given.ins, given.ins)
    source[A], source[SLOPE], source[D] = address_of(given.below), address_of(given.slope), address_of(given.dx)
    source[INPUT_GRADIENT], source[WEIGHT_GRADIENT] = NOTHING, NOTHING
    row = start_row(frame, 1, functions, given.ins, given.outs)
    row[W], row[D], row[PARTIALS] = address_of(given.w), address_of(given.dz), address_of(given.partials)
    row[DW], row[DB] = address_of(given.dw), address_of(given.db) if given.biased else ABSENT
    if given.with_dx:
        row[SOURCE] = 0
        span[FIRST], span[ROWS], span[PLACE] = 0, given.batch, 0
        run_row(INPUT_GRADIENT, given.x, frame, 1, span, tasks)
    row[SOURCE], row[INPUT_GRADIENT], frame[LAYERS] = BATCH_ROWS, NOTHING, 2
    backward_pass(given.x, frame, given.batch, False, tasks)


def _slope_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, p, p, p, i, i, i)


@outlined(_slope_types)
def slope_of_layer(da, a, slope, dz, apply_slope, rows, cols):
    """`activation_backward`, on pointers."""
    copy_row(da, dz, rows * cols)
    through(apply_slope, Matrix(dz, cols, rows, cols, 0), a, slope)


@entry
def _dense_forward(functions, x, w, b, tasks, a, slope):
    p = at(x, 0)
    given = Given(
        p, at(w, 0), at(b, 0), at(a, 0), at(slope, 0), p, p, p, p, p, p, x.shape[0], x.shape[1], w.shape[1],
        b.size > 0, 0,
    )  # fmt: skip
    forward_of_layer(given, at(functions, 0), at(functions, 0), tasks)


@entry
def _dense_backward(  # arrays as Python has them
    functions, below_functions, x, w, dz, below, slope, with_dx, partials, tasks, dx, dw, db
):
    p = at(x, 0)
    given = Given(
        p, at(w, 0), p, p, at(slope, 0), at(dz, 0), at(below, 0), at(partials, 0), at(dx, 0), at(dw, 0), at(db, 0),
        x.shape[0], x.shape[1], w.shape[1], db.size > 0, with_dx,
    )  # fmt: skip
    backward_of_layer(given, at(functions, 0), at(below_functions, 0), tasks)


@entry
def _activation_backward(apply_slope, da, a, slope, dz):
    rows, cols = da.shape
    slope_of_layer(at(da, 0), at(a, 0), at(slope, 0), at(dz, 0), apply_slope, rows, cols)


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
    _dense_forward(functions(activation, x.dtype, bool(with_slope)), x, w, b, tasks, a, slope)


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
    _dense_backward(own, source, x, w, dz, below, slope, bool(with_dx), partials, tasks, dx, dw, db)


def activation_backward(da: Any, activation: int, a: Any, slope: Any, dz: Any) -> None:
    """Compute ``dz = da * g'(z)``, for a gradient that comes from outside; all (batch, features), C-contiguous."""
    _activation_backward(functions(activation, da.dtype, True)[APPLY_SLOPE], da, a, slope, dz)
