"""Data sets: the digits that come with fastbp, and one door to files on disk.

Nothing here unpickles: a data file is never a program.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastbp._base.guard import Guarded, guarded_record
from fastbp.data.arrays import Features, as_labels, as_quantities
from fastbp.data.reading.table import FOUND, ReadOptions
from fastbp.data.sources import Parts, load_digits, load_features, read_parts
from fastbp.data.split import split_rows, train_validation_split

__all__ = ["Dataset", "load_dataset", "load_digits", "load_features", "train_validation_split"]

Task = Literal["classification", "regression"]


@guarded_record
@dataclass(frozen=True, eq=False)
class Dataset(Guarded):
    """Training and test data, ready for a network.

    Attributes
    ----------
    x_train, x_test : ndarray of float32, (rows, features)
        C-contiguous features as in the file: neither scaled nor standardised. Of uint8 where bytes are kept.
    y_train, y_test : ndarray
        Class indices 0..C-1, int64, (rows,), or quantities, float32, (rows, outputs).
    task : {"classification", "regression"}
        Which of the two.
    classes : tuple of str
        Class names by index; empty for a regression.
    feature_names : tuple of str
        Column names; empty where the source has none.
    name : str
        ``"digits"``, the path, or the class of a data frame.
    read_as : str
        What was found out of a table of text: ``"';' separated, decimal comma, cp1252, header"``.
    reading : ReadOptions
        How other files of the same table are to be read: what was given, and what was found.
    """

    x_train: Features
    y_train: NDArray[Any]
    x_test: Features
    y_test: NDArray[Any]
    task: Task
    classes: tuple[str, ...]
    feature_names: tuple[str, ...]
    name: str
    read_as: str = ""
    reading: ReadOptions = FOUND

    def __repr__(self) -> str:
        rows = f"{len(self.x_train)} + {len(self.x_test)} rows of {self.x_train.shape[1]} features"
        answers = f"{len(self.classes)} classes" if self.classes else f"{self.y_train.shape[1]} outputs"
        return f"Dataset({self.name!r}, {self.task}, {rows}, {answers})"


def load_dataset(
    source: str | os.PathLike[str] | Any,
    *,
    target: str | None = None,
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    keep_bytes: bool = False,
    test: str | os.PathLike[str] | Any = None,
    reading: ReadOptions = FOUND,
    assumed: ReadOptions = FOUND,
) -> Dataset:
    """Load a data set and part it into training and test rows.

    Parameters
    ----------
    source : str, path or data frame
        - ``"digits"``, see `load_digits`;
        - a folder of IDX files with MNIST's names (``train-images-idx3-ubyte``), plain or ``.gz``, or those of other
          sets (``emnist-letters-train-images-idx3-ubyte``); a pattern such as ``"raw/emnist-letters-*"`` chooses one
          of several;
        - an ``.npz`` file with arrays ``x_train, y_train, x_test, y_test``, or ``x, y``, or
          ``X, y``; ``X_train`` etc. too;
        - a table: text (``.csv``, ``.tsv``, ``.txt``, ``.data`` ...), whose separator, quotes, decimal mark, encoding
          and header are found out; Parquet, Feather and Arrow files; JSON, an object a row, one a line or in a list,
          or an object of columns.
          Each may be packed (``.gz``, ``.bz2``, ``.xz``, ``.zip``, ``.zst``). A folder of such files, or a pattern of
          names such as ``"part-*.csv"``, is one table, and ``"-"`` the standard input. It needs pyarrow:
          ``pip install 'fastbp[data]'``;
        - a data frame of pandas, polars, Arrow or any other library that can give one of Arrow.
    target : str, optional
        The column to predict; tables need it, and only they. Columns of a text without header are ``"0"``, ``"1"`` ...
    task : {"classification", "regression"}, optional
        Without it targets that are strings, integers or bool are classes, and floats are
        quantities. Say ``"regression"`` for quantities counted in integers.
    classes : sequence of str, optional
        Class names in the order to encode them, as a trained model keeps them. Without it the
        labels that occur, sorted.
    feature_names : sequence of str, optional
        The columns of a table to read, in order, as a trained model keeps them. Without it all but
        the target.
    test_fraction : float, default 0.2
        The part of the rows held out for the test, drawn at random (class by class in a
        classification); 0 holds out none, 1 all. A source that holds its own test rows (IDX's
        ``t10k``, ``x_test``) is taken as it is.
    seed : int, default 0
        The same seed holds out the same rows.
    keep_bytes : bool, default False
        Whether bytes, as of images, stay uint8, a quarter of the memory; see `fastbp.Scaled`.
    test : str, path or data frame, optional
        Another source, all rows of which are the test rows; `source` is not split then.
    reading : ReadOptions, optional
        How to read text, where that is not to be found out.
    assumed : ReadOptions, optional
        How text is to be read where `reading` does not say, as ``Dataset.reading`` of the data that a model was
        trained on; of no matter for other files.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If the file is damaged, holds something else, misses values, or does not suit the options;
        the message names file and column.
    ImportError
        If a table is asked for and pyarrow is not installed.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> digits.x_train.shape, digits.x_test.shape, digits.task
    ((1437, 64), (360, 64), 'classification')
    >>> digits.classes
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    if not 0 <= test_fraction <= 1:
        raise ValueError(f"test_fraction should be in 0..1, got {test_fraction}")
    if task not in (None, "classification", "regression"):
        raise ValueError(f"task should be 'classification' or 'regression', got {task!r}")
    parts = read_parts(source, target, feature_names, keep_bytes, reading, assumed)
    name = parts.table.name if parts.table else os.fspath(source)
    if test is not None:
        parts = _with_test(parts, name, test, target, keep_bytes, reading, assumed)

    y = parts.y if parts.y_test is None else np.concatenate([parts.y, parts.y_test])
    what = f"{name}: target" if target is None else f"{name}: column {target!r}"
    if task is None:
        task = "regression" if y.dtype.kind == "f" and not classes else "classification"
    targets: NDArray[Any]
    names: tuple[str, ...] = ()
    if task == "classification":
        targets, names = as_labels(y, what, classes or None)
    else:
        targets = as_quantities(y, what)

    if parts.x_test is None:
        try:
            train, test_rows = _hold_out(targets, test_fraction, seed, task == "classification")
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        x_train, x_test = parts.x[train], parts.x[test_rows]
        y_train, y_test = targets[train], targets[test_rows]
    else:
        x_train, x_test = parts.x, parts.x_test
        y_train, y_test = targets[: len(x_train)], targets[len(x_train) :]
    found = parts.table.options if parts.table else FOUND
    return Dataset(
        x_train, y_train, x_test, y_test, task, names, parts.feature_names, name,
        parts.table.read_as if parts.table else "", reading.over(assumed).over(found),
    )  # fmt: skip


