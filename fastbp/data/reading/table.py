"""What passes from the readers of tables to those who make features of columns: a table, and all that is wrong with it.

Readers do not decide what a column means, and what makes features of columns opens no file.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow

MOST_TROUBLES = 8  # that a message tells one by one


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file, where that is not to be found out; None leaves it to the reader.

    Attributes
    ----------
    separator : str, optional
        The character between the fields of a line; ``" "`` means any run of spaces.
    decimal : {".", ","}, optional
        The decimal mark of numbers.
    encoding : str, optional
        The name of an encoding that Python knows, such as ``"cp1252"``.
    header : bool, optional
        Whether the first line names the columns.
    quote : str, optional
        The character around fields that hold the separator; ``""`` for none.
    missing : tuple of str
        Further texts that stand for a missing value, beside those that always do.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    quote: str | None = None
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no file could be read by."""
        if isinstance(self.missing, str) or not all(isinstance(text, str) for text in self.missing):
            raise TypeError(f"missing should be a sequence of texts, got {self.missing!r}")
        object.__setattr__(self, "missing", tuple(self.missing))  # a list of a file
        for name, value in (("separator", self.separator), ("quote", self.quote)):
            if value is not None and (len(value) > 1 or value in "\r\n\0" * (value != "")):
                raise ValueError(f"{name} should be one character, got {value!r}")
        if self.separator == "":
            raise ValueError("separator should be one character, got ''")
        if self.separator is not None and self.separator == self.quote:
            raise ValueError(f"separator and quote should differ, got {self.separator!r} for both")
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"decimal should be '.' or ',', got {self.decimal!r}")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError:
                raise ValueError(f"encoding should be one that Python knows, got {self.encoding!r}") from None
        if self.decimal is not None and self.decimal == self.separator:
            raise ValueError(f"separator and decimal should differ, got {self.decimal!r} for both")

    def given(self) -> dict[str, Any]:
        """Return what is not left to the reader, by name."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}

    def over(self, others: "ReadOptions") -> "ReadOptions":
        """Return these options, and where one is None the other's."""
        return replace(others, **self.given())


FOUND = ReadOptions()  # all of it by the reader


@dataclass(frozen=True, eq=False)
class Table:
    """A table as a file or a data frame holds it.

    Attributes
    ----------
    columns : pyarrow.Table
        Names are unique. Of a text file every column is one of strings as they stood in the file (``"00501"`` stays),
        and null where a field is empty; Parquet, Feather, JSON and data frames keep their own types.
    name : str
        What errors call it.
    read_as : str
        What was found out: ``"';' separated, decimal comma, cp1252, header"``; ``""`` of what is no text.
    decimal : {".", ","}
        How numbers are written in columns of strings.
    header : bool
        Whether the file names its columns; else they are ``"0"``, ``"1"`` ...
    index : tuple of str
        Columns that number the rows and are no features.
    first_line : int or None
        The line of the first row of a text file each of whose rows is one line; None where rows are no lines.
    rows : ndarray of intp, optional
        Which rows of the file these are; None for all of them.
    """

    columns: "pyarrow.Table"
    name: str
    read_as: str = ""
    decimal: str = "."
    header: bool = True
    index: tuple[str, ...] = ()
    first_line: int | None = None
    rows: NDArray[np.intp] | None = None

    @property
    def names(self) -> list[str]:
        """The names of the columns, but for those of the index."""
        return [name for name in self.columns.column_names if name not in self.index]

    @property
    def column_names(self) -> list[str]:
        """The names of all columns."""
        return list(self.columns.column_names)

    @property
    def schema(self) -> "pyarrow.Schema":
        """Names and types of all columns."""
        return self.columns.schema

    def blocks(self, columns: Sequence[str] | None = None) -> "Iterator[Table]":
        """Yield all rows, block by block: there is one."""
        yield self

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    @property
    def options(self) -> ReadOptions:
        """How other text of the same table is to be read where it does not tell by itself."""
        return ReadOptions(decimal=self.decimal, header=self.header) if self.read_as else FOUND

    def take(self, rows: NDArray[np.intp]) -> "Table":
        """Return the table of some rows, in this order; errors call them as they are called in the file."""
        return replace(self, columns=self.columns.take(rows), rows=rows if self.rows is None else self.rows[rows])

    def where(self, row: int) -> str:
        """Say where a row is, counted from 0 here and from 1 there: ``"row 3"``, ``"row 3 (line 4)"``."""
        row = row if self.rows is None else int(self.rows[row])
        line = "" if self.first_line is None else f" (line {self.first_line + row})"
        return f"row {row + 1}{line}"


class AnyTable(Protocol):
    """What rules need of a table: one in memory, or one that is read a block at a time."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def read_as(self) -> str:
        """What was found out."""

    @property
    def decimal(self) -> str:
        """The decimal mark."""

    @property
    def index(self) -> tuple[str, ...]:
        """Columns that number the rows."""

    @property
    def column_names(self) -> list[str]:
        """The names of all columns."""

    @property
    def names(self) -> list[str]:
        """The names of the columns, but for those of the index."""

    @property
    def schema(self) -> "pyarrow.Schema":
        """Names and types of all columns."""

    def __len__(self) -> int: ...

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Table]:
        """Yield all rows, block by block, of all columns or of some."""

    def where(self, row: int) -> str:
        """Say where a row is, counted from 0 here and from 1 there."""


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong with a table.

    Attributes
    ----------
    where : str
        ``"line 12"``, ``"column 'age'"``; ``""`` for the file.
    what : str
        What is wrong there, such as ``"should have 3 fields, got 4"``.
    option : str
        The option that gets past it, such as ``"--encoding cp1252"``; ``""`` where there is none.
    """

    where: str
    what: str
    option: str = ""

    def __str__(self) -> str:
        way = f" ({self.option} gets past it)" if self.option else ""
        return f"{self.where} {self.what}".strip() + way


class TableError(ValueError):
    """All that is wrong with a table.

    Attributes
    ----------
    troubles : tuple of Trouble
        Each of them; the message tells the first ones and how many more there are.
    """

    def __init__(self, name: str, troubles: Iterable[Trouble]) -> None:
        self.name, self.troubles = name, tuple(troubles)
        told = [str(trouble) for trouble in self.troubles[:MOST_TROUBLES]]
        if more := len(self.troubles) - len(told):
            told.append(f"and {more} more")
        colon = ":" * bool(self.troubles and self.troubles[0].where)
        super().__init__(f"{name}{colon} {'; '.join(told)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.troubles)
