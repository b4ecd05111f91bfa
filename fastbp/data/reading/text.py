"""Tables of text: each field as it stands, in columns of strings."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from fastbp.data.reading.dialect import Dialect, Layout, Record, ended, find_layout, parted_by_tabs, records
from fastbp.data.reading.encoding import as_utf8, check_characters
from fastbp.data.reading.header import is_header, is_value
from fastbp.data.reading.table import ReadOptions, TableError, Trouble
from fastbp.kernels.compile.forks import imports

SAMPLE = 1 << 20  # bytes that the dialect is found on
SCORED = 1000  # rows that the header is told by
BLOCK = 1 << 20
_LINE_END = re.compile(rb"\r\n?|\n")


@dataclass(frozen=True, eq=False)
class Text:
    """What a text holds.

    Attributes
    ----------
    columns : pyarrow.Table
        Of strings; null where a field is empty. Spaces around a field are no part of it.
    dialect : Dialect
    header : bool
    found : tuple of str
        What was found out, in words, but for the separator.
    index : tuple of str
    first_line : int or None
        As of `Table`.
    has_commas : bool
        Whether a field may hold one.
    """

    columns: Any
    dialect: Dialect
    header: bool
    found: tuple[str, ...]
    index: tuple[str, ...]
    first_line: int | None
    has_commas: bool


def read_text(content: bytes, name: str, options: ReadOptions) -> Text:
    """Read a text in any usual encoding.

    Raises
    ------
    TableError
        Of all lines that do not fit, or of what is no text of a table.
    """
    content, encoding = as_utf8(content, options.encoding, name)
    content = content.rstrip(b"\x1a")  # the end of a file, to old programs
    check_characters(content, name, options.separator or "")
    layout = find_layout(*sample_of(content), options)
    head = Head.of(layout, options.header, name)
    dialect = layout.dialect
    content = content[start_of(content, head.line) :]
    content = as_parted(content, dialect, len(head.names))
    table = _rows(content, dialect, head, name)
    if not len(table):
        raise TableError(name, [Trouble("", "holds no rows below its header", "--no-header")])
    if head.ends_empty and not table.column(head.names[-1]).drop_null():
        table = table.drop_columns([head.names[-1]])
    words = found_words(encoding, layout, head)
    one_each = count_lines(content) + (not content.endswith((b"\n", b"\r"))) == len(table)
    commas = b"," in content and (dialect.separator != "," or dialect.quote.encode() in content)
    return Text(table, dialect, head.header, words, _index(table, head), head.line if one_each else None, commas)


def count_lines(content: bytes) -> int:
    """Return how many ends of lines there are."""
    return len(_LINE_END.findall(content)) if b"\r" in content else content.count(b"\n")


def found_words(encoding: str, layout: Layout, head: "Head") -> tuple[str, ...]:
    """Say what was found out, but for the separator."""
    return (encoding, *(f"line {record.first} left out" for record in layout.above), head.said)


def as_parted(content: bytes, dialect: Dialect, width: int) -> bytes:
    """Return text as pyarrow parts it: with one tab for a run of spaces, and no space before a quote."""
    if dialect.separator == " ":
        return parted_by_tabs(content, dialect.quote)
    if width == 1:
        return content.rstrip(b"\r\n")  # else the last row would be an empty one
    separator, quote = re.escape(dialect.separator.encode()), dialect.quote.encode()
    if quote and quote in content and dialect.separator.encode() + b" " + quote in content:
        # not where the quote is one of two inside of quotes
        space = b"(%s|^) +%s(?!%s[^%s\r\n])" % (separator, quote, quote, separator)
        return re.sub(space, rb"\1" + quote, content, flags=re.MULTILINE)
    return content


def sample_of(content: bytes) -> tuple[str, bool]:
    """Return the first lines, and whether there are others."""
    if len(content) <= SAMPLE:
        return content.decode(), False
    cut = max(content.rfind(b"\n", 0, SAMPLE), content.rfind(b"\r", 0, SAMPLE - 1)) + 1
    return content[: cut or SAMPLE].decode(errors="ignore"), True


@dataclass(frozen=True)
class Head:
    """The names of the columns, and the line of the first row."""

    names: list[str]
    header: bool
    line: int
    said: str
    unnamed: bool = False  # the first column, whose place a header leaves empty
    ends_empty: bool = False  # a header with nothing behind its last separator

    @classmethod
    def of(cls, layout: Layout, header: bool | None, name: str) -> "Head":
        """Find the header of a sample; `header` is what is given of it."""
        if layout.unclosed is not None:
            raise TableError(name, [_unclosed(layout.unclosed, layout.dialect)])
        if not layout.records:
            raise TableError(name, [Trouble("", "holds no rows")])
        first = layout.records[0]
        body = [record.cells for record in layout.records[1:SCORED] if len(record.cells) == layout.width]
        cells, told = first.cells, True
        if layout.short_header and header is not False:
            header, cells = True, _filled(cells, body)
        elif header is None and len(cells) == layout.width:
            header, told = is_header(cells, body)
        if not header:
            names = [str(j) for j in range(layout.width)]
            return cls(names, False, first.first, "no header")
        if len(cells) != layout.width:
            raise TableError(name, [_misfit(first, layout.width)])
        names = [cell or f"Unnamed: {j}" for j, cell in enumerate(cells)]
        if cells[0].startswith("#") and layout.dialect.separator != " ":
            names[0] = cells[0].lstrip("# ") or "#"
        if repeated := [repr(name) for name, count in Counter(names).items() if count > 1]:
            raise TableError(name, [Trouble("", f"has several columns named {', '.join(repeated)}")])
        said = "header" if told else "header assumed (nothing tells it from the rows)"
        return cls(names, True, first.last + 1, said, not cells[0], len(cells) > 1 and not cells[-1])


def _filled(cells: list[str], body: list[list[str]]) -> list[str]:
    """Return a header that is one field short, with an empty one behind it, or before it where rows have names."""
    if not any(row[-1] for row in body):
        return [*cells, ""]
    labels = [row[0] for row in body]
    if len(set(labels)) == len(labels) and (labels == _counted(labels) or not any(map(is_value, labels))):
        return ["", *cells]
    return cells


def _counted(labels: list[str]) -> list[str]:
    """Return as many numbers, from the first one of some labels."""
    start = int(labels[0]) if labels[0].isdecimal() else 0
    return [str(start + i) for i in range(len(labels))]


def _rows(content: bytes, dialect: Dialect, head: Head, name: str) -> Any:
    """Return the rows as columns of strings; TableError if one does not fit."""
    with imports:
        import pyarrow as pa
        from pyarrow import csv

    if not content or content.isspace():
        return pa.table({name: [] for name in head.names})
    odd: list[Any] = []

    def skip(row: Any) -> str:
        if row.text.strip():
            odd.append(row)
        return "skip"

    parse, convert = csv_options(dialect, head.names, skip, quotes=dialect.quote.encode() in content)
    for block in (BLOCK, len(content) + 1):  # all of it where a row is longer than a block
        try:
            read = csv.ReadOptions(column_names=head.names, block_size=block)
            table = csv.read_csv(pa.BufferReader(content), read, parse, convert)
        except pa.ArrowInvalid as error:
            if block > len(content) or "straddling" not in str(error):
                raise TableError(name, [Trouble("", f"cannot be read as a table of text: {error}")]) from error
        else:
            break
    last = table.column(table.num_columns - 1)[-1].as_py() if len(table) else ""
    is_open = "\n" in (last or "") and not content.rstrip().endswith(dialect.quote.encode())
    if odd or is_open:
        raise TableError(name, misfits(io.StringIO(content.decode(), newline=""), dialect, head))
    return trimmed(table) if b" " in content else table


def csv_options(dialect: Dialect, names: list[str], skip: Callable[[Any], str], *, quotes: bool) -> tuple[Any, Any]:
    """Return how pyarrow parts text, which may have quotes, and makes columns of strings of it."""
    import pyarrow as pa
    from pyarrow import csv

    parse = csv.ParseOptions(
        delimiter="\t" if dialect.separator == " " else dialect.separator,
        quote_char=dialect.quote or False,
        escape_char="\\" if dialect.escape else False,
        newlines_in_values=quotes,
        ignore_empty_lines=len(names) > 1,  # a row of one column may be empty
        invalid_row_handler=skip,
    )
    types = dict.fromkeys(names, pa.string())
    return parse, csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)


def trimmed(table: Any) -> Any:
    """Return columns without spaces around their fields."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for j, column in enumerate(table.columns):
        bare = pc.utf8_trim_whitespace(column)
        if not bare.equals(column):
            bare = pc.if_else(pc.equal(bare, ""), pa.scalar(None, pa.string()), bare)
            table = table.set_column(j, table.column_names[j], bare)
    return table