def _with_test(
    parts: Parts, name: str, test: Any, target: str | None, keep_bytes: bool, reading: ReadOptions, assumed: ReadOptions
) -> Parts:
    """Return parts with all rows of another source as test rows."""
    if parts.x_test is not None:
        raise ValueError(f"{name} holds test rows of its own, and takes no others")
    found = assumed.over(parts.table.options) if parts.table else FOUND
    others = read_parts(test, target, parts.feature_names or None, keep_bytes, reading, found)
    x, y = others.x, others.y
    if others.x_test is not None and others.y_test is not None:
        x, y = others.x_test, others.y_test
    if x.shape[1] != parts.x.shape[1] or y.shape[1:] != parts.y.shape[1:]:
        raise ValueError(
            f"{name} and the test rows should differ in rows alone, got {parts.x.shape[1]} and {x.shape[1]} features"
        )
    if (parts.y.dtype.kind in "US") != (y.dtype.kind in "US"):
        raise ValueError(f"{name} and the test rows should have targets of one kind, got {parts.y.dtype} and {y.dtype}")
    ours = parts.x
    if ours.dtype != x.dtype:  # one of the two is of bytes
        ours, x = ours.astype(np.float32, copy=False), x.astype(np.float32, copy=False)
    return replace(parts, x=ours, x_test=x, y_test=y)


def _hold_out(y: NDArray[Any], fraction: float, seed: int, stratify: bool) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    everything, nothing = np.arange(len(y)), np.arange(0)
    if fraction == 0:
        return everything, nothing
    if fraction == 1:
        return nothing, everything
    return split_rows(len(y), fraction, seed, y if stratify else None)
