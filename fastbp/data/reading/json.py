"""Tables in JSON: an object a row, one a line or all in a list."""

import json
from typing import Any

from fastbp.data.reading.table import TableError, Trouble
from fastbp.kernels.compile.forks import imports

EXPECTED = "expected an object a row, one a line or all in a list"
Rows = list[dict[str, Any]]


def read_json(text: str, name: str) -> Any:
    """Read records or lines into a pyarrow.Table: a column for each key in the order in which they come.

    A key that a row has not is a missing value. Where numbers, text and booleans are in one column, all become text.
    """
    rows = _records(text, name) if text.lstrip().startswith("[") else _lines(text, name)
    with imports:
        import pyarrow as pa

    keys = dict.fromkeys(key for row in rows for key in row)
    return pa.table({key: _column([row.get(key) for row in rows]) for key in keys})


def _records(text: str, name: str) -> Rows:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TableError(name, [Trouble("", f"is no JSON: {error}")]) from None
    if wrong := [i for i, row in enumerate(rows, 1) if not isinstance(row, dict)]:
        raise TableError(name, [Trouble(f"row {i}", f"is no object: {EXPECTED}") for i in wrong])
    return list(rows)


def _lines(text: str, name: str) -> Rows:
    rows, troubles = [], []
    for i, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            troubles.append(Trouble(f"line {i}", f"is no JSON object: {EXPECTED}"))
    if troubles:
        raise TableError(name, troubles)
    return rows


def _column(values: list[Any]) -> Any:
    """Return values as an array of one type, text if that is the only one for all of them."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError):
        return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