def without(columns: Any, marks: tuple[str, ...]) -> Any:
    """Return columns of text with null in place of these."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not marks:
        return columns
    for i, name in enumerate(columns.column_names):
        column = columns.column(i)
        is_mark = pc.is_in(pc.utf8_trim_whitespace(column), value_set=pa.array(marks, column.type))
        columns = columns.set_column(i, name, pc.if_else(is_mark, pa.scalar(None, column.type), column))
    return columns


def misfits(lines: Iterator[str], dialect: Dialect, head: Head) -> Iterator[Trouble]:
    """Yield what is wrong with each row that does not fit, by its line."""
    above, width = head.line - 1, len(head.names)
    for record in records(lines, dialect):
        record = replace(record, first=record.first + above)
        if not any(record.cells):
            continue
        if "\x02" in record.cells[-1] and not ended(record):
            yield _unclosed(record.first, dialect)
        elif len(record.cells) != width and not ended(record):
            yield _misfit(record, width)


def _misfit(record: Record, width: int) -> Trouble:
    fields = f"{width} field{'s' * (width != 1)}"
    return Trouble(f"line {record.first}", f"should have {fields}, got {len(record.cells)}")


def _unclosed(line: int, dialect: Dialect) -> Trouble:
    return Trouble(f"line {line}", f"opens a quote {dialect.quote} that is not closed", "--quote ''")


def _index(table: Any, head: Head) -> tuple[str, ...]:
    """Name the first column if it has no name and numbers the rows, or names each."""
    import pyarrow.compute as pc

    if not head.unnamed or len(head.names) == 1:
        return ()
    labels = table.column(0)
    numbers = pc.all(pc.match_substring_regex(labels, r"^\d+$")).as_py()
    return (head.names[0],) if numbers or pc.count_distinct(labels).as_py() == len(table) else ()


def start_of(content: bytes, line: int) -> int:
    """Return where a line begins, counted from 1."""
    ends = (end.end() for end in _LINE_END.finditer(content))
    return next(islice(ends, line - 2, None), len(content)) if line > 1 else 0
