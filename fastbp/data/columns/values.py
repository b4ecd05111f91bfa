"""Values of a column as they stand in a table: which are missing, and what a type of pyarrow is taken for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.column import Column
from fastbp.data.reading.table import AnyTable, Table
from fastbp.kernels.compile.forks import imports

if TYPE_CHECKING:
    import pyarrow

Array = NDArray[Any]
Mask = NDArray[np.bool_]

# Text that stands for a missing value, whatever the column holds. "None" and "-" do not: they may be an answer.
MISSING = (
    "", "?", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "NAN", "-nan", "-NaN", "1.#QNAN", "-1.#IND",
    "NULL", "Null", "null", "NaT",
)  # fmt: skip
# Further ones among numbers and times, of which none can be an answer
AMONG_NUMBERS = ("-", "--", "---", ".", "..", "None", "none", "na", "n.a.")


@dataclass(frozen=True, eq=False)
class Read:
    """A column as it was read.

    Attributes
    ----------
    values : ndarray of float64 or int64, (rows,)
        int64 where float64 would lose digits, and of times. Where a value is missing or wrong they mean nothing.
    missing : ndarray of bool, (rows,)
    wrong : ndarray of bool, (rows,)
        What stands there and cannot be read.
    """

    values: Array
    missing: Mask
    wrong: Mask

    @property
    def known(self) -> Array:
        """The values that are there."""
        return np.asarray(self.values[~(self.missing | self.wrong)])


def plain(column: Any) -> "pyarrow.Array":
    """Return a column as one array without a dictionary; of text without blanks around it, null where it is missing."""
    with imports:
        import pyarrow as pa
        import pyarrow.compute as pc

    if isinstance(column, pa.ChunkedArray):
        if is_text(column.type):
            column = column.cast(pa.large_string())  # chunks of over 2 GB do not fit in one array of strings
        if pa.types.is_dictionary(column.type):
            column = column.unify_dictionaries()
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # of no chunks, in some versions
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        column = column.cast(pa.large_string())
    if not is_text(column.type):
        return column
    return without(pc.utf8_trim_whitespace(column.cast(pa.large_string())), MISSING)


def column_of(table: AnyTable, name: str) -> "Column[pyarrow.Array]":
    """Return a column of a `Table`, or of one that is larger than memory, as `plain` has it."""
    if isinstance(table, Table):
        block = plain(table.columns.column(name))
        return Column([block], block.type)
    import pyarrow as pa

    kind = plain(pa.chunked_array([], table.schema.field(name).type)).type
    return Column(lambda: (plain(block.columns.column(name)) for block in table.blocks([name])), kind)


def without(texts: "pyarrow.Array", marks: tuple[str, ...]) -> "pyarrow.Array":
    """Return texts with null in place of these."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.is_in(texts, value_set=pa.array(marks, texts.type))
    return pc.if_else(found, pa.scalar(None, texts.type), texts) if pc.any(found).as_py() else texts


def is_text(kind: Any) -> bool:
    """Tell whether a type of pyarrow is one of text."""
    return str(kind) in {"string", "large_string", "string_view"}


def is_numeric(kind: Any) -> bool:
    """Tell whether a type of pyarrow is read as numbers: lengths of time and times of day among them."""
    import pyarrow as pa

    kinds = ("is_integer", "is_floating", "is_decimal", "is_duration", "is_time")
    return any(getattr(pa.types, each)(kind) for each in kinds)


def bools(mask: "pyarrow.Array") -> Mask:
    """Return an array of numpy."""
    return np.array(mask.to_numpy(zero_copy_only=False), bool)
