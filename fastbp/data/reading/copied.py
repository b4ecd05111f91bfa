"""Text that is larger than memory: parted once, into a temporary Arrow file whose blocks are read from then on."""

import io
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from fastbp.data.reading.blocks import ROWS, ArrowSource, ParquetSource
from fastbp.data.reading.dialect import Dialect, find_layout
from fastbp.data.reading.encoding import PIECE, check_characters, utf8_pieces
from fastbp.data.reading.table import ReadOptions, TableError, Trouble
from fastbp.data.reading.temporary import temporary_file
from fastbp.data.reading.text import (
    SAMPLE,
    Head,
    Text,
    as_parted,
    count_lines,
    csv_options,
    found_words,
    misfits,
    sample_of,
    start_of,
    trimmed,
    without,
)
from fastbp.kernels.compile.forks import imports

AT_ONCE = (1 << 22, 1 << 26)  # bytes of text that are parted at a time; the second where a row is longer
MOST_LABELS = 1_000_000  # of rows that are compared


def copied_text(content: mmap.mmap, name: str, options: ReadOptions) -> tuple[ArrowSource, Text]:
    """Copy the rows of a text into an Arrow file; return it, and what the text was found to be.

    It holds what `read_text` returns of the same text, whose errors it raises.
    """
    pieces, encoding = _pieces(content, name, options)
    start = b""
    while len(start) <= SAMPLE and (piece := next(pieces, b"")):
        start += piece
    layout = find_layout(*sample_of(start), options)
    head = Head.of(layout, options.header, name)

    def rows() -> Iterator[bytes]:
        """Yield the text below the header, a piece at a time."""
        pieces, _ = _pieces(content, name, options)
        first = b""
        while len(first) <= len(start) and (piece := next(pieces, b"")):
            first += piece
        return chain([first[start_of(first, head.line) :]], pieces)

    for size in AT_ONCE:
        with temporary_file() as file:
            copy = _Copy(file, layout.dialect, head, name, options.missing)
            if copy.write(rows(), size, last=size == AT_ONCE[-1]):
                break
    if copy.odd or copy.is_open:
        lines = io.TextIOWrapper(io.BufferedReader(_Stream(rows())), encoding="utf-8", newline="")
        raise TableError(name, misfits(lines, layout.dialect, head))
    if copy.source is None:
        raise TableError(name, [Trouble("", "holds no rows below its header", "--no-header")])
    seen, dialect = copy.seen, layout.dialect
    one_each = seen.lines + (not seen.tail.endswith((b"\n", b"\r"))) == copy.rows
    commas = seen.commas and (dialect.separator != "," or seen.quotes)
    words = found_words(encoding, layout, head)
    source, first_line = copy.source, head.line if one_each else None
    if head.ends_empty and not copy.ends_full:
        source.schema = source.schema.remove(len(head.names) - 1)
    return source, Text(source, dialect, head.header, words, _index(source, head), first_line, commas)


def copied_parquet(source: ParquetSource) -> ArrowSource:
    """Copy a Parquet file whose row groups are too large to be read at once: of each one column after the other."""
    with imports:
        import pyarrow as pa

    schema = source.schema.remove_metadata()
    with temporary_file() as file:
        with pa.ipc.new_file(file, schema) as writer:
            for block in range(len(source.sizes)):
                columns = [_outside(source.read(block, [name])) for name in schema.names]
                writer.write_table(pa.table(columns, schema=schema), max_chunksize=ROWS)
        file.flush()
        return ArrowSource(file, source.name, is_copy=True)


def _outside(table: Any) -> Any:
    """Return the column of a table, in a temporary file in the place of memory."""
    import pyarrow as pa

    with temporary_file() as file:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        file.flush()
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(content))).read_all().column(0)


def _pieces(content: mmap.mmap, name: str, options: ReadOptions) -> tuple[Iterator[bytes], str]:
    """Yield a text in UTF-8, a piece at a time; an error for what no text holds."""
    pieces, encoding = utf8_pieces(content, options.encoding, name)

    def checked() -> Iterator[bytes]:
        lines, held = 0, b""
        for i, piece in enumerate(pieces):
            if not i or b"\0" in piece:
                check_characters(piece, name, options.separator or "", lines)
            lines += count_lines(piece)
            piece = held + piece
            kept = piece.rstrip(b"\x1a")  # the end of a file, to old programs
            held = piece[len(kept) :]
            yield kept

    return checked(), encoding


@dataclass
class _Seen:
    """What went by of a text."""

    lines: int = 0
    commas: bool = False
    quotes: bool = False
    spaces: bool = False
    tail: bytes = b""


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


