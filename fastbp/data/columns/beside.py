"""What stands beside the features of a row: its weight, its group, its time."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.column import Column
from fastbp.data.columns.dates import TimeForm, find_times
from fastbp.data.columns.labels import find_labels
from fastbp.data.columns.numbers import NumberForm, find_numbers
from fastbp.data.columns.values import Array, column_of, is_numeric, is_text, plain
from fastbp.data.reading.table import AnyTable, Table, TableError, Trouble

if TYPE_CHECKING:
    import pyarrow


def weight_form(table: AnyTable, name: str) -> NumberForm:
    """Find how the weights of rows are written; `TableError` if they can be none."""
    column = column_of(table, name)
    form = _number_form(column, table)
    if form is None:
        raise TableError(table.name, [Trouble(f"--weight {name!r}", f"should hold numbers, got {column.type}")])
    return form


def read_weights(table: Table, name: str, form: NumberForm | None = None) -> NDArray[np.float64]:
    """Return the weight of each row, (rows,); `TableError` if one is missing, negative or not finite.

    Without `form` it is found.
    """
    form = form or weight_form(table, name)
    read = form.read(plain(table.columns.column(name)))
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


def time_form(table: AnyTable, name: str) -> TimeForm | NumberForm:
    """Find how the times of rows are written; `TableError` if they can be none."""
    column = column_of(table, name)
    if str(column.type).startswith(("timestamp", "date")):
        return TimeForm()
    if is_text(column.type) and (times := find_times(column)) is not None:
        return times.form
    form = _number_form(column, table)
    if form is None:
        raise TableError(table.name, [Trouble(f"--time {name!r}", f"should hold times or numbers, got {column.type}")])
    return form


def read_times(table: Table, name: str, form: TimeForm | NumberForm | None = None) -> Array:
    """Return numbers that are in the order of the times of rows, (rows,); `TableError` if one is missing or no time.

    Without `form` it is found.
    """
    form = form or time_form(table, name)
    read = form.read(plain(table.columns.column(name)))
    _check(table, "--time", name, "a time", read.missing | read.wrong)
    return read.values


def _number_form(column: "Column[pyarrow.Array]", table: AnyTable) -> NumberForm | None:
    form = NumberForm(table.decimal)
    if is_text(column.type):
        return find_numbers(column, table.decimal).form or form
    return form if is_numeric(column.type) else None


def _check(table: Table, option: str, name: str, what: str, wrong: NDArray[np.bool_]) -> None:
    """Raise the error of the first row that is wrong, if there is one."""
    if wrong.any():
        row, more = int(np.argmax(wrong)), int(wrong.sum()) - 1
        value = table.columns.column(name)[row].as_py()
        told = f"should hold {what} in each row, got {value!r} in {table.where(row)}" + f" and {more} more" * (more > 0)
        raise TableError(table.name, [Trouble(f"{option} {name!r}", told)])
