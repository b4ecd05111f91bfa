"""Tables in JSON: an object a row, one a line or all in a list; or an object of columns, as pandas writes it."""

import json
from typing import Any

from fastbp.data.reading.table import TableError, Trouble
from fastbp.kernels.compile.forks import imports

EXPECTED = "expected an object a row, one a line or all in a list, or an object of columns"
Rows = list[dict[str, Any]]


def read_json(text: str, name: str) -> Any:
    """Read records, lines or columns into a pyarrow.Table: a column for each key in the order in which they come.

    A key that a row has not is a missing value. Where numbers, text and booleans are in one column, all become text.
    """
    is_list = text.lstrip().startswith("[")
    columns = None if is_list else _columns(text)
    if columns is None:
        rows = _records(text, name) if is_list else _lines(text, name)
        columns = {key: [row.get(key) for row in rows] for key in dict.fromkeys(key for row in rows for key in row)}
    with imports:
        import pyarrow as pa

    return pa.table({key: _column(values) for key, values in columns.items()})


def _columns(text: str) -> dict[str, list[Any]] | None:
    """Return the columns of a text that is one object: lists of one length, or objects with a key for each row."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # objects line by line, or nothing that can be read
        return None
    columns = list(found.values()) if isinstance(found, dict) else []
    if columns and all(isinstance(column, list) for column in columns) and len(set(map(len, columns))) == 1:
        return dict(found)
    if columns and all(isinstance(column, dict) for column in columns):
        keys = dict.fromkeys(key for column in columns for key in column)
        return {name: [column.get(key) for key in keys] for name, column in found.items()}
    return None


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
