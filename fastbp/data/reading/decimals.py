"""Which mark parts the whole of a number from its decimals, in columns of text: "1.5" or "1,5"."""

from typing import Any

FIRST_ROWS = 10_000
_WHOLE = r"[+-]?\d+"
_COMMA = r"^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)?,\d+(?:[eE][+-]?\d+)?$"
_POINT = r"^[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)?\.\d+(?:[eE][+-]?\d+)?$"
# A number with one mark before three digits says nothing: thousands or decimals
_OPEN_COMMA, _OPEN_POINT = (rf"^[+-]?[1-9]\d{{0,2}}{mark}\d{{3}}$" for mark in (",", r"\."))
_COMMA_THOUSANDS, _POINT_THOUSANDS = (rf"^[+-]?[1-9]\d{{0,2}}(?:{mark}\d{{3}}){{2,}}$" for mark in (",", r"\."))


def decimal_mark(table: Any, separator: str, has_commas: bool) -> str:
    """Return the decimal mark of the numbers in columns of strings, "." or ",".

    It is "," where more numbers can only be written with it than with a point, such as "1,5" and "1.234.567". Where
    there are but numbers such as "1,234", which may be thousands, it is "," if ";" is the separator, as where programs
    write "," in numbers, and if no whole number stands beside them.
    """
    if not has_commas:
        return "."
    for rows in (table[:FIRST_ROWS], table):  # all of them where the first ones do not tell
        commas = _count(rows, _COMMA, _OPEN_COMMA) + _count(rows, _POINT_THOUSANDS)
        points = _count(rows, _POINT, _OPEN_POINT) + _count(rows, _COMMA_THOUSANDS)
        if commas or points:
            return "," if commas > points else "."
    columns = [column for column in table.columns if _matches(column, _OPEN_COMMA)]
    whole = any(_matches(column, rf"^{_WHOLE}$") for column in columns)
    return "," if columns and separator == ";" and not whole else "."


def _count(table: Any, pattern: str, but: str = "") -> int:
    """Count the fields that match a pattern and not another one."""
    return sum(_matches(column, pattern) - (_matches(column, but) if but else 0) for column in table.columns)


def _matches(column: Any, pattern: str) -> int:
    import pyarrow.compute as pc

    return pc.sum(pc.match_substring_regex(column, pattern)).as_py() or 0
