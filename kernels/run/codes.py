"""Codes: columns of a batch whose numbers have to be 0, 1 … below a cardinality; a step looks at them first."""

from numba import types

from ..compile.functions import entry, kernel
from ..compile.outlined import outlined
from ..compile.pointers import at, pointer_to
from ..compile.signature import Int, Ints, Reals2
from ..inputs.call import Reading, read
from ..inputs.registry import READ
from ..ops.call import row_at
from ..ops.kinds.embedding import CARDINALITY, CODED, CODED_SIZE, COLUMN, FIRST_CODED
from .frame import CODES, LAYOUT, WORK, X_INPUT
from .plan import IN, X

# Rows of an input that are read, and looked at, at a time
ROWS_AT_ONCE = 64


@kernel
def is_wrong(x, codes):
    """Return whether a row of the batch has a number that is no code where there has to be one."""
    for k in range(codes[CODED]):
        coded = at(codes, FIRST_CODED + k * CODED_SIZE)
        code = x[coded[COLUMN]]
        if not 0 <= code < coded[CARDINALITY] or code != int(code):  # the first is true of NaN
            return True
    return False


@kernel
def first_wrong_of_input(frame, samples, codes, features, start, rows):
    """Return the first row of a step's batch that is wrong, of an input, some rows of which are read at a time."""
    source = pointer_to(frame, frame[X_INPUT])
    x = pointer_to(samples.x, frame[WORK] + pointer_to(frame, frame[LAYOUT])[X])
    for first in range(0, rows, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows - first)
        read(source[READ], Reading(x, features, samples.order, 1, start + first, count), source)
        for i in range(count):
            if is_wrong(at(x, i * features), codes):
                return samples.order[start + first + i]
    return -1


@kernel
def first_wrong_of_batch(frame, samples, start, rows):
    """Return the first row of a step's batch that has a number which is no code; -1 if there is none."""
    codes, features = pointer_to(frame, frame[CODES]), row_at(frame, 0)[IN]
    if frame[X_INPUT] != 0:
        return first_wrong_of_input(frame, samples, codes, features, start, rows)
    for i in range(rows):
        r = samples.order[start + i] if samples.ordered > 0 else i
        if is_wrong(at(samples.x, r * features), codes):
            return r
    return -1


def _types(dtype):
    i = types.int64
    return i(types.CPointer(dtype), types.CPointer(i), i, i)


@outlined(_types)
def first_wrong_of_rows(x, codes, rows, features):
    """`first_wrong_code`, on pointers."""
    for i in range(rows):
        if is_wrong(at(x, i * features), codes):
            return i
    return -1


@entry
def first_wrong_code(codes: Ints, x: Reals2) -> Int:
    """Return the first row of x, (rows, features), that has a number which is no code; -1 if there is none.

    codes : the integers of an embedding, see `ops.kinds.embedding`
    """
    return first_wrong_of_rows(at(x, 0), at(codes, 0), x.shape[0], x.shape[1])
