"""A file, a glob, a folder or the standard input as one table."""

import glob
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastbp._base.kinds import ARROW, BZIP2, GZIP, PARQUET, TEXT, UNKNOWN, XZ, ZIP, ZSTD, kind_of, kind_of_bytes
from fastbp.data.reading.arrow import checked, index_of, read_arrow, read_parquet
from fastbp.data.reading.decimals import decimal_mark
from fastbp.data.reading.encoding import as_utf8
from fastbp.data.reading.json import read_json
from fastbp.data.reading.packed import ENDINGS as PACKED
from fastbp.data.reading.packed import unpacked
from fastbp.data.reading.table import FOUND, ReadOptions, Table, TableError, Trouble
from fastbp.data.reading.text import Text, read_text, without
from fastbp.kernels.compile.forks import imports

STANDARD_INPUT = "-"
# What a file without an ending that tells may be, to be read as a table; UNKNOWN: text in another encoding
KINDS = (TEXT, PARQUET, ARROW, GZIP, BZIP2, XZ, ZSTD, ZIP, UNKNOWN)
# What the ending of a name says of a file
_TEXT_ENDINGS = (".csv", ".tsv", ".tab", ".psv", ".txt", ".dat", ".data")
_KINDS = {
    **dict.fromkeys(_TEXT_ENDINGS, TEXT),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "JSON"),
    **dict.fromkeys((".parquet", ".pq"), PARQUET),
    **dict.fromkeys((".feather", ".arrow", ".ipc"), ARROW),
}


def ending(path: str) -> str:
    """Return the ending of a name that tells what a file is: ``".csv"`` of ``"a.csv.gz"``."""
    suffixes = Path(path).suffixes
    packed = suffixes[-1:] and suffixes[-1].lower() in PACKED
    return "".join(suffixes[-2:-1] if packed else suffixes[-1:]).lower()


def is_table(name: str) -> bool:
    """Whether a name says that it is one of a table, by its ending, or the standard input."""
    return name == STANDARD_INPUT or ending(name) in _KINDS


def is_pattern(name: str) -> bool:
    """Whether a name is no file but a pattern of names."""
    return glob.has_magic(name) and not Path(name).exists()


def holds_tables(folder: Path) -> bool:
    """Whether a folder has files of tables, by their endings."""
    return bool(_inside(folder))


def read_table(name: str, options: ReadOptions = FOUND, assumed: ReadOptions = FOUND) -> Table:
    """Read a table.

    Parameters
    ----------
    name : str
        A file; a pattern of names such as ``"part-*.csv"`` or a folder, whose files have the same columns; or ``"-"``,
        the standard input. Packed files are unpacked.
    options : ReadOptions
        Of text; a file of another kind is refused if there are any.
    assumed : ReadOptions
        What holds for text where `options` say nothing, and for other files does not matter.

    Raises
    ------
    FileNotFoundError
        If no file has this name.
    TableError
        If a file is none of a table or damaged, or does not suit the options.
    ImportError
        Without pyarrow.
    """
    need_pyarrow(name)
    if name == STANDARD_INPUT:
        shown = "standard input"
        content = sys.stdin.buffer.read()
        parts = [_part(content, shown, "", options, assumed)]
    else:
        shown = name
        parts = [_read_file(path, options, assumed) for path in paths_of(name)]
    return _joined(shown, parts, options.over(assumed).decimal)


def need_pyarrow(name: str) -> None:
    """Raise ImportError without pyarrow."""
    try:
        with imports:
            import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(f"reading {Path(name).name} needs pyarrow: pip install 'fastbp[data]'") from error


@dataclass(frozen=True, eq=False)
class Part:
    """One file: a pyarrow.Table, or what reads blocks of it, and what text it was, if it was any."""

    columns: Any
    name: str
    packed: str
    text: Text | None = None
    index: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.columns.schema.names)


def kind_by_ending(path: str) -> str:
    """Return what the ending of a name says that a file is: ``""`` if nothing."""
    return _KINDS.get(ending(path), "")


def paths_of(name: str) -> list[Path]:
    """Return the files of a name; FileNotFoundError or TableError if there are none."""
    path = Path(name)
    if path.is_dir():
        files = _inside(path)
        if not files:
            raise TableError(name, [Trouble("", f"holds no table: no file that ends in {', '.join(_KINDS)}")])
        return files
    if path.exists():
        return [path]
    found = sorted(glob.glob(name)) if is_pattern(name) else []
    if not found:
        raise FileNotFoundError(f"no file or folder {name!r}")
    return [Path(file) for file in found]


def bytes_of(name: str) -> int:
    """Return how large the files of a name are."""
    return sum(path.stat().st_size for path in paths_of(name))


