"""Tables that are larger than memory: files of which a block of rows is read at a time."""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base.kinds import ARROW, PARQUET, TEXT, UNKNOWN, kind_of, kind_of_bytes
from fastbp.data.reading.arrow import check_schema, index_of, without_views
from fastbp.data.reading.blocks import ArrowSource, ParquetSource, Source
from fastbp.data.reading.copied import copied_parquet, copied_text
from fastbp.data.reading.decimals import decimal_mark
from fastbp.data.reading.encoding import PIECE
from fastbp.data.reading.files import (
    STANDARD_INPUT,
    Part,
    another,
    difference,
    ending,
    kind_by_ending,
    need_pyarrow,
    paths_of,
    refuse_options,
    said,
)
from fastbp.data.reading.packed import unpack_to
from fastbp.data.reading.table import FOUND, ReadOptions, Table, TableError, Trouble
from fastbp.data.reading.temporary import temporary_file

if TYPE_CHECKING:
    import pyarrow

MOST_BYTES = 1 << 25  # of a row group that is read at once


@dataclass(frozen=True, eq=False)
class LargeTable:
    """A table whose blocks of rows are read when they are needed. What it says of itself is as of `Table`.

    Attributes
    ----------
    sources : list of Source
        The files, whose rows stand below each other.
    schema : pyarrow.Schema
        Of all of them.
    name, read_as, decimal, header, index, first_line
        As of `Table`.
    copied : int
        Bytes of temporary files.
    sizes, starts : ndarray of int64, (blocks,)
        Rows of each block, and the number of its first one.
    """

    sources: Sequence[Source]
    schema: "pyarrow.Schema"
    name: str
    read_as: str = ""
    decimal: str = "."
    header: bool = True
    index: tuple[str, ...] = ()
    first_line: int | None = None
    copied: int = 0
    # Of the blocks of all files: which file, which of its blocks, and the row that it begins with
    _places: list[tuple[int, int]] = field(init=False, repr=False)
    sizes: NDArray[np.int64] = field(init=False)
    starts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Count through the blocks of all files."""
        places = [(i, j) for i, source in enumerate(self.sources) for j, rows in enumerate(source.sizes) if rows]
        sizes = np.array([self.sources[i].sizes[j] for i, j in places], np.int64)
        object.__setattr__(self, "_places", places)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "starts", np.cumsum(sizes) - sizes)
        check_schema(self.schema, len(self), self.name)

    @property
    def column_names(self) -> list[str]:
        """The names of all columns."""
        return list(self.schema.names)

    @property
    def names(self) -> list[str]:
        """The names of the columns, but for those of the index."""
        return [name for name in self.schema.names if name not in self.index]

    def __len__(self) -> int:
        return int(self.sizes.sum())

    @property
    def options(self) -> ReadOptions:
        """How other text of the same table is to be read where it does not tell by itself."""
        return ReadOptions(decimal=self.decimal, header=self.header) if self.read_as else FOUND

    def read(self, block: int, columns: Sequence[str] | None = None) -> Table:
        """Read a block, of all columns or of some."""
        file, place = self._places[block]
        columns = self.schema.names if columns is None else columns
        found = self.sources[file].read(place, columns).select(columns)
        wanted = self._schema_of(tuple(columns))
        if not found.schema.equals(wanted):
            found = self._cast(found, wanted)
        start = int(self.starts[block])
        rows = np.arange(start, start + len(found))
        return Table(found, self.name, self.read_as, self.decimal, self.header, self.index, self.first_line, rows=rows)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Table]:
        """Yield all rows, block by block, of all columns or of some."""
        return (self.read(block, columns) for block in range(len(self.sizes)))

    def where(self, row: int) -> str:
        """Say where a row is, counted from 0 here and from 1 there: ``"row 3"``, ``"row 3 (line 4)"``."""
        return self._no_rows.where(row)

    @cached_property
    def _no_rows(self) -> Table:
        return Table(self.schema.empty_table(), self.name, first_line=self.first_line)

    def _cast(self, columns: "pyarrow.Table", wanted: "pyarrow.Schema") -> "pyarrow.Table":
        """Return columns in the types of all files; TableError if one does not hold all values."""
        import pyarrow as pa

        try:
            return without_views(columns).cast(wanted)
        except pa.ArrowException as error:
            raise _of_other_types(self.name, error) from error

    def _schema_of(self, columns: tuple[str, ...]) -> "pyarrow.Schema":
        import pyarrow as pa

        return pa.schema([self.schema.field(name) for name in columns])


def open_large(name: str, options: ReadOptions = FOUND, assumed: ReadOptions = FOUND) -> LargeTable:
    """Open a table that is read a block at a time; arguments and errors are those of `read_table`.

    Text is copied into a temporary file, and so is Parquet whose row groups are too large.
    """
    if name == STANDARD_INPUT:
        raise TableError("standard input", [Trouble("", "cannot be read a block at a time", "--no-stream")])
    need_pyarrow(name)
    parts = [_opened(str(path), options, assumed) for path in paths_of(name)]
    first = parts[0]
    if troubles := [difference(first, part) for part in parts if set(part.names) != set(first.names)]:
        raise TableError(name, troubles)
    schema = joined_schema([part.columns for part in parts], first.names, name)
    texts = [part.text for part in parts if part.text]
    decimal = options.over(assumed).decimal

    def rows() -> Iterator[Any]:
        return (part.columns.read(i, part.names) for part in parts for i in range(len(part.columns.sizes)))

    if texts and decimal is None:
        decimal = decimal_mark(rows, texts[0].dialect.separator, any(text.has_commas for text in texts))
    decimal = decimal or "."
    return LargeTable(
        [part.columns for part in parts],
        schema,
        name,
        read_as=" / ".join(dict.fromkeys(said(part, decimal) for part in parts)),
        decimal=decimal,
        header=all(text.header for text in texts),
        index=first.index,
        first_line=texts[0].first_line if len(parts) == 1 and texts else None,
        copied=sum(part.columns.copied for part in parts),
    )


def _opened(name: str, options: ReadOptions, assumed: ReadOptions) -> Part:
    """Open a file as its content says."""
    kind, wanted = kind_of(name), kind_by_ending(name)
    if kind in ("a folder", "no regular file", "empty"):
        raise TableError(name, [another(ending(name), kind)])
    if kind in (PARQUET, ARROW) and wanted in ("", kind):
        source = _source(name, kind)
        refuse_options(name, options)
        return Part(source, name, "", index=index_of(source.schema))
    content, packed = _mapped(name)
    inside, is_json = kind_of_bytes(content[:PIECE]), wanted == "" and content[:PIECE].lstrip()[:1] in (b"{", b"[")
    if inside not in (TEXT, UNKNOWN) or wanted not in ("", TEXT) or is_json:
        what = f"is {'JSON' if is_json else inside}, which cannot be read a block at a time"
        raise TableError(name, [Trouble("", what, "--no-stream")])
    source, text = copied_text(content, name, options.over(assumed))
    return Part(source, name, packed, text, text.index)


def _source(name: str, kind: str) -> Source:
    if kind == ARROW:
        with open(name, "rb") as file:
            return ArrowSource(file, name)
    source = ParquetSource(name)
    return copied_parquet(source) if source.largest > MOST_BYTES else source


def _mapped(path: str) -> tuple[mmap.mmap, str]:
    """Map the content of a file into memory, of one that is packed a temporary copy; say by what it is packed."""
    with temporary_file() as copy, open(path, "rb") as file:
        packed = unpack_to(copy, path)
        return mmap.mmap((copy if packed else file).fileno(), 0, access=mmap.ACCESS_READ), packed


def joined_schema(sources: Sequence[Source], names: Sequence[str], name: str) -> "pyarrow.Schema":
    """Return the types of columns of files below each other; TableError if they do not fit together."""
    import pyarrow as pa

    schemas = [source.schema.remove_metadata() for source in sources]
    try:
        joined = pa.unify_schemas(schemas, promote_options="permissive") if len(schemas) > 1 else schemas[0]
    except pa.ArrowException as error:
        raise _of_other_types(name, error) from error
    views = {field.name: pa.large_string() for field in joined if str(field.type) == "string_view"}
    return pa.schema([joined.field(each).with_type(views.get(each, joined.field(each).type)) for each in names])


def _of_other_types(name: str, error: Exception) -> TableError:
    return TableError(name, [Trouble("", f"holds files whose columns differ in type: {error}")])
