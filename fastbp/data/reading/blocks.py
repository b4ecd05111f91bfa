"""Files of which a block of rows is read at a time: Parquet by its row groups, Arrow as it stands in the file."""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from fastbp.data.reading.table import TableError, Trouble
from fastbp.kernels.compile.forks import imports

if TYPE_CHECKING:
    import pyarrow

ROWS = 1 << 16  # of a block of an Arrow file, and of a copy of text


class Source(Protocol):
    """A file whose blocks are read one by one, from any thread."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def schema(self) -> "pyarrow.Schema":
        """Names and types of its columns."""

    @property
    def sizes(self) -> list[int]:
        """Rows of each block."""

    @property
    def copied(self) -> int:
        """Bytes of a temporary file that it is."""

    def read(self, block: int, columns: Sequence[str]) -> "pyarrow.Table":
        """Read some columns of a block."""


@dataclass(frozen=True, eq=False)
class ParquetSource:
    """A Parquet file: its blocks are its row groups."""

    name: str
    metadata: Any = field(init=False)
    schema: Any = field(init=False)
    sizes: list[int] = field(init=False)
    largest: int = field(init=False)  # bytes of a row group
    copied: int = 0

    def __post_init__(self) -> None:
        """Read the end of the file, which says what is in it."""
        with imports:
            import pyarrow as pa
            from pyarrow import parquet

        try:
            with parquet.ParquetFile(self.name) as file:
                schema, metadata = file.schema_arrow, file.metadata
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise self._damaged(error) from error
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        largest = max((metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)), default=0)
        found = {"metadata": metadata, "schema": schema, "sizes": sizes, "largest": largest}
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def read(self, block: int, columns: Sequence[str]) -> "pyarrow.Table":
        """Read some columns of a row group."""
        import pyarrow as pa
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(self.name, metadata=self.metadata) as file:
                return file.read_row_group(block, columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError, UnicodeError) as error:  # a damaged file raises any of them
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> TableError:
        return TableError(self.name, [Trouble("", f"cannot be read as parquet: {error}")])


class ArrowSource:
    """An Arrow file, mapped into memory: its blocks are at most `ROWS` rows of one of its batches.

    Parameters
    ----------
    file : open binary file
    name : str
    is_copy : bool
        Whether it is a temporary file.
    """

    def __init__(self, file: Any, name: str, is_copy: bool = False) -> None:
        with imports:
            import pyarrow as pa
            from pyarrow import ipc

        self.name = name
        try:
            self._content = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            self.copied = self._content.size if is_copy else 0
            with ipc.open_file(pa.BufferReader(self._content)) as reader:
                self.schema = reader.schema
                self._places: list[tuple[int, int]] = []
                self.sizes: list[int] = []
                for i in range(reader.num_record_batches):
                    batch = reader.get_batch(i)
                    batch.validate(full=True)  # offsets in a damaged file lead anywhere
                    for start in range(0, batch.num_rows, ROWS):
                        self._places.append((i, start))
                        self.sizes.append(min(ROWS, batch.num_rows - start))
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise TableError(name, [Trouble("", f"cannot be read as an Arrow file: {error}")]) from error

    def read(self, block: int, columns: Sequence[str]) -> "pyarrow.Table":
        """Read some columns of a block: what is not packed stays where it is in the file."""
        import pyarrow as pa
        from pyarrow import ipc

        batch, start = self._places[block]
        options = ipc.IpcReadOptions(included_fields=sorted(self.schema.get_field_index(name) for name in columns))
        with ipc.open_file(pa.BufferReader(self._content), options=options) as reader:
            found = pa.Table.from_batches([reader.get_batch(batch)])
        return found.slice(start, self.sizes[block])
