"""What all estimators of tables have in common: fitting by a recipe, and predicting."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastbp._base import check
from fastbp._base.threads import at_most
from fastbp.data.columns.options import ColumnParameters
from fastbp.data.reading.table import Table
from fastbp.data.split import Answered, split_rows
from fastbp.tables.model import TableModel
from fastbp.tables.recipes.fitting import Asked, fit_table
from fastbp.tables.recipes.names import PRESETS
from fastbp.tables.recipes.recipe import Recipe
from fastbp.tabular._rows import Answers, roles_of, table_of

Array = NDArray[Any]
DTYPES = ("float32", "float64")
CALIBRATIONS = ("temperature",)


class Validation(NamedTuple):
    """What `fit` was given to validate on, as it was given."""

    X: Any
    y: Any
    sample_weight: Any


class Tabular(BaseEstimator):
    """Fits a recipe's network to a data frame or an array, and predicts from others.

    A subclass has the parameters, in its ``__init__``, among them those below. Those that a `Recipe` has by the same
    name take their place in it where they are not None.
    """

    validation_fraction: float
    categorical: Sequence[str] | None
    numeric: Sequence[str] | None
    drop: Sequence[str] | None
    dtype: str
    n_jobs: int | None
    callbacks: Any
    verbose: bool
    random_state: Any

    model_: TableModel
    _task: ClassVar[str]  # of the recipes
    calibration: str | None = None  # of classifiers

    @property
    def _preset(self) -> str:
        """The recipe, by its name."""
        raise NotImplementedError

    def _answers_of(self, y: Any) -> Answers:
        """Return the answers to fit to."""
        raise NotImplementedError

    def _other_answers_of(self, y: Any, answers: Answers) -> Array:
        """Return the answers to validate with, as those to fit to."""
        raise NotImplementedError

    def _counted(self, rows: Answered, answers: Answers) -> Array | None:
        """Return what each place in the classes counts for in training rows; None where all count the same."""
        return None

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Fit to the rows of a table.

        Parameters
        ----------
        X : data frame or array_like of shape (rows, columns)
            A frame of pandas, polars, Arrow or another library, with columns of numbers, text, categories, booleans and
            times, in which values may be missing; what each becomes is said by the rules of ``fastbp describe``. Or an
            array of numbers, NaN where one is missing.
        y : array_like of shape (rows,), or (rows, outputs) of quantities
        sample_weight : array_like of shape (rows,), optional
            How much each row counts, in training and for the best epoch.
        X_val, y_val, sample_weight_val : optional
            Rows to choose the best epoch by, in place of `validation_fraction` of the others.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or an argument does not fit; of a table all that is wrong with its columns.
        """
        recipe, asked = self._recipe(), self._asked()
        validate_data(self, X, y, skip_check_array=True)
        table, answers = table_of(self, X, reset=True), self._answers_of(y)
        check_consistent_length(table, answers.y)
        roles = roles_of(X, table, self._columns_asked())
        self._columns = table.columns.column_names
        train = Answered(table, answers.y, _weights(sample_weight, table))
        train, held_out = self._parted(train, Validation(X_val, y_val, sample_weight_val), answers, asked.seed)
        counts = self._counted(train, answers)
        if counts is not None:
            train, held_out = _weighted(train, counts), held_out and _weighted(held_out, counts)
        with at_most(self._threads):
            found = fit_table(recipe, roles, answers.target, train, held_out, asked)
        self.model_, self.history_, self.best_epoch_, self.temperature_ = found
        self.n_iter_ = found.history.epochs
        self._fitted(answers)
        return self

    def _fitted(self, answers: Answers) -> None:
        """Set what a subclass has beside the model."""

    def _recipe(self) -> Recipe:
        """Return the preset with the parameters that are not None."""
        who = type(self).__name__
        recipe = PRESETS[self._preset][self._task]
        given = {each.name: getattr(self, each.name, None) for each in fields(recipe)}
        if given["hidden"] is not None:
            given["hidden"] = check.several(given["hidden"], who, "hidden", "sizes")
        recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
        recipe.check(who)
        return recipe

    def _columns_asked(self) -> ColumnParameters:
        who = type(self).__name__
        asked: dict[str, Any] = {}
        for name in ("categorical", "numeric", "drop"):
            given = getattr(self, name)
            asked[name] = () if given is None else check.several(given, who, name, "names")
            for column in asked[name]:
                if not isinstance(column, str):
                    raise TypeError(f"{who} expects {name} to be a list of names, got {column!r} in it")
        return ColumnParameters(**asked)

    def _asked(self) -> Asked:
        who = type(self).__name__
        check.choice(self.dtype, DTYPES, who, "dtype")
        check.number(self.validation_fraction, who, "validation_fraction", 0.0, 1.0, open_high=True)
        if self.calibration is not None:
            check.choice(self.calibration, CALIBRATIONS, who, "calibration")
        given = self.random_state
        whole = isinstance(given, (int, np.integer)) and not isinstance(given, bool) and given >= 0
        seed = int(given) if whole else int(check_random_state(given).randint(np.iinfo(np.int32).max))
        callbacks = () if self.callbacks is None else check.several(self.callbacks, who, "callbacks", "them")
        return Asked(seed, self.dtype, bool(self.calibration), callbacks, None if self.verbose else False)

    def _parted(
        self, rows: Answered, validation: Validation, answers: Answers, seed: int
    ) -> tuple[Answered, Answered | None]:
        """Return the rows to train on, and those that choose the best epoch."""
        who = type(self).__name__
        if validation.X is not None or validation.y is not None:
            if validation.X is None or validation.y is None:
                raise ValueError(f"{who} expects X_val and y_val, or none of them")
            table = table_of(self, validation.X, reset=False)
            y = self._other_answers_of(validation.y, answers)
            check_consistent_length(table, y)
            return rows, Answered(table, y, _weights(validation.sample_weight, table))
        if validation.sample_weight is not None:
            raise ValueError(f"{who} expects sample_weight_val with X_val and y_val alone")
        if not self.validation_fraction:
            if self.calibration is not None:
                raise ValueError(f"{who} expects rows to validate on with calibration={self.calibration!r}")
            return rows, None
        if len(rows.y) < 2:
            raise ValueError(f"{who} expects several rows where a part of them is held out, got n_samples = 1")
        try:
            parts = split_rows(len(rows.y), self.validation_fraction, seed, rows.y if len(answers.labels) else None)
        except ValueError as error:
            expected = f"{who} expects validation_fraction=0, or X_val and y_val, where no rows can be held out"
            raise ValueError(f"{expected}: {error}") from None
        train, held_out = (
            Answered(rows.x.take(of), rows.y[of], None if rows.weight is None else rows.weight[of]) for of in parts
        )
        return train, held_out

    @property
    def _threads(self) -> int | None:
        return None if self.n_jobs is None else int(effective_n_jobs(self.n_jobs))

    def _outputs(self, X: Any) -> Array:
        """Return the network's outputs for rows, of members their average."""
        check_is_fitted(self, "model_")
        table = table_of(self, X, reset=False)
        with at_most(self._threads):
            return self.model_.outputs(table)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = tags.input_tags.string = True
        return tags


def _weights(sample_weight: Any, table: Table) -> Array | None:
    if sample_weight is None:
        return None
    weight = _check_sample_weight(sample_weight, np.empty((len(table), 0)), dtype=np.float64, ensure_non_negative=True)
    return np.asarray(weight)


def _weighted(rows: Answered, counts: Array) -> Answered:
    """Return rows that count for as much as their class says as well."""
    each = counts[rows.y]
    return rows._replace(weight=each if rows.weight is None else rows.weight * each)
