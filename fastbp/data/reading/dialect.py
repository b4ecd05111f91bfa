"""How the lines of a text are parted into fields: the separator, the quote, and which lines are above the table.

All of it is decided on a sample, by trying what is usual and looking whether all lines have as many fields. That the
rest of the file is so, too, its reader checks.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from fastbp.data.reading.header import is_header, is_value
from fastbp.data.reading.table import ReadOptions

# Separators that are looked for. Of those that fit equally well the first one: in "1,5;x" the comma is a decimal mark
USUAL = ("\t", ";", ",", "|", " ")
ONE_COLUMN = "\x01"  # parts no line
MOST_ABOVE = 20  # lines that may stand above a table
SCORED = 500  # rows
_END = "\x02"
_IN_QUOTES = re.compile(r"(?:^|[,;|\t ])'[^'\r\n]*'(?=[,;|\t ]|\r|$)", re.MULTILINE)
_BLANKS = re.compile(rb'"[^"]*"|[ \t]+')


@dataclass(frozen=True)
class Dialect:
    """What parts a line into fields.

    Attributes
    ----------
    separator : str
        ``" "`` is any run of spaces and tabs.
    quote : str
        The character around fields that hold separators or ends of lines; ``""`` for none.
    escape : bool
        Whether a backslash is before quotes inside quotes, which else are doubled.
    """

    separator: str
    quote: str = '"'
    escape: bool = False

    def __str__(self) -> str:
        named = {"\t": "tab separated", " ": "separated by spaces", ONE_COLUMN: "one column"}
        words = [named.get(self.separator, f"{self.separator!r} separated")]
        if self.quote != '"':
            words.append(f"quote {self.quote}" if self.quote else "no quotes")
        return ", ".join(words)


@dataclass(frozen=True)
class Record:
    """The fields of a row, and the lines where it begins and ends, counted from 1."""

    cells: list[str]
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Layout:
    """A sample in a dialect.

    Attributes
    ----------
    records : list of Record
        All that are not blank, but for the lines above the table.
    above : list of Record
        Lines above the table: comments, which begin with "#", and titles.
    width : int
        Fields of most records.
    unclosed : int or None
        The line with a quote that is not closed.
    """

    dialect: Dialect
    records: list[Record]
    above: list[Record]
    width: int
    unclosed: int | None = None
    share: float = field(init=False)  # of the records that have this width
    values: float = field(init=False)  # share of fields that are numbers, dates or times

    def __post_init__(self) -> None:
        rows = self.records[1:] if self.short_header else self.records
        share = sum(len(record.cells) == self.width for record in rows) / max(len(rows), 1)
        cells = [cell for record in self.records[1 : SCORED + 1] for cell in record.cells]
        object.__setattr__(self, "share", share)
        object.__setattr__(self, "values", sum(map(is_value, cells)) / max(len(cells), 1))

    @property
    def short_header(self) -> bool:
        """Whether the first line has a field less, as the header of a table has whose rows have names or end in ","."""
        return len(self.records) > 2 < self.width == len(self.records[0].cells) + 1

    @property
    def fits(self) -> bool:
        """Whether all lines are parted into as many fields, more than one."""
        return self.width > 1 and self.share == 1 and self.unclosed is None


def find_layout(sample: str, cut: bool, options: ReadOptions) -> Layout:
    """Find the dialect of a sample of text.

    Parameters
    ----------
    sample : str
        Whole lines.
    cut : bool
        Whether the file goes on behind them; the last record may then be a part of one.
    options : ReadOptions
        What is given of it.
    """
    quotes = [options.quote] if options.quote is not None else ["'"] if _single_quotes(sample) else ['"', ""]
    separators = [options.separator] if options.separator is not None else [s for s in USUAL if s in sample]
    tried: list[Layout] = []
    for quote in quotes:
        if not quote and not any(layout.unclosed for layout in tried):
            continue  # quotes are text only where they cannot be quotes
        for escape in (False, True) if quote and f"\\{quote}" in sample else (False,):
            tried += [_layout(sample, cut, Dialect(separator, quote, escape)) for separator in separators]
        if any(map(_is_table, tried)):
            break
    fitting = list(filter(_is_table, tried))
    if options.separator is not None:
        return (fitting or tried)[0]
    if fitting:  # the first of several
        return max(fitting, key=lambda layout: (-len(layout.above), layout.values))
    ragged = [
        layout
        for layout in tried
        if layout.width > 1
        and layout.share >= 0.5
        and (layout.short_header or len(layout.records[0].cells) == layout.width)
        and layout.dialect.separator != " "
    ]
    if ragged:
        return max(ragged, key=lambda layout: layout.share)
    columns = [_layout(sample, cut, Dialect(ONE_COLUMN, quote)) for quote in quotes]
    return next((column for column in columns if column.unclosed is None), columns[0])


def records(lines: Iterator[str], dialect: Dialect) -> Iterator[Record]:
    """Part lines into records, blank ones included; at last the one that a mark at the end makes: see `ended`."""
    separator = "\t" if dialect.separator == " " else dialect.separator
    reader = csv.reader(
        chain(lines, [_END]),
        delimiter=separator,
        quotechar=dialect.quote or None,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        escapechar="\\" if dialect.escape else None,
        skipinitialspace=separator != "\t",
    )
    first = 1
    try:
        for cells in reader:
            yield Record([cell.strip() for cell in cells], first, reader.line_num)
            first = reader.line_num + 1
    except csv.Error:  # a field that is longer than the module takes
        yield Record([_END], first, first)


def ended(record: Record) -> bool:
    """Whether a record is the mark at the end of a text. The last one is not, where a quote is still open."""
    return record.cells == [_END]


def parted_by_tabs(content: bytes, quote: str) -> bytes:
    """Return text with each run of blanks outside of quotes as one tab, and none at the ends of lines."""
    if quote and quote.encode() in content:
        pattern = _BLANKS if quote == '"' else re.compile(_BLANKS.pattern.replace(b'"', re.escape(quote).encode()))
        mark = quote.encode()
        content = pattern.sub(lambda run: run[0] if run[0].startswith(mark) else b"\t", content)
        return b"\n".join(line.strip(b"\t") for line in content.splitlines())
    return b"\n".join(b"\t".join(line.split()) for line in content.splitlines())


def _layout(sample: str, cut: bool, dialect: Dialect) -> Layout:
    if dialect.separator == " ":
        sample = parted_by_tabs(sample.encode(), dialect.quote).decode()
    *found, end = records(io.StringIO(sample, newline=""), dialect)
    unclosed = None if cut or ended(end) else end.first
    found = [record for record in found if any(record.cells)]
    above = 0
    while above < min(len(found), MOST_ABOVE) and found[above].cells[0].startswith("#"):
        above += 1
    widths = Counter(len(record.cells) for record in found[above:])
    width = widths.most_common(1)[0][0] if widths else 0
    if above and len(found[above - 1].cells) == width > 1 and not _has_names(found[above:], width):
        above -= 1  # a header such as "#,name,type"
    elif width > 2:
        titles = [len(record.cells) for record in found[above : above + MOST_ABOVE]]
        above += next((i for i, n in enumerate(titles) if 2 * n > width), 0)
    return Layout(dialect, found[above:], found[:above], width, unclosed)


def _has_names(rows: list[Record], width: int) -> bool:
    """Whether the first of some rows names the columns, and that is sure."""
    body = [record.cells for record in rows[1:SCORED] if len(record.cells) == width]
    return len(rows[0].cells) == width and is_header(rows[0].cells, body) == (True, True)


def _is_table(layout: Layout) -> bool:
    """Whether a layout fits; spaces may also be those between words, and so are to have numbers between them."""
    return layout.fits and (layout.dialect.separator != " " or layout.values > 0)


def _single_quotes(sample: str) -> bool:
    """Whether fields are in single quotes."""
    return '"' not in sample and len(_IN_QUOTES.findall(sample)) > sample.count("'") / 4
