"""Tables that have types of their own: Parquet, and Arrow's files, which Feather is one of."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from fastbp.data.reading.table import TableError, Trouble
from fastbp.kernels.compile.forks import imports


def read_parquet(source: Path | bytes, name: str) -> Any:
    """Read a Parquet file into a pyarrow.Table."""
    with imports:
        import pyarrow as pa
        from pyarrow import parquet

    try:
        with parquet.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source) as file:
            return file.read()
    except (pa.ArrowException, OSError, UnicodeError) as error:  # a damaged file raises any of them
        raise TableError(name, [Trouble("", f"cannot be read as parquet: {error}")]) from error


def read_arrow(content: bytes, name: str) -> Any:
    """Read an Arrow file, an Arrow stream or a Feather file of either version into a pyarrow.Table."""
    with imports:
        import pyarrow as pa
        from pyarrow import feather, ipc

    try:
        if content.startswith(b"FEA1"):
            return feather.read_table(pa.BufferReader(content))
        opened = ipc.open_file if content.startswith(b"ARROW1") else ipc.open_stream
        with opened(pa.BufferReader(content)) as reader:
            table = reader.read_all()
            table.validate(full=True)  # offsets in a damaged file lead anywhere
            return table
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise TableError(name, [Trouble("", f"cannot be read as an Arrow file: {error}")]) from error


def checked(table: Any, name: str) -> Any:
    """Return a table if its names differ and it has rows; strings in views, which few functions take, as others."""
    check_schema(table.schema, len(table), name)
    return without_views(table)


def check_schema(schema: Any, rows: int, name: str) -> None:
    """Raise TableError if names of columns repeat, or there are no columns or no rows."""
    repeated = sorted({repr(column) for column, count in Counter(schema.names).items() if count > 1})
    troubles = [Trouble("", f"has several columns named {', '.join(repeated)}")] if repeated else []
    if not schema.names:
        troubles.append(Trouble("", "has no columns"))
    elif not rows:
        troubles.append(Trouble("", "holds no rows"))
    if troubles:
        raise TableError(name, troubles)


def without_views(table: Any) -> Any:
    """Return a table with strings in views as others."""
    with imports:
        import pyarrow as pa

    for j, field in enumerate(table.schema):
        if str(field.type) == "string_view":
            table = table.set_column(j, field.name, table.column(j).cast(pa.large_string()))
        elif pa.types.is_dictionary(field.type) and str(field.type.value_type) == "string_view":
            kind = pa.dictionary(field.type.index_type, pa.large_string(), field.type.ordered)
            parts = [(part.indices, part.dictionary.cast(pa.large_string())) for part in table.column(j).chunks]
            parts = [pa.DictionaryArray.from_arrays(*part, ordered=field.type.ordered) for part in parts]
            table = table.set_column(j, field.name, pa.chunked_array(parts, kind))
    return table


def index_of(schema: Any) -> tuple[str, ...]:
    """Name the columns that pandas wrote an index in."""
    told = (schema.pandas_metadata or {}).get("index_columns", [])
    return tuple(column for column in schema.names if column in told or re.fullmatch(r"__index_level_\d+__", column))
