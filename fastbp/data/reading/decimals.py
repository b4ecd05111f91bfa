"""Which mark parts the whole of a number from its decimals, in columns of text: "1.5" or "1,5"."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Blocks = Callable[[], Iterable[Any]]
FIRST_ROWS = 10_000
_WHOLE = r"[+-]?\d+"
_COMMA = r"^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)?,\d+(?:[eE][+-]?\d+)?$"
_POINT = r"^[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)?\.\d+(?:[eE][+-]?\d+)?$"
# A number with one mark before three digits says nothing: thousands or decimals
_OPEN_COMMA, _OPEN_POINT = (rf"^[+-]?[1-9]\d{{0,2}}{mark}\d{{3}}$" for mark in (",", r"\."))
_COMMA_THOUSANDS, _POINT_THOUSANDS = (rf"^[+-]?[1-9]\d{{0,2}}(?:{mark}\d{{3}}){{2,}}$" for mark in (",", r"\."))


def decimal_mark(blocks: Blocks, separator: str, has_commas: bool) -> str:
    """Return the decimal mark of the numbers in columns of strings, "." or ",".

    blocks : callable that returns tables of rows below each other

    It is "," where more numbers can only be written with it than with a point, such as "1,5" and "1.234.567". Where
    there are but numbers such as "1,234", which may be thousands, it is "," if ";" is the separator, as where programs
    write "," in numbers, and if no whole number stands beside them.
    """
    if not has_commas:
        return "."
    for rows in (lambda: _first(blocks), blocks):  # all of them where the first ones do not tell
        commas = sum(_matches(rows, _COMMA) - _matches(rows, _OPEN_COMMA) + _matches(rows, _POINT_THOUSANDS))
        points = sum(_matches(rows, _POINT) - _matches(rows, _OPEN_POINT) + _matches(rows, _COMMA_THOUSANDS))
        if commas or points:
            return "," if commas > points else "."
    columns = _matches(blocks, _OPEN_COMMA) > 0
    whole = (_matches(blocks, rf"^{_WHOLE}$") > 0) & columns
    return "," if columns.any() and separator == ";" and not whole.any() else "."


def _first(blocks: Blocks) -> Iterator[Any]:
    """Yield the first rows."""
    left = FIRST_ROWS
    for table in blocks():
        yield table[:left]
        left -= len(table)
        if left <= 0:
            return


def _matches(blocks: Blocks, pattern: str) -> NDArray[np.int64]:
    """Count the fields of each column that match a pattern."""
    import pyarrow.compute as pc

    counts = [
        [pc.sum(pc.match_substring_regex(column, pattern)).as_py() or 0 for column in table.columns]
        for table in blocks()
    ]
    return np.asarray(np.array(counts, np.int64).sum(axis=0))