@dataclass
class _Copy:
    """An Arrow file of rows of text, as it is written."""

    file: Any
    dialect: Dialect
    head: Head
    name: str
    missing: tuple[str, ...]
    source: ArrowSource | None = None  # what it is when it is written, if there are rows
    seen: _Seen = field(default_factory=_Seen)
    rows: int = 0
    odd: bool = False  # whether a row does not fit
    is_open: bool = False  # whether a quote is not closed
    ends_full: bool = False  # whether the last column has a value
    last_breaks: bool = False  # whether the last field has several lines

    def write(self, pieces: Iterator[bytes], size: int, *, last: bool) -> bool:
        """Write all rows; False if one is longer than `size` bytes, unless it is the `last` try."""
        with imports:
            import pyarrow as pa
            from pyarrow import csv

        quote = self.dialect.quote.encode()
        # Whether quotes may hold ends of lines is to be known at first, and costs little where none do
        parse, convert = csv_options(self.dialect, self.head.names, self._skip, quotes=bool(quote))
        read = csv.ReadOptions(column_names=self.head.names, block_size=size)
        names = self.head.names
        schema = pa.schema([pa.field(name, pa.string()) for name in names])
        stream = io.BufferedReader(_Stream(self._watched(pieces)), PIECE)
        waiting: list[Any] = []
        try:
            with pa.ipc.new_file(self.file, schema) as writer:
                for batch in csv.open_csv(stream, read, parse, convert) if stream.peek(1) else ():
                    self._note(batch)
                    waiting.append(self._cleaned(pa.Table.from_batches([batch])))
                    waiting = _write_full(writer, waiting)
                _write_rest(writer, waiting)
        except pa.ArrowInvalid as error:
            if "straddling" in str(error) and not last:
                return False
            raise TableError(self.name, [Trouble("", f"cannot be read as a table of text: {error}")]) from error
        self.file.flush()
        self.is_open = self.last_breaks and not self.seen.tail.rstrip().endswith(quote)
        self.source = ArrowSource(self.file, self.name, is_copy=True) if self.rows else None
        return True

    def _note(self, batch: Any) -> None:
        """Keep what is to be known of the last column."""
        column = batch.column(batch.num_columns - 1)
        self.rows += batch.num_rows
        self.ends_full = self.ends_full or column.null_count < len(column)
        if len(column):
            self.last_breaks = "\n" in (column[-1].as_py() or "")

    def _cleaned(self, table: Any) -> Any:
        return without(trimmed(table) if self.seen.spaces else table, self.missing)

    def _skip(self, row: Any) -> str:
        self.odd = self.odd or bool(row.text.strip())
        return "skip"

    def _watched(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield text as pyarrow parts it, in whole lines, and note what goes by."""
        seen, quote, width = self.seen, self.dialect.quote.encode(), len(self.head.names)
        held = b""
        for piece in _whole_lines(pieces):
            text = held + as_parted(piece, self.dialect, width)
            held = b""
            if width == 1 or self.dialect.separator == " ":  # then the end of the last line is cut off
                held = piece[len(piece.rstrip(b"\r\n")) :]
            seen.lines += count_lines(text)
            seen.commas = seen.commas or b"," in text
            seen.quotes = seen.quotes or (bool(quote) and quote in text)
            seen.spaces = seen.spaces or b" " in text
            seen.tail = text[-100:]
            yield text


def _whole_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same text in pieces that end with a line."""
    left = b""
    for piece in pieces:
        piece = left + piece
        cut = max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, len(piece) - 1)) + 1
        left = piece[cut:]
        if cut:
            yield piece[:cut]
    if left:
        yield left


def _write_full(writer: Any, tables: list[Any]) -> list[Any]:
    """Write as many blocks as there are whole ones in tables; return what is left."""
    import pyarrow as pa

    if sum(map(len, tables)) < ROWS:
        return tables
    joined = pa.concat_tables(tables).combine_chunks()
    whole = len(joined) - len(joined) % ROWS
    writer.write_table(joined.slice(0, whole), max_chunksize=ROWS)
    return [joined.slice(whole)]


def _write_rest(writer: Any, tables: list[Any]) -> None:
    import pyarrow as pa

    if tables:
        writer.write_table(pa.concat_tables(tables).combine_chunks(), max_chunksize=ROWS)


def _index(source: ArrowSource, head: Head) -> tuple[str, ...]:
    """Name the first column if it has no name and numbers the rows, or names each: the first million of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not head.unnamed or len(head.names) == 1:
        return ()
    name, numbers, rows = head.names[0], True, 0
    labels = pa.chunked_array([], pa.string())
    for block in range(len(source.sizes)):
        column = source.read(block, [name]).column(0)
        numbers = numbers and bool(pc.all(pc.match_substring_regex(column, r"^\d+$")).as_py())
        if rows < MOST_LABELS:
            rows += len(column)
            labels = pc.unique(pa.chunked_array([*labels.chunks, *column.chunks], pa.string()))
            labels = pa.chunked_array([labels])
        elif not numbers:
            break
    return (name,) if numbers or len(labels.drop_null()) == rows else ()
