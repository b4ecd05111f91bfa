"""Which rows of a table are trained on, and which are held out."""

from fastbp.data.columns.beside import read_groups, read_times, read_weights
from fastbp.data.columns.options import ColumnOptions, meant
from fastbp.data.columns.target import Target
from fastbp.data.reading.table import Table, TableError, Trouble
from fastbp.data.split import Answered, split_groups, split_rows, split_times


def answered(table: Table, target: Target, weight: str | None = None) -> Answered:
    """Return the rows that have an answer, with their weights in a column if there is one.

    Raises
    ------
    TableError
        If no row has an answer or counts, or columns are missing or hold what cannot be read.
    """
    y, rows = target.read(table)
    if not len(rows):
        raise TableError(table.name, [Trouble("", f"has no row with a value of {', '.join(target.columns)}")])
    weights = None
    if weight is not None:
        _check_there(table, "--weight", weight)
        weights = read_weights(table, weight)[rows]
        if not weights.any():
            raise TableError(table.name, [Trouble(f"--weight {weight!r}", "is 0 in each row that has an answer")])
    return Answered(table if len(rows) == len(table) else table.take(rows), y, weights)


def part(rows: Answered, fraction: float, seed: int, columns: ColumnOptions) -> tuple[Answered, Answered]:
    """Hold a fraction of the rows out: whole groups, the latest rows, or at random, of each class the same part.

    Parameters
    ----------
    rows : Answered
        Of a table.
    fraction : float
        Between 0 and 1; rounded up.
    seed : int
        The same seed holds out the same rows.
    columns : ColumnOptions
        Of which ``group`` and ``time`` decide.

    Returns
    -------
    rest, held_out : Answered

    Raises
    ------
    ValueError
        If a part would be empty, or the column of the groups or times is missing or cannot be read.
    """
    table: Table = rows.x
    if columns.group is not None:
        _check_there(table, "--group", columns.group)
        parts = split_groups(read_groups(table, columns.group), fraction, seed)
    elif columns.time is not None:
        _check_there(table, "--time", columns.time)
        parts = split_times(read_times(table, columns.time), fraction)
    else:
        parts = split_rows(len(rows.y), fraction, seed, rows.y if rows.y.ndim == 1 else None)
    rest, held_out = (
        Answered(table.take(of), rows.y[of], None if rows.weight is None else rows.weight[of]) for of in parts
    )
    return rest, held_out


def _check_there(table: Table, option: str, name: str) -> None:
    names = table.columns.column_names
    if name not in names:
        raise TableError(table.name, [Trouble(option, f"names no column: {name!r}{meant(name, names)}")])
