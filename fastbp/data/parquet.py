"""Parquet files of numbers, larger than memory: a row group is a block."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.data.blocks import Blocks, checked_window
from fastbp.data.reading.arrow import index_of
from fastbp.kernels.compile.forks import imports

__all__ = ["ParquetBlocks"]

Array = NDArray[Any]
AT_ONCE = 1 << 14  # rows that are decoded at a time
DECODED_BYTES = 1 << 25  # of the columns that are read together: pyarrow holds all of a row group's that are


class ParquetBlocks(Blocks):
    """Rows of Parquet files of numbers, read a row group at a time: for `Trainer.fit` and `evaluate`.

    Text, categories, times and missing values need an encoder, which `fastbp train` and `fastbp.TableModel` have.

    Parameters
    ----------
    path : str, path, or a sequence of them
        Files of the same columns, one after the other.
    target : str or sequence of str
        The column to predict, or several: y is (rows,) as in the file, or (rows, columns).
    features : sequence of str, optional
        The columns of x, in this order; without it all that are neither target nor weight nor an index of pandas.
    weight : str, optional
        The column that says how much each row counts.
    window : int, optional
        How many row groups are shuffled together, see `Blocks`.
    dtype : {"float32", "float64"}, default "float32"
        What x is read as: the model's.

    Attributes
    ----------
    features : tuple of str
        The columns of x.

    Raises
    ------
    ImportError
        Without pyarrow (extra ``data``).
    FileNotFoundError, ValueError
        If a file is missing or no Parquet file, or has no such column, no numbers in it, or other columns than the
        first. When a block is read, if a number is missing or not finite.

    Notes
    -----
    Memory goes by row groups, of which two windows and one are there at a time: 64k to 256k rows are good. pyarrow and
    pandas write up to a million into one, ``row_group_size=131072`` fewer.

    Examples
    --------
    >>> import os, tempfile, numpy as np, pyarrow as pa, pyarrow.parquet, fastbp
    >>> path, x = os.path.join(tempfile.mkdtemp(), "rows.parquet"), np.random.default_rng(0).uniform(-3, 3, (2, 6000))
    >>> table = pa.table({"a": x[0], "b": x[1], "y": np.sin(x[0]) * x[1]})
    >>> pa.parquet.write_table(table, path, row_group_size=1000)
    >>> source = fastbp.ParquetBlocks(path, "y", window=3)
    >>> source.features, source.sizes
    (('a', 'b'), array([1000, 1000, 1000, 1000, 1000, 1000]))
    >>> trainer = fastbp.Trainer(fastbp.mlp([2, 32, 1], "tanh", rng=0), "mse", fastbp.Adam(1e-2))
    >>> history = trainer.fit(source, epochs=5, batch_size=64, rng=0, progress=False)
    >>> trainer.evaluate(source)["loss"] < 0.1
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        target: str | Sequence[str],
        *,
        features: Sequence[str] | None = None,
        weight: str | None = None,
        window: int | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        who = type(self).__name__
        paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
        self._dtype, self.window = np.dtype(dtype), checked_window(window, who)
        if self._dtype not in (np.float32, np.float64):
            raise TypeError(f"{who} expects dtype float32 or float64, got {self._dtype}")
        if not paths:
            raise ValueError(f"{who} expects a file, got none")
        self._target = target if isinstance(target, str) else tuple(target)
        self._weight = weight
        targets = (self._target,) if isinstance(self._target, str) else self._target
        beside = (*targets, *([weight] if weight else []))
        groups: list[tuple[Path, int, int]] = []  # file, row group, rows
        for one in map(Path, paths):
            schema, sizes = _described(one)
            if features is None:
                index = index_of(schema)
                features = [name for name in schema.names if name not in (*beside, *index)]
            _check_columns(schema, [*features, *beside], one)
            groups += [(one, group, size) for group, size in enumerate(sizes) if size]
        if not groups or not features:
            raise ValueError(f"{paths[0]} has {'no column beside the target' if groups else 'no rows'}")
        self.features = tuple(features or ())
        self._groups = groups
        self.sizes = np.array([size for _, _, size in groups])

    def read(self, block: int) -> tuple[Array, ...]:
        """Read a row group."""
        path, group, rows = self._groups[block]
        with imports:
            from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            x, weight = np.empty((rows, len(self.features)), self._dtype), np.empty(rows if self._weight else 0)
            columns = dict(zip(self.features, x.T, strict=True))
            if isinstance(self._target, str):
                y = np.empty(rows, file.schema_arrow.field(self._target).type.to_pandas_dtype())
                columns[self._target] = y
            else:
                y = np.empty((rows, len(self._target)), np.float64)
                columns |= zip(self._target, y.T, strict=True)
            if self._weight:
                columns[self._weight] = weight
            names, together = list(columns), max(1, DECODED_BYTES // (8 * rows))
            for first in range(0, len(names), together):
                _fill({name: columns[name] for name in names[first : first + together]}, file, group)
        _check_finite(x, self.features)
        _check_finite(y, (self._target,) if isinstance(self._target, str) else self._target)
        return (x, y, weight) if self._weight else (x, y)

    def name(self, block: int) -> str:
        """Return which row group of which file a block is."""
        path, group, _ = self._groups[block]
        return f"{path}: row group {group}"


def _described(path: Path) -> tuple[Any, list[int]]:
    """Return the schema of a file, and the rows of its row groups."""
    if not path.exists():
        raise FileNotFoundError(f"no file {str(path)!r}")
    try:
        with imports:
            import pyarrow as pa
            from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"reading {path.name} needs pyarrow: pip install 'fastbp[data]'") from error
    try:
        with parquet.ParquetFile(path) as file:
            metadata = file.metadata
            return file.schema_arrow, [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as parquet: {error}") from error


def _check_columns(schema: Any, names: Sequence[str], path: Path) -> None:
    import pyarrow as pa

    if missing := [name for name in names if name not in schema.names]:
        raise ValueError(f"{path} has no column {', '.join(map(repr, missing))}; it has {', '.join(schema.names)}")
    if repeated := sorted({name for name in names if names.count(name) > 1 or schema.names.count(name) > 1}):
        raise ValueError(f"{path}: each column should be there and named once, got {', '.join(repeated)} twice")
    for name in names:
        kind = schema.field(name).type
        if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise ValueError(f"{path}: column {name!r} should hold numbers, got {kind}")


def _fill(columns: dict[str, Array], file: Any, group: int) -> None:
    """Read columns of a row group; an error that names the row if a number is missing."""
    at = 0
    with np.errstate(over="ignore"):
        for batch in file.iter_batches(AT_ONCE, row_groups=[group], columns=list(columns), use_threads=False):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if column.null_count:
                    row = at + column.is_null().to_pylist().index(True)
                    raise ValueError(f"column {name!r} has no value in row {row}")
                columns[name][at : at + len(column)] = column.to_numpy(zero_copy_only=False)
            at += len(batch)


def _check_finite(array: Array, names: Sequence[str]) -> None:
    """Raise ValueError if a number is not finite; the names are those of the columns."""
    for first in range(0, len(array), AT_ONCE):
        part = array[first : first + AT_ONCE]
        if part.dtype.kind == "f" and not (finite := np.isfinite(part)).all():
            row, column = np.argwhere(~finite.reshape(len(part), -1))[0].tolist()
            value = part.reshape(len(part), -1)[row, column]
            raise ValueError(
                f"column {names[column]!r} should hold finite {part.dtype} numbers, got {value} in row {first + row}"
            )
