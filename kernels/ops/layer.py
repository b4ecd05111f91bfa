"""A dense layer on arrays of its own: a plan of one layer, made for the call. `by_hand` calls it."""

from numba import types

from ..compile.functions import entry, kernel
from ..compile.outlined import outlined
from ..compile.pointers import address_of, at
from ..compile.records import INT, POINTER, record
from ..compile.signature import Int, Ints, Reals, Reals2
from ..linalg.matrix import Matrix, through
from ..run.batch import copy_row
from ..run.frame import DX, FRAME_SIZE, GRADS, LAYERS, PARAMS, PLAN, WORK
from ..run.passes import backward_pass
from ..run.plan import (
    ABSENT,
    ACROSS,
    BATCH_ROWS,
    COLUMNS,
    DB,
    DEPTH,
    DW,
    EFFORT,
    FLAGS,
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
from ..run.segments import run_forward
from .call import FIRST, PLACE, ROWS, new_span, row_at, run_row, table_of

new_frame, new_rows = table_of(FRAME_SIZE), table_of(2 * COLUMNS)


@kernel
def start_row(frame, i, functions, ins, outs):
    """Write row i of a plan but for its places: (batch, ins) to (batch, outs), rows without room."""
    row = row_at(frame, i)
    for column in range(COLUMNS):
        row[column] = functions[column]
    row[IN], row[OUT], row[DEPTH], row[ACROSS], row[LD], row[EFFORT] = ins, outs, ins, outs, outs, 2 * ins * outs
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
    run_forward(given.x, frame, -1, 1, span, tasks)


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
def layer_forward(  # arrays as Python has them
    functions: Ints, x: Reals2, w: Reals2, b: Reals, tasks: Int, a: Reals2, slope: Reals2
) -> None:
    p = at(x, 0)
    given = Given(
        p, at(w, 0), at(b, 0), at(a, 0), at(slope, 0), p, p, p, p, p, p, x.shape[0], x.shape[1], w.shape[1],
        b.size > 0, 0,
    )  # fmt: skip
    forward_of_layer(given, at(functions, 0), at(functions, 0), tasks)


@entry
def layer_backward(  # arrays as Python has them
    functions: Ints,
    below_functions: Ints,
    x: Reals2,
    w: Reals2,
    dz: Reals2,
    below: Reals2,
    slope: Reals2,
    with_dx: Int,
    partials: Reals,
    tasks: Int,
    dx: Reals2,
    dw: Reals2,
    db: Reals,
) -> None:
    p = at(x, 0)
    given = Given(
        p, at(w, 0), p, p, at(slope, 0), at(dz, 0), at(below, 0), at(partials, 0), at(dx, 0), at(dw, 0), at(db, 0),
        x.shape[0], x.shape[1], w.shape[1], db.size > 0, with_dx,
    )  # fmt: skip
    backward_of_layer(given, at(functions, 0), at(below_functions, 0), tasks)


@entry
def layer_slope(apply_slope: Int, da: Reals2, a: Reals2, slope: Reals2, dz: Reals2) -> None:
    rows, cols = da.shape
    slope_of_layer(at(da, 0), at(a, 0), at(slope, 0), at(dz, 0), apply_slope, rows, cols)
