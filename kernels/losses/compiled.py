"""Losses as machine code: each is an op on the last row of a plan, compiled if it is in use."""

import functools
import math
from collections.abc import Callable
from typing import Any

from numba import carray

from ..compile.functions import kernel
from ..compile.pointers import at, doubles_at, lanes_of, pointer_to, read_only
from ..compile.records import DOUBLES, INT, INTS, POINTER, method, record
from ..compile.sources import function_of
from ..linalg.matrix import Matrix, through
from ..linalg.tasks import share
from ..ops.call import FIRST, LABELS, PLACE, ROWS, TARGETS, WIDTH, Op, op_types
from ..run import frame as _frame
from ..run.frame import CLASS_WEIGHT, CLASS_WEIGHTS, OPTIONS, ROOM_ROWS, WORK
from ..run.plan import APPLY_SLOPE, FLAGS, LD, MEMBERS, OUT, ROOMY, SLOPE, A, D
from ..simd.rows import summed
from .narrow import columns_summed, numbers_narrow
from .registry import IGNORE_INDEX, NARROW, OWN, Loss
from .softmax import scale_row

# exp, a logarithm and the sums of one element cost about as much as this many multiplications and additions.
ELEMENT_WORK = 30

# The rows start:stop of a batch as a loss sees them, all pointers to the first row of its span. z and d, outputs and
# their gradients: rows of n numbers, `ld` apart, of which `stored` may be written. targets: `width` numbers a row.
# class_weight: of `classes`, or none. scales: what each row counts for; losses and hits are written. Of a row with
# several members these are the rows of the first one, until `of_member` says another.
Rows = record(
    "Rows", z=POINTER, d=POINTER, slope=POINTER, ld=INT, n=INT, stored=INT, start=INT, stop=INT, labels=INTS,
    targets=POINTER, width=INT, class_weight=POINTER, classes=INT, options=DOUBLES, scales=DOUBLES, losses=DOUBLES,
    hits=DOUBLES,
)  # fmt: skip


@method(Rows)
def of_equal_classes(r):
    """The same rows, where no class weighs more than another."""
    return Rows(
        r.z, r.d, r.slope, r.ld, r.n, r.stored, r.start, r.stop, r.labels, r.targets, r.width, r.class_weight, 0,
        r.options, r.scales, r.losses, r.hits,
    )  # fmt: skip


@method(Rows)
def of_member(r, member, ld, room):
    """The rows of a member, where `ld` is how far apart members are: its losses and hits go to a place aside."""
    c = member * ld
    return Rows(
        at(r.z, c), at(r.d, c), at(r.slope, c), r.ld, r.n, r.stored, r.start, r.stop, r.labels, r.targets, r.width,
        r.class_weight, r.classes, r.options, r.scales, at(r.hits, room), at(r.hits, 2 * room),
    )  # fmt: skip


@method(Rows)
def add_member(r, own, share):
    """Add the losses and the hits of a member, and then take a share of the hits."""
    for i in range(r.start, r.stop):
        r.losses[i] += own.losses[i]
        r.hits[i] = (r.hits[i] + own.hits[i]) * share


@kernel
def rows_of_loss(x, frame, row, span, pieces, piece):
    """Return the rows of one piece of a loss."""
    first, ld, n, apart = span[FIRST], row[MEMBERS] * row[LD], row[OUT], frame[ROOM_ROWS]
    width = lanes_of(x)
    stored = (n + width - 1) // width * width if row[FLAGS] & ROOMY else n  # whole vectors need no mask
    scales = at(doubles_at(frame[_frame.ROWS]), span[PLACE])
    return Rows(
        at(pointer_to(x, frame[WORK] + row[A]), first * ld),
        at(pointer_to(x, frame[WORK] + row[D]), first * ld),
        at(pointer_to(x, frame[WORK] + row[SLOPE]), first * ld),
        ld,
        n,
        stored,
        share(span[ROWS], 1, pieces, piece),
        share(span[ROWS], 1, pieces, piece + 1),
        pointer_to(frame, span[LABELS]),
        pointer_to(x, span[TARGETS]),
        span[WIDTH],
        pointer_to(x, frame[CLASS_WEIGHT]),
        frame[CLASS_WEIGHTS],
        doubles_at(frame[OPTIONS]),
        scales,
        at(scales, apart),
        at(scales, 2 * apart),
    )


@kernel
def through_activation(r, apply_slope):
    """Make ``dz = d * g'(z)`` of a member's gradients by the outputs, where the last layer has an activation."""
    c = r.start * r.ld
    through(apply_slope, Matrix(at(r.d, c), r.ld, r.stop - r.start, r.n, 0), at(r.z, c), at(r.slope, c))


