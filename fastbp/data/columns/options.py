"""What a user says of the columns of a table."""

import difflib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import ClassVar

from fastbp.data.reading.table import AnyTable, TableError, Trouble

# Options that may name the same column; any other two would have it be two things.
TOGETHER = (
    {"features", "categorical"},
    {"features", "numeric"},
    *({"time", option} for option in ("features", "categorical", "numeric", "drop")),
)


@dataclass(frozen=True)
class ColumnOptions:
    """What columns are, where the rules should not decide.

    Attributes
    ----------
    features : tuple of str
        The columns to learn from; all that are nothing else without it.
    drop : tuple of str
        Columns to leave out.
    categorical, numeric : tuple of str
        Columns that are categories, or numbers: what cannot be read as one counts as missing there.
    weight : str, optional
        The column with the weight of each row.
    group : str, optional
        The column whose rows of one value stay together when rows are split.
    time : str, optional
        The column by which rows are split, early ones from late ones. It stays a feature, unless it is
        dropped.
    target : tuple of str
        The columns to predict.
    """

    features: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    target: tuple[str, ...] = ()

    dashes: ClassVar[str] = "--"  # what stands before the name of an option where it is said

    def __post_init__(self) -> None:
        """Refuse a single string, whose letters would be taken for names."""
        for name in ("features", "drop", "categorical", "numeric", "target"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"ColumnOptions expects {name} to be a tuple of names, got {getattr(self, name)!r}")

    def check(self, table: AnyTable) -> None:
        """Raise a `TableError` that names every column that is not there, or would be two things."""
        names = table.column_names
        said = {field.name: _names(getattr(self, field.name)) for field in fields(self)}
        troubles = [
            Trouble(f"{self.dashes}{option}", f"names no column: {name!r}{meant(name, names)}")
            for option, columns in said.items()
            for name in columns
            if name not in names
        ]
        troubles += [
            Trouble(f"{self.dashes}{one} and {self.dashes}{other}", f"both name {name!r}")
            for one, other in itertools.combinations(said, 2)
            if {one, other} not in TOGETHER
            for name in said[one]
            if name in said[other]
        ]
        if troubles:
            raise TableError(table.name, troubles)


class ColumnParameters(ColumnOptions):
    """The same, of parameters of an estimator."""

    dashes = ""


def meant(name: str, names: Iterable[str]) -> str:
    """Say which name may have been meant: ``"; it has 'Age'"``, or ``""``."""
    by_small = {other.casefold(): other for other in names}
    close = difflib.get_close_matches(name.casefold(), by_small, 1, 0.75)
    return f"; there is {by_small[close[0]]!r}" if close else ""


def _names(value: tuple[str, ...] | str | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()
