"""Whether the first line of a table names the columns."""

import re
from collections.abc import Sequence

Row = Sequence[str]

# Numbers however they are marked, dates and times: what names of columns are not
_VALUE = re.compile(
    r"""[+-]?[$€£]?(\d[\d.,'’\u00a0\u202f]*|[.,]\d+)([eE][+-]?\d+)?\s?[%€]?
    |\d{1,4}([-/.])\d{1,2}\3\d{1,4}([T\s]\d.*)?
    |\d{1,2}:\d{2}.*""",
    re.VERBOSE,
)
_NO_NAMES = {"na", "n/a", "nan", "null", "none", "inf", "-inf", "true", "false"}


def is_value(cell: str) -> bool:
    """Whether a field is a number, a date or a time."""
    return _VALUE.fullmatch(cell) is not None


def is_header(first: Row, body: Sequence[Row]) -> tuple[bool, bool]:
    """Return whether a line names the columns of those below, and whether that could be told.

    It does if it has a name where all below, or most, are numbers, dates or times, or if it numbers the columns. It
    does not if it has a value there too, or a text that comes again below. Where all is text that does not come again,
    nothing tells; names are assumed.
    """
    if not body:
        return not any(is_value(cell) for cell in first), False
    if first[0] == "" and len(set(first)) == len(first) and all(cells[0] for cells in body):
        return True, True
    if _counts(first) and not _counts(body[0]):
        return True, True
    names = values = again = 0
    for j, cell in enumerate(first):
        below = [cells[j] for cells in body if cells[j]]
        if 2 * sum(map(is_value, below)) > len(below):
            names += _may_name(cell) and cell not in below
            values += is_value(cell)
        else:
            again += cell in below
    if names or values:
        return names > 0, True
    return (False, True) if again else (True, False)


def _may_name(cell: str) -> bool:
    """Whether a field may be a name: neither a value nor a mark of what is missing."""
    return cell == "#" or (not is_value(cell) and cell.lower() not in _NO_NAMES and any(c.isalnum() for c in cell))


def _counts(cells: Row) -> bool:
    """Whether the numbers in a line count up by one, three or more from 0, as of columns, or from a year."""
    numbers = [int(cell) for cell in cells if re.fullmatch(r"0|[1-9]\d{0,5}", cell)]
    return (
        len(numbers) > 2
        and (numbers[0] == 0 or 1800 <= numbers[0] <= 2200)
        and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    )
