"""Data frames of any library as arrays: the columns in their order; one without numbers is refused by name."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.kernels.compile.forks import imports

Array = NDArray[Any]
# Its name, its type as the frame has it, and its values, which are objects if they are no numbers
Column = tuple[str, Any, Array]
NO_NUMBERS = np.empty(0, object)


def as_array(x: Any, dtype: np.dtype[Any], who: str, name: str) -> Array:
    """Return what comes as an array; a data frame becomes one of `dtype`, in which what is missing is NaN.

    NumPy would make an array of Python objects of columns of several types. A frame of pandas whose columns are of one
    type is returned as it stands in memory.
    """
    if type(x) is np.ndarray or not _is_frame(x):
        return np.asarray(x)
    if hasattr(x, "iloc"):
        kinds = set(x.dtypes)
        if len(kinds) == 1 and all(isinstance(kind, np.dtype) and kind.kind in "fiub" for kind in kinds):
            return np.asarray(x)
        rows, columns = len(x), _of_pandas(x, dtype)
    else:
        frame = _of_narwhals(x)
        if frame is None:
            return np.asarray(x)
        rows, columns = len(frame), _of_any(frame)
    found = []
    for column, kind, values in columns:
        if values.dtype.kind not in "fiub" or values.dtype.itemsize > 8:
            where = f"dtype {kind} in column {column!r}"
            raise TypeError(f"{who} expects {name} of real numbers up to 64 bits, got {where}")
        found.append(values)
    array = np.empty((rows, len(found)), dtype)
    for i, values in enumerate(found):
        array[:, i] = values
    return array


def _is_frame(x: Any) -> bool:
    """Whether x is a table of columns. What has none to show, such as a Series, is an array to NumPy."""
    if hasattr(x, "iloc"):
        return getattr(x, "ndim", 0) == 2
    if not (hasattr(x, "__arrow_c_stream__") or hasattr(x, "__dataframe__")):
        return False
    return hasattr(x, "columns") or not hasattr(x, "__array__")


def _of_pandas(x: Any, dtype: np.dtype[Any]) -> Iterator[Column]:
    for i, kind in enumerate(x.dtypes):
        is_number = kind.kind in "fiub" and getattr(kind, "itemsize", 8) <= 8  # that of a sparse column has no size
        yield x.columns[i], kind, x.iloc[:, i].to_numpy(dtype, na_value=np.nan) if is_number else NO_NUMBERS


def _of_narwhals(x: Any) -> Any:
    """Return a frame of any library as narwhals has it; None without narwhals, if NumPy can read x."""
    try:
        with imports:
            import narwhals
    except ImportError:
        if hasattr(x, "__array__"):
            return None
        raise ImportError(
            f"narwhals, which reads the columns of {type(x).__name__}, is not installed: pip install 'fastbp[data]'"
        ) from None
    frame = narwhals.from_native(x, eager_only=True, pass_through=True)
    if frame is not x:
        return frame
    if not hasattr(x, "__arrow_c_stream__"):  # but the older protocol
        from pyarrow.interchange import from_dataframe

        x = from_dataframe(x)
    return narwhals.DataFrame.from_arrow(x, backend="pyarrow")


def _of_any(frame: Any) -> Iterator[Column]:
    import narwhals

    for column, kind in frame.schema.items():
        values = frame[column]
        if kind == narwhals.Boolean:  # which NumPy takes for objects where some are missing
            values = values.cast(narwhals.Int8)
        yield column, kind, values.to_numpy() if kind == narwhals.Boolean or kind.is_numeric() else NO_NUMBERS
