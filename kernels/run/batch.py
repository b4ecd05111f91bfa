"""The rows of a batch: where they stand, in the caller's array or in the workspace that they are gathered to."""

from numba import carray

from ..compile.functions import kernel
from ..compile.pointers import at, pointer_to
from ..compile.records import INT, INTS, POINTER, record
from ..inputs.call import Reading, read
from ..inputs.registry import READ
from ..ops.call import row_at
from ..simd.lanes import Lanes, Vec, lanewise
from .frame import LAYOUT, WORK
from .plan import IN, LAST_JOINT, X

# A batch of `rows` rows. x, targets: of the batch, or of all samples where it `gathers`: then `order` says which of
# them the batch is. x has `columns`, targets `width` numbers a row. labels: of the batch; `ignores` says whether one
# of them is ignored.
Batch = record(
    "Batch", x=POINTER, columns=INT, labels=INTS, targets=POINTER, width=INT, order=INTS, gathers=INT, ignores=INT,
    rows=INT,
)  # fmt: skip


def _copied(v: Lanes, x: Vec) -> Vec:
    return x


copy_row = lanewise(_copied, reads=1, writes=1)


@kernel
def gather(batch, x, source, width, start, rows, out):
    """Write some rows of a batch, `width` numbers each, to `out`.

    x, source : where they come from, an array or the address of an input, 0 for none. A batch as it stands is in x.
    """
    if batch.gathers and source != 0:
        table = pointer_to(batch.order, source)
        read(table[READ], Reading(out, width, batch.order, 1, start, rows), table)
        return
    for i in range(rows):
        row = batch.order[start + i] if batch.gathers else start + i
        copy_row(at(x, row * width), at(out, i * width), width)


@kernel
def blank_ignored(x, width, labels, ignore_index, rows):
    """Make zeros of the rows of x whose label is ignored: a NaN in one would be 0 * NaN in the weights' gradients."""
    for i in range(rows):
        if labels[i] == ignore_index:
            carray(at(x, i * width), width)[:] = 0


@kernel
def rows_of_batch(batch, frame, start, first):
    """Return where rows `start` on of a batch stand: in x, or where they are copied to, from row `first` on."""
    if batch.gathers or batch.ignores:
        place = pointer_to(frame, frame[LAYOUT])[X]
        return at(pointer_to(batch.x, frame[WORK] + place), first * batch.columns)
    return at(batch.x, start * batch.columns)


@kernel
def as_row_zero(x, batch, first):
    """Return the batch for ops, which find row `first` of the workspace there, when that row stands at x."""
    return at(x, -first * batch.columns)


@kernel
def couples(frame):
    """Return whether an op couples the rows of a batch."""
    return pointer_to(frame, frame[LAYOUT])[LAST_JOINT] >= 0


@kernel
def as_it_stands(x, frame, rows):
    """Return a batch in memory, of a network that is run by hand: without labels or targets."""
    return Batch(x, row_at(frame, 0)[IN], at(frame, 0), x, 0, at(frame, 0), 0, 0, rows)
