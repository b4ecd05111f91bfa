"""Columns of ``.csv`` and ``.parquet`` files, read by pyarrow (extra ``data``)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base.kinds import PARQUET, TEXT, check_kind
from fastbp.kernels.compile.forks import imports

SUFFIXES = (".csv", ".parquet")
LONGEST_LABEL = 1000


def read_table(path: Path) -> Any:
    """Read a file into a ``pyarrow.Table`` whose column names differ from each other."""
    try:
        with imports:
            import pyarrow as pa
            from pyarrow import csv, parquet
    except ImportError as error:
        raise ImportError(f"reading {path.name} needs pyarrow: pip install 'fastbp[data]'") from error
    suffix = path.suffix.lower()
    check_kind(path, suffix, PARQUET if suffix == ".parquet" else TEXT)
    try:
        if suffix == ".parquet":
            with parquet.ParquetFile(path) as file:
                table = file.read()
        else:
            # One block, so that a column's type follows from all of its rows, not from the first
            # ones: a "?" far down makes a text column, reported by name, not a parse error.
            block = min(max(path.stat().st_size, 1) + 1, 2**31 - 1)
            table = csv.read_csv(path, read_options=csv.ReadOptions(block_size=block))
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeError) as error:  # a damaged file raises any of them
        raise ValueError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    repeated = {name for name, count in Counter(names).items() if count > 1}
    if repeated:
        raise ValueError(f"{path} has several columns named {_listed(sorted(repeated))}")
    if table.num_rows == 0:
        raise ValueError(f"{path} holds no rows")
    return table


def read_target(table: Any, path: Path, target: str) -> NDArray[np.generic]:
    """Read the column to predict: (rows,) of bool, integers, floats or strings."""
    _check_columns(table, path, [target])
    column = _plain(table.column(target))
    if _is_text(column):
        labels = _texts(column, path, target)
        for row, label in enumerate(labels, start=1):
            if not label:  # an empty field of a CSV file is an empty string
                raise ValueError(f"{path}: column {target!r} has no value in row {row}")
            if len(label) > LONGEST_LABEL:  # as an array, all labels take the room of the longest
                raise ValueError(
                    f"{path}: column {target!r} should hold class labels of up to {LONGEST_LABEL} characters, "
                    f"got {len(label)} in row {row}"
                )
        return np.array(labels, dtype=np.str_)
    return _numbers(column, path, target)


def read_features(
    table: Any, path: Path, names: Sequence[str] | None, exclude: str | None = None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Read columns of numbers into one array.

    Parameters
    ----------
    table, path
        What `read_table` returned, and for what.
    names : sequence of str, optional
        The columns to read, in this order; all but `exclude` without it.
    exclude : str, optional
        The target's column.

    Returns
    -------
    x : ndarray of float32, (rows, features)
    names : tuple of str
    """
    if not names:
        names = [name for name in table.column_names if name != exclude]
    _check_columns(table, path, names)
    if not names:
        raise ValueError(f"{path} has no column besides the target {exclude!r}")
    x = np.empty((table.num_rows, len(names)), np.float32)
    for j, name in enumerate(names):
        column = _plain(table.column(name))
        if _is_text(column):
            texts = _texts(column, path, name)
            example = next((text for text in texts if not _is_number(text)), texts[0])
            raise ValueError(f"{path}: column {name!r} should hold numbers, got text such as {example!r}")
        values = _numbers(column, path, name)
        with np.errstate(over="ignore"):
            x[:, j] = values
        if not np.isfinite(x[:, j]).all():
            row = int(np.argmin(np.isfinite(x[:, j])))
            raise ValueError(
                f"{path}: column {name!r} should hold finite float32 numbers, got {values[row]} in row {row + 1}"
            )
    return x, tuple(names)


def _numbers(column: Any, path: Path, name: str) -> NDArray[np.generic]:
    """Values of a column of bool, integers or floats, none missing."""
    import pyarrow as pa

    if column.null_count:
        row = column.is_null().to_pylist().index(True) + 1
        raise ValueError(f"{path}: column {name!r} has no value in row {row}")
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    kinds = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    if not any(is_kind(column.type) for is_kind in kinds):
        raise ValueError(f"{path}: column {name!r} should hold numbers, got {column.type}")
    values: NDArray[np.generic] = column.to_numpy()
    if values.dtype.kind == "f" and np.isnan(values).any():
        row = int(np.argmax(np.isnan(values))) + 1
        raise ValueError(f"{path}: column {name!r} has no value (NaN) in row {row}")
    return values


def _plain(column: Any) -> Any:
    """Undo dictionary encoding, as pandas writes it for categories."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column


def _texts(column: Any, path: Path, name: str) -> list[str | None]:
    try:
        texts: list[str | None] = column.to_pylist()
    except UnicodeError as error:
        raise ValueError(f"{path}: column {name!r} should hold text in UTF-8: {error}") from error
    return texts


def _is_text(column: Any) -> bool:
    return str(column.type) in {"string", "large_string", "string_view"}


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _check_columns(table: Any, path: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} has no column {_listed(missing)}; its columns are {_listed(table.column_names)}")


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