@kernel
def blank_ignored(r, apply_slope):
    """Make zeros of the gradients of rows whose label is ignored, whatever the slope is."""
    if apply_slope == 0:
        return  # they are
    for i in range(r.start, r.stop):
        if r.labels[i] == r.options[IGNORE_INDEX]:
            carray(at(r.d, i * r.ld), r.n)[:] = 0


@kernel
def zero(numbers, r):
    """Make zeros of a number of each row: of hits where a loss has no classes, of what members are added to."""
    carray(at(numbers, r.start), r.stop - r.start)[:] = 0.0


def numbers_of_rows(loss: Loss) -> Any:
    """Return the kernel of a loss that is one formula of outputs and targets, for some rows."""
    formula, numbers, by_output = loss.formula, len(loss.numbers), loss.by_output is not None
    assert formula is not None
    narrow = numbers_narrow(columns_summed(formula, numbers, by_output))
    by_row = summed(formula, reads=2 + by_output, writes=1, numbers=1, doubles=numbers)

    @kernel
    def of_rows(r):
        real = carray(r.z, 1).dtype.type
        if r.n <= NARROW:
            narrow(r)
            return
        for i in range(r.start, r.stop):
            z, t, d = at(r.z, i * r.ld), at(r.targets, i * r.width), at(r.d, i * r.ld)
            scale, own, total = real(r.scales[i]), at(r.options, OWN), 0.0
            if by_output:
                for c in range(0, r.n, r.width):  # the targets are repeated
                    total += by_row(at(z, c), t, at(r.class_weight, c), at(d, c), scale, own, r.width)
            else:
                total = by_row(z, t, d, scale, own, r.n)
            r.losses[i] = total

    return of_rows


def own_of_rows(row: Callable[..., Any]) -> Any:
    """Return the kernel of a user's loss of one row, for some rows."""
    of_row = kernel(row)

    @kernel
    def of_rows(r):
        real = carray(r.z, 1).dtype.type
        carray(at(r.losses, r.start), r.stop - r.start)[:] = math.nan  # which stays where the function raises an error
        for i in range(r.start, r.stop):
            z, t, d = at(r.z, i * r.ld), at(r.targets, i * r.width), at(r.d, i * r.ld)
            dz = carray(d, r.n)
            dz[:] = 0.0
            r.losses[i] = float(of_row(read_only(z, r.n), read_only(t, r.width), dz))
            scale_row(d, d, real(r.scales[i]), r.n)
            if r.scales[i] == 0.0:  # whatever the row holds
                dz[:] = 0.0

    return of_rows


# How an op of a loss begins; what follows writes each row's loss, hit and gradient.
_SOURCE = """
def {name}(x, frame, row, span, pieces, piece):
    r, members = rows_of_loss(x, frame, row, span, pieces, piece), row[MEMBERS]
    if members > 1:
        zero(r.losses, r)
        zero(r.hits, r)
    for member in range(members):
        own = r.of_member(member, row[LD], frame[ROOM_ROWS]) if members > 1 else r
        {hits}
        of_rows(own)
        through_activation(own, row[APPLY_SLOPE])
        {ignored}
        if members > 1:
            r.add_member(own, 1.0 / members if member == members - 1 else 1.0)
"""


@functools.cache
def op_of_loss(loss: Loss, name: str) -> Op:
    """Return the op of a loss. It writes `losses`, `hits` and dz of the plan's last row; a piece is some rows."""
    source = _SOURCE.format(
        name=name,
        hits="pass" if loss.hits else "zero(own.hits, own)",
        ignored="blank_ignored(own, row[APPLY_SLOPE])" if loss.labelled else "pass",
    )
    scope = {
        "rows_of_loss": rows_of_loss, "of_rows": rows_of(loss), "zero": zero, "APPLY_SLOPE": APPLY_SLOPE,
        "through_activation": through_activation, "blank_ignored": blank_ignored, "MEMBERS": MEMBERS, "LD": LD,
        "ROOM_ROWS": ROOM_ROWS,
    }  # fmt: skip
    return Op(function_of(source, name, loss.twin, scope), op_types)


def rows_of(loss: Loss) -> Any:
    """Return the kernel of a loss for some rows: their losses and their gradients."""
    if loss.rows is not None:
        return loss.rows()
    return own_of_rows(loss.row) if loss.row is not None else numbers_of_rows(loss)


_OTHER_SOURCE = """
def {name}(x, frame, row, span, pieces, piece):
    of_rows(rows_of_loss(x, frame, row, span, pieces, piece))
"""


@functools.cache
def other_op_of_loss(loss: Loss, what: str, name: str) -> Op:
    """Return another op of a loss, see `functions`; the last layer has no activation."""
    scope = {"rows_of_loss": rows_of_loss, "of_rows": loss.others[what]()}
    return Op(function_of(_OTHER_SOURCE.format(name=name), name, loss.twin, scope), op_types)
