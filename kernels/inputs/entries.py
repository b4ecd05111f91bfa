"""Rows of an input, for Python."""

from numba import types

from ..compile.functions import entry
from ..compile.pointers import at
from ..compile.region import shared
from ..compile.signature import Int, Ints, Reals2
from ..linalg.tasks import MOVED, share, worth
from .call import Reading, read
from .registry import READ


def _types(dtype):
    i = types.int64
    return types.void(Reading.of(dtype), types.CPointer(i), i, i)


@shared(_types)
def read_part(reading, source, pieces, piece):
    """One piece's rows of `read_rows`."""
    start, stop = share(reading.rows, 1, pieces, piece), share(reading.rows, 1, pieces, piece + 1)
    out = at(reading.out, start * reading.width)
    own = Reading(out, reading.width, reading.order, reading.ordered, reading.first + start, stop - start)
    read(source[READ], own, source)


@entry
def read_rows(source: Ints, order: Ints, first: Int, out: Reals2, tasks: Int) -> None:
    """Read rows of an input as the elements of `out`, (rows, width), written.

    source : the input's table, see `registry`
    order : the numbers of the rows; if empty they are those from `first` on

    One task owns a range of rows.
    """
    rows, width = out.shape
    reading = Reading(at(out, 0), width, at(order, 0), order.size > 0, first, rows)
    read_part(reading, at(source, 0), worth(MOVED * rows * width, tasks), tasks)
