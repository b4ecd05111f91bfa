"""What users give, as tables and answers that a recipe takes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from fastbp.data.columns.labels import LabelForm, number_name
from fastbp.data.columns.numbers import NumberForm
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.roles import Role, find_roles
from fastbp.data.columns.target import Target
from fastbp.data.reading.frames import is_frame, read_frame
from fastbp.data.reading.table import Table

Array = NDArray[Any]
NAME = "X"  # what errors call the rows


class Answers(NamedTuple):
    """The answers of rows.

    y : int64 (rows,), places in the classes; or float64 (rows, outputs)
    target : what a model file says of them
    labels : the classes as they were given; none of quantities
    one : whether y had one dimension
    """

    y: Array
    target: Target
    labels: Array
    one: bool = True


def table_of(estimator: BaseEstimator, X: Any, *, reset: bool) -> Table:
    """Return rows as a table, checked as scikit-learn does: to fit, or as those of the fit.

    An array has columns ``"x0"``, ``"x1"`` ..., or those of the frame of the fit.
    """
    if is_frame(X):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        table = read_frame(X, NAME)
        return table if reset else Table(table.columns.rename_columns(estimator._columns), NAME)
    X = validate_data(estimator, X, reset=reset, dtype="numeric", ensure_all_finite="allow-nan")
    X = at_most_64_bits(X)
    names = [f"x{j}" for j in range(X.shape[1])] if reset else estimator._columns
    return Table(pa.table([pa.array(np.ascontiguousarray(column)) for column in X.T], names=names), NAME)


def roles_of(X: Any, table: Table, options: ColumnOptions) -> tuple[Role, ...]:
    """Return what each column is: of a data frame by the rules of `fastbp describe`, of an array a number."""
    if is_frame(X):
        return find_roles(table, options)
    options.check(table)
    kept = [name for name in table.names if name not in options.drop]
    return tuple(Role(name, "number", "a column of an array", NumberForm()) for name in kept)


def classes_of(estimator: BaseEstimator, y: Any) -> Answers:
    """Return labels as classes: those that `numpy.unique` finds, in its order."""
    name = _name_of(y, "target")
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    labels, codes = np.unique(y, return_inverse=True)
    if len(labels) < 2:
        who = type(estimator).__name__
        raise ValueError(f"{who} expects y of at least two classes, got 1 class: {labels.tolist()[0]!r}")
    numbers, booleans = labels.dtype.kind in "iuf", labels.dtype.kind == "b"
    texts = tuple(str(label) for label in labels.tolist())
    names = tuple(text.lower() for text in texts) if booleans else texts
    if numbers:
        names = tuple(map(number_name, labels.tolist()))
    if len(set(names)) < len(names):
        raise ValueError(f"{type(estimator).__name__} expects classes whose texts differ, got {texts}")
    form = LabelForm("number" if numbers else "boolean" if booleans else "text")
    target = Target((name,), "classification", "a classifier", (form,), texts, names)
    return Answers(codes.astype(np.int64).reshape(-1), target, labels)


def codes_of(estimator: BaseEstimator, y: Any, labels: Array) -> Array:
    """Return labels of other rows as places in the classes."""
    y = column_or_1d(y, warn=True)
    try:
        places = np.minimum(np.searchsorted(labels, y), len(labels) - 1)
        unknown = y[labels[places] != y]
    except TypeError:  # of a kind that has no order with these
        places, unknown = np.zeros(len(y), np.int64), y
    if unknown.size:
        raise ValueError(f"{type(estimator).__name__} expects y_val of classes that y has, got {unknown.tolist()[0]!r}")
    return np.asarray(places, np.int64)


def quantities_of(estimator: BaseEstimator, y: Any) -> Answers:
    """Return numbers as quantities, a column each."""
    values = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y", estimator=estimator)
    if values.ndim not in (1, 2):
        who = type(estimator).__name__
        raise ValueError(f"{who} expects y of shape (rows,) or (rows, outputs), got {values.shape}")
    one, values = values.ndim == 1, values.reshape(len(values), -1)
    names = _names_of(y, values.shape[1])
    target = Target(names, "regression", "a regressor", (NumberForm(),) * len(names))
    return Answers(values, target, np.empty(0), one)


def at_most_64_bits(x: Array) -> Array:
    """Return numbers, those of a type that Arrow does not have as one that it has."""
    return x.astype(np.float64) if x.dtype.kind == "f" and x.dtype.itemsize > 8 else x


def _names_of(y: Any, count: int) -> tuple[str, ...]:
    found: Sequence[Any] = getattr(y, "columns", ()) if getattr(y, "ndim", 1) == 2 else ()
    if len(found) == count and len(set(map(str, found))) == count:
        return tuple(map(str, found))
    return (_name_of(y, "target"),) if count == 1 else tuple(f"target_{j}" for j in range(count))


def _name_of(y: Any, usual: str) -> str:
    name = getattr(y, "name", None)
    return name if isinstance(name, str) and name else usual