def _inside(folder: Path) -> list[Path]:
    """Return the files of a folder that are tables by their endings; names with "." or "_" first are of programs."""
    return [path for path in sorted(folder.iterdir()) if ending(path.name) in _KINDS and path.name[0] not in "._"]


def _read_file(path: Path, options: ReadOptions, assumed: ReadOptions) -> Part:
    name, kind = str(path), kind_of(path)
    if kind in ("a folder", "no regular file", "empty"):
        raise TableError(name, [another(ending(name), kind)])
    if kind == PARQUET and _KINDS.get(ending(name), PARQUET) == PARQUET:
        return _typed(read_parquet(path, name), name, "", options)
    return _part(path.read_bytes(), name, ending(name), options, assumed)


def _part(content: bytes, name: str, suffix: str, options: ReadOptions, assumed: ReadOptions) -> Part:
    """Read the content of a file: as its ending says, or else as what it is."""
    content, packed = unpacked(content, name)
    kind = kind_of_bytes(content)
    wanted = _KINDS.get(suffix, "")
    if kind in (TEXT, UNKNOWN):  # UNKNOWN may be text in another encoding
        is_json = wanted == "JSON" or (not wanted and content.lstrip()[:1] in (b"{", b"["))
        kind = "JSON" if is_json else TEXT
    if kind not in ("JSON", TEXT, PARQUET, ARROW) or wanted not in ("", kind):
        raise TableError(name, [another(suffix, kind_of_bytes(content), packed)])
    if kind == TEXT:
        text = read_text(content, name, options.over(assumed))
        return Part(without(text.columns, options.over(assumed).missing), name, packed, text, text.index)
    if kind == "JSON":
        table = read_json(as_utf8(content, options.over(assumed).encoding, name)[0].decode(), name)
        return _typed(table, name, packed, replace(options, encoding=None))
    return _typed(read_parquet(content, name) if kind == PARQUET else read_arrow(content, name), name, packed, options)


def another(suffix: str, kind: str, packed: str = "") -> Trouble:
    """Say that a file is not what it should be."""
    inside = f" in a file packed by {packed}" if packed else ""
    return Trouble("", f"is no {suffix or 'table'}{' file' * bool(suffix)}: it is {kind}{inside}")


def _typed(table: Any, name: str, packed: str, options: ReadOptions) -> Part:
    """Make the part of a file that has types; options of text cannot be honoured."""
    refuse_options(name, options)
    return Part(table, name, packed, index=index_of(table.schema))


def refuse_options(name: str, options: ReadOptions) -> None:
    """Raise TableError if there are options, for what is no text."""
    if given := options.given():
        raise TableError(name, [Trouble("", f"is no table of text, and so takes no --{', --'.join(given)}")])


def _joined(name: str, parts: list[Part], decimal: str | None) -> Table:
    """Put the rows of files of one schema below each other."""
    import pyarrow as pa

    first = parts[0]
    names = first.names
    if troubles := [difference(first, part) for part in parts if set(part.names) != set(names)]:
        raise TableError(name, troubles)
    columns = first.columns
    if len(parts) > 1:
        try:
            tables = [part.columns.select(names) for part in parts]
            columns = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise TableError(name, [Trouble("", f"holds files whose columns differ in type: {error}")]) from error
    columns = checked(columns, name)
    texts = [part.text for part in parts if part.text]
    if texts and decimal is None:
        decimal = decimal_mark(lambda: [columns], texts[0].dialect.separator, any(text.has_commas for text in texts))
    decimal = decimal or "."
    return Table(
        columns,
        name,
        read_as=" / ".join(dict.fromkeys(said(part, decimal) for part in parts)),
        decimal=decimal,
        header=all(text.header for text in texts),
        index=first.index,
        first_line=texts[0].first_line if len(parts) == 1 and texts else None,
    )


def difference(first: Part, part: Part) -> Trouble:
    """Say which columns a file has other than the first one."""
    ours, theirs = first.names, part.names
    lacks = [repr(name) for name in ours if name not in theirs]
    more = [repr(name) for name in theirs if name not in ours]
    words = [f"lacks {', '.join(lacks)}"] * bool(lacks) + [f"has {', '.join(more)} besides"] * bool(more)
    return Trouble(part.name, f"{' and '.join(words)}, other than {first.name}")


def said(part: Part, decimal: str) -> str:
    """Say what a file was found to be."""
    text = part.text
    if text is None:
        return ""
    words = [str(text.dialect), "decimal comma" if decimal == "," else "", *text.found, part.packed]
    return ", ".join(filter(None, words))
