"""What stands beside the features of a row: its weight, its group, its time."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.dates import TimeForm, find_times
from fastbp.data.columns.labels import find_labels
from fastbp.data.columns.values import Array, NumberForm, Read, find_numbers, is_numeric, is_text, plain
from fastbp.data.reading.table import Table, TableError, Trouble

if TYPE_CHECKING:
    import pyarrow


def read_weights(table: Table, name: str) -> NDArray[np.float64]:
    """Return the weight of each row, (rows,); `TableError` if one is missing, negative or not finite."""
    column = plain(table.columns.column(name))
    read = _numbers(column, table)
    if read is None:
        raise TableError(table.name, [Trouble(f"--weight {name!r}", f"should hold numbers, got {column.type}")])
    values = read.values.astype(np.float64)
    wrong = read.missing | read.wrong | ~((values >= 0) & (values < np.inf))
    _check(table, "--weight", name, "a finite weight, not negative,", wrong)
    return values


def read_groups(table: Table, name: str) -> NDArray[np.int64]:
    """Return the group of each row as a number, (rows,). A row without one is a group of its own."""
    column = plain(table.columns.column(name))
    codes = find_labels(column, table.decimal).read(column).codes
    alone = np.flatnonzero(codes < 0)
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(len(alone))
    return codes


def read_times(table: Table, name: str) -> Array:
    """Return numbers that are in the order of the times of rows, (rows,); `TableError` if one is missing or no time."""
    column = plain(table.columns.column(name))
    if str(column.type).startswith(("timestamp", "date")):
        read: Read | None = TimeForm().read(column)
    elif is_text(column.type) and (times := find_times(column)) is not None:
        read = times.form.read(column)
    else:
        read = _numbers(column, table)
    if read is None:
        raise TableError(table.name, [Trouble(f"--time {name!r}", f"should hold times or numbers, got {column.type}")])
    _check(table, "--time", name, "a time", read.missing | read.wrong)
    return read.values


def _numbers(column: "pyarrow.Array", table: Table) -> Read | None:
    form = NumberForm(table.decimal)
    if is_text(column.type):
        form = find_numbers(column, table.decimal).form or form
    elif not is_numeric(column.type):
        return None
    return form.read(column)


def _check(table: Table, option: str, name: str, what: str, wrong: NDArray[np.bool_]) -> None:
    """Raise the error of the first row that is wrong, if there is one."""
    if wrong.any():
        row, more = int(np.argmax(wrong)), int(wrong.sum()) - 1
        value = table.columns.column(name)[row].as_py()
        told = f"should hold {what} in each row, got {value!r} in {table.where(row)}" + f" and {more} more" * (more > 0)
        raise TableError(table.name, [Trouble(f"{option} {name!r}", told)])
