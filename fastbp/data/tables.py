"""Columns of tables as features and targets: numbers, and class labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.data.reading.table import Table

LONGEST_LABEL = 1000


def read_target(table: Table, target: str) -> NDArray[np.generic]:
    """Read the column to predict: (rows,) of bool, integers, floats or strings."""
    _check_columns(table, [target])
    column = _typed(table, target)
    if _is_text(column):
        labels = _texts(column, table, target)
        for row, label in enumerate(labels):
            if not label:
                raise ValueError(f"{table.name}: column {target!r} has no value in {table.where(row)}")
            if len(label) > LONGEST_LABEL:  # as an array, all labels take the room of the longest
                raise ValueError(
                    f"{table.name}: column {target!r} should hold class labels of up to {LONGEST_LABEL} characters, "
                    f"got {len(label)} in {table.where(row)}"
                )
        return np.array(labels, dtype=np.str_)
    return _numbers(column, table, target)


def read_features(
    table: Table, names: Sequence[str] | None, exclude: str | None = None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Read columns of numbers into one array.

    Parameters
    ----------
    table : Table
    names : sequence of str, optional
        The columns to read, in this order; all but `exclude` and the index without it.
    exclude : str, optional
        The target's column.

    Returns
    -------
    x : ndarray of float32, (rows, features)
    names : tuple of str
    """
    if not names:
        names = [name for name in table.names if name != exclude]
    _check_columns(table, names)
    if not names:
        raise ValueError(f"{table.name} has no column besides the target {exclude!r}")
    x = np.empty((len(table), len(names)), np.float32)
    for j, name in enumerate(names):
        column = _typed(table, name)
        if _is_text(column):
            texts = _texts(column, table, name)
            example = next((text for text in texts if text is not None and not _is_number(text)), texts[0])
            raise ValueError(f"{table.name}: column {name!r} should hold numbers, got text such as {example!r}")
        values = _numbers(column, table, name)
        with np.errstate(over="ignore"):
            x[:, j] = values
        if not np.isfinite(x[:, j]).all():
            row = int(np.argmin(np.isfinite(x[:, j])))
            raise ValueError(
                f"{table.name}: column {name!r} should hold finite float32 numbers, "
                f"got {values[row]} in {table.where(row)}"
            )
    return x, tuple(names)


def _numbers(column: Any, table: Table, name: str) -> NDArray[np.generic]:
    """Values of a column of bool, integers or floats, none missing."""
    import pyarrow as pa

    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(f"{table.name}: column {name!r} has no value in {table.where(row)}")
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    kinds = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    if not any(is_kind(column.type) for is_kind in kinds):
        raise ValueError(f"{table.name}: column {name!r} should hold numbers, got {column.type}")
    values: NDArray[np.generic] = column.to_numpy()
    if values.dtype.kind == "f" and np.isnan(values).any():
        row = int(np.argmax(np.isnan(values)))
        raise ValueError(f"{table.name}: column {name!r} has no value (NaN) in {table.where(row)}")
    return values


def _typed(table: Table, name: str) -> Any:
    """Return a column with the values of a category in its place, and one of text as numbers or bool if all are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.columns.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_text(column) or not table.read_as:
        return column
    numbers = pc.replace_substring(column, ",", ".") if table.decimal == "," else column
    for kind in (pa.int64(), pa.float64(), pa.bool_()):
        try:
            return pc.cast(numbers, kind)
        except pa.ArrowInvalid:
            continue
    return column


def _texts(column: Any, table: Table, name: str) -> list[str | None]:
    try:
        texts: list[str | None] = column.to_pylist()
    except UnicodeError as error:
        raise ValueError(f"{table.name}: column {name!r} should hold text in UTF-8: {error}") from error
    return texts


def _is_text(column: Any) -> bool:
    return str(column.type) in {"string", "large_string", "string_view"}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_columns(table: Table, names: Sequence[str]) -> None:
    held = table.columns.column_names
    missing = [name for name in names if name not in held]
    if missing:
        raise ValueError(f"{table.name} has no column {_listed(missing)}; its columns are {_listed(table.names)}")


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
