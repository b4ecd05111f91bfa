"""A name of data as it is typed: how it is read, and whether a block at a time."""

from dataclasses import dataclass, replace
from typing import Any

from fastbp._base.memory import available
from fastbp.data.reading.files import STANDARD_INPUT, bytes_of, ending, read_table
from fastbp.data.reading.large import open_large
from fastbp.data.reading.table import FOUND, AnyTable, ReadOptions
from fastbp.data.sources import is_table_source, opened

# Of a table in memory there is its text or its types, the rows of each part, and their features
MEMORY_OF_FILE = 8  # bytes for each byte of a file


@dataclass(frozen=True)
class Source:
    """Data to train on, to evaluate on or to predict from.

    Attributes
    ----------
    name : str
        As `fastbp.load_dataset` takes it.
    reading : ReadOptions
        What is said of how text is read.
    stream : bool or None
        Whether a table is read a block at a time; None: if it is so large that memory would not do.
    """

    name: str
    reading: ReadOptions = FOUND
    stream: bool | None = None

    def open(self, assumed: ReadOptions = FOUND) -> Any:
        """Return a Table or a LargeTable; the name of what is no table."""
        if self.is_large():
            return open_large(self.name, self.reading, assumed)
        return opened(self.name, self.reading, assumed)

    def table(self) -> AnyTable:
        """Return a table; an error if it is none."""
        return open_large(self.name, self.reading) if self.is_large() else read_table(self.name, self.reading)

    def is_large(self) -> bool:
        """Tell whether it is to be read a block at a time; ValueError if it cannot be."""
        if self.stream is None:
            usual = self.name != STANDARD_INPUT and not ending(self.name).startswith(".json")
            return usual and is_table_source(self.name) and MEMORY_OF_FILE * bytes_of(self.name) > available()
        if self.stream and not is_table_source(self.name):
            self.refuse_stream()
        return self.stream

    def in_blocks(self) -> "Source":
        """Return what is read a block at a time, unless another thing was said."""
        return replace(self, stream=True) if self.stream is None else self

    def refuse_stream(self) -> None:
        """Raise ValueError if it should be read a block at a time."""
        if self.stream:
            raise ValueError(f"{self.name} is no table, and so takes no --stream")
