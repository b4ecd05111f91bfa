"""Data frames of any library as a table: pandas, polars, Arrow and all that can give an Arrow table."""

from typing import Any

from fastbp.data.reading.arrow import checked, index_of
from fastbp.data.reading.table import Table, TableError, Trouble
from fastbp.kernels.compile.forks import imports


def is_frame(x: Any) -> bool:
    """Whether x is a table of columns that have names."""
    return any(hasattr(x, name) for name in ("__arrow_c_stream__", "__dataframe__")) and hasattr(x, "columns")


def read_frame(x: Any, name: str = "") -> Table:
    """Return a data frame as a table; the index of one of pandas is left out.

    Parameters
    ----------
    x : data frame
        Of pandas, polars, Arrow, or any with ``__arrow_c_stream__`` or ``__dataframe__``.
    name : str, optional
        What errors call it; else its class.

    Raises
    ------
    TableError
        If a column holds objects of several kinds, two have one name, or there are no rows.
    ImportError
        Without pyarrow.
    """
    name = name or type(x).__name__
    try:
        with imports:
            import pyarrow as pa
            from pyarrow import interchange
    except ImportError as error:
        raise ImportError(f"reading {name} needs pyarrow: pip install 'fastbp[data]'") from error
    if isinstance(x, pa.Table):
        table = x
    elif hasattr(x, "iloc"):
        table = _of_pandas(x, name)
    else:
        table = pa.table(x) if hasattr(x, "__arrow_c_stream__") else interchange.from_dataframe(x)
    return Table(checked(table, name), name, index=index_of(table.schema))


def _of_pandas(x: Any, name: str) -> Any:
    import pyarrow as pa

    if len(set(map(str, x.columns))) < len(x.columns):
        raise TableError(name, [Trouble("", f"has several columns of one name: {', '.join(map(str, x.columns))}")])
    arrays, troubles = {}, []
    for column in x.columns:
        try:
            arrays[str(column)] = pa.array(x[column], from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError) as error:
            troubles.append(Trouble(f"column {column!r}", f"holds objects of several kinds: {error}"))
    if troubles:
        raise TableError(name, troubles)
    return pa.table(arrays)
