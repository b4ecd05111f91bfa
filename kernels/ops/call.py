"""Ops: compiled functions of one signature, of which a plan holds the addresses. So a step names no layer kind.

``f(x, frame, row, span, pieces, piece)`` does one of so many pieces of an op's work on some rows of a batch.

x : the batch: row r of the workspace is row r of x; its type tells the element type
frame : the addresses of a trainer's arrays, see `run.frame`
row : the op's row of the plan, see `run.plan`
span : which rows, and more, see below

An op reads and writes what its row of the plan and those of its sources say, and nothing else.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from .._numba import cgutils
from ..compile.functions import kernel
from ..compile.outlined import Outlined, called_by_address
from ..compile.pointers import at, pointer_to
from ..compile.region import shared
from ..linalg.tasks import worth
from ..run.frame import LAYERS, PLAN
from ..run.plan import COLUMNS, EFFORT, MEMBERS, NOTHING
from ..simd.lanes import I64, make_intrinsic

# Entries of a span. FIRST and ROWS: which rows of the workspace; PLACE: the place of the first of them in the batch.
# For a weight gradient also BATCH, PARTS, PART, PART_END: the rows are those from part PART to before PART_END of a
# batch in so many parts; MODE: flags of `simd.microkernel`, ACCUMULATE to go on from what stands in the sums and TAKE;
# INTO: the number of the partial sum that is wanted, or GRADIENT; UPDATES: whether the parameters are updated at once.
# For a loss also LABELS and TARGETS, addresses of those of the first row, and WIDTH, numbers of a row of targets.
# Who runs ops counts rows of the batch; where these have several MEMBERS each, the op counts the rows of all members:
# see `of_members`.
(
    FIRST, ROWS, PLACE, BATCH, PARTS, PART, PART_END, MODE, INTO, UPDATES, LABELS, TARGETS, WIDTH, SPAN_SIZE,
) = range(14)  # fmt: skip
GRADIENT = -1


def op_types(dtype: types.Float) -> Any:
    p, i = types.CPointer(dtype), types.int64
    ints = types.CPointer(i)
    return types.void(p, ints, ints, ints, i, i)


class Op(Outlined):
    """An outlined function that is called by its address alone: one that no plan has is never compiled."""


def op(function: Callable[..., Any]) -> Op:
    """Make a function an op."""
    return Op(function, op_types)


# call_op(address, x, frame, row, span, pieces, piece): one piece of the op at an address
call_op = make_intrinsic(
    "call_op",
    ["address", "x", "frame", "row", "span", "pieces", "piece"],
    lambda address, x, *rest: types.void(types.int64, *op_types(x.dtype).args),
    called_by_address,
)


def _pieces_types(dtype: types.Float) -> Any:
    p, i = types.CPointer(dtype), types.int64
    ints = types.CPointer(i)
    return types.void(p, ints, ints, ints, i, i, i)


@shared(_pieces_types)
def pieces_of_op(x, frame, row, span, address, pieces, piece):
    """One piece of any op."""
    call_op(address, x, frame, row, span, pieces, piece)


def table_of(size: int) -> Any:
    """Make the intrinsic ``f(like)``: a table of so many integers, until the calling function returns."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        return builder.bitcast(cgutils.alloca_once(builder, ir.ArrayType(I64, size)), args[0].type)

    return make_intrinsic(f"table_of_{size}", ["like"], lambda p: p(p), codegen)


new_span = table_of(2 * SPAN_SIZE)  # with room for `of_members`


@kernel
def row_at(frame, i):
    """Return row i of the plan."""
    return pointer_to(frame, frame[PLAN] + i * COLUMNS * 8)


@kernel
def members_of(frame):
    """Return how many rows the output of a network has for each row of the batch."""
    return row_at(frame, frame[LAYERS] - 1)[MEMBERS]


@kernel
def of_members(row, span):
    """Return the span of the rows that an op has for those of the batch; member m of row i is row i * MEMBERS + m."""
    members = row[MEMBERS]
    if members == 1:
        return span
    own = at(span, SPAN_SIZE)
    for i in range(SPAN_SIZE):
        own[i] = span[i]
    own[FIRST], own[ROWS], own[PLACE] = span[FIRST] * members, span[ROWS] * members, span[PLACE] * members
    own[BATCH] = span[BATCH] * members
    return own


@kernel
def call_row(column, x, frame, row, span, pieces, piece):
    """Do one piece of what `column` of a row of the plan says."""
    call_op(row[column], x, frame, row, of_members(row, span), pieces, piece)


@kernel
def run_op(address, x, frame, row, span, effort, tasks):
    """Do an op's work, shared out to at most `tasks`; `effort` is what it takes, in floating-point operations."""
    pieces = worth(effort, tasks)
    if pieces == 1:
        call_op(address, x, frame, row, span, 1, 0)
    else:
        pieces_of_op(x, frame, row, span, address, pieces, tasks)


@kernel
def run_row(column, x, frame, i, span, tasks):
    """Do what `column` of row i of the plan says, if anything."""
    row = row_at(frame, i)
    if row[column] != NOTHING:
        run_op(row[column], x, frame, row, of_members(row, span), span[ROWS] * row[EFFORT], tasks)
