"""Classifying and regressing: what a network's outputs mean, whatever network it is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import compute_class_weight

from fastbp.data.split import Answered
from fastbp.tables.model import class_probabilities
from fastbp.tabular._base import Tabular
from fastbp.tabular._rows import Answers, classes_of, codes_of, quantities_of

Array = NDArray[Any]


class TabularClassifier(ClassifierMixin, Tabular):
    """What a classifier predicts."""

    class_weight: Any
    classes_: Array
    _task = "classification"

    def _answers_of(self, y: Any) -> Answers:
        return classes_of(self, y)

    def _other_answers_of(self, y: Any, answers: Answers) -> Array:
        return codes_of(self, y, answers.labels)

    def _counted(self, rows: Answered, answers: Answers) -> Array | None:
        if rows.weight is not None and len(np.unique(rows.y[rows.weight > 0])) < 2:
            raise ValueError(f"{type(self).__name__} expects rows that count of at least two classes, got one class")
        if self.class_weight is None:
            return None
        there, labels = np.unique(rows.y), answers.labels
        counts = np.ones(len(labels))
        counts[there] = compute_class_weight(self.class_weight, classes=labels[there], y=labels[rows.y])
        return counts

    def _fitted(self, answers: Answers) -> None:
        self.classes_ = answers.labels

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row, (rows,).

        Parameters
        ----------
        X : data frame or array_like of shape (rows, columns)
            As to fit, with the same columns.
        """
        z = self._outputs(X)
        return np.asarray(self.classes_[z.argmax(axis=1)])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, (rows, classes), in the order of `classes_`; takes as `predict`."""
        return class_probabilities(self._outputs(X))


class TabularRegressor(RegressorMixin, Tabular):
    """What a regressor predicts."""

    _task = "regression"

    def _answers_of(self, y: Any) -> Answers:
        return quantities_of(self, y)

    def _other_answers_of(self, y: Any, answers: Answers) -> Array:
        found = quantities_of(self, y).y
        if found.shape[1] != answers.y.shape[1]:
            expected = f"{type(self).__name__} expects y_val of as many outputs as y, {answers.y.shape[1]}"
            raise ValueError(f"{expected}; got {found.shape[1]}")
        return found

    def _fitted(self, answers: Answers) -> None:
        self._one = answers.one

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return quantities in their units, shaped as the y of the fit.

        Parameters
        ----------
        X : data frame or array_like of shape (rows, columns)
            As to fit, with the same columns.
        """
        z = self._outputs(X)
        values = self.model_.quantities(z)
        return values[:, 0] if self._one else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
