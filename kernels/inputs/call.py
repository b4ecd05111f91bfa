"""Readers: compiled functions of one signature, ``read(reading, source)``, that a step calls by their addresses.

reading : which rows are wanted, and where they go
source : the input's table, see `registry`

A reader writes these rows, and nothing else.
"""

from numba import types

from ..compile.functions import kernel
from ..compile.outlined import Outlined, called_by_address
from ..compile.records import INT, INTS, POINTER, record
from ..simd.lanes import make_intrinsic

# `rows` rows are wanted, of `width` numbers each, one after the other at `out`: where they are `ordered`, those that
# ``order[first:]`` names, else those from `first` on.
Reading = record("Reading", out=POINTER, width=INT, order=INTS, ordered=INT, first=INT, rows=INT)


@kernel
def row_wanted(reading, i):
    """Return the number of the input's row that comes at place i."""
    return reading.order[reading.first + i] if reading.ordered else reading.first + i


def reader_types(dtype):
    return types.void(Reading.of(dtype), types.CPointer(types.int64))


class Reader(Outlined):
    """An outlined function that is called by its address alone: one of elements that nobody has is never compiled."""


# read(address, reading, source): call the reader at an address
read = make_intrinsic(
    "read",
    ["address", "reading", "source"],
    lambda address, reading, source: types.void(types.int64, *reader_types(reading.dtype).args),
    called_by_address,
)
