"""What a network's outputs say of rows, beside what is true: the three forms that metrics judge."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.nn.loss import Loss, Targets, is_one_hot

Array = NDArray[Any]
Bools = NDArray[np.bool_]


class Counts(NamedTuple):
    """Sums of the rows' weights, (classes,) each, and which classes there are in what is true or said."""

    hit: NDArray[np.float64]
    said: NDArray[np.float64]
    true: NDArray[np.float64]
    present: Bools


class Classes(NamedTuple):
    """Rows of one class each.

    true : (rows,) class indices
    z : (rows, classes), two at least: logits
    """

    true: NDArray[np.int64]
    z: Array

    def said(self) -> NDArray[np.int64]:
        """Return the class of the largest logit of each row, the first of equal ones."""
        return np.asarray(self.z.argmax(axis=1))

    def counts(self, weight: NDArray[np.float64]) -> Counts:
        """Count by class."""
        classes, said = self.z.shape[1], self.said()
        hit, of_said, of_true = (
            np.bincount(of, weights, classes).astype(np.float64, copy=False)
            for of, weights in ((said, weight * (said == self.true)), (said, weight), (self.true, weight))
        )
        present = np.bincount(said, minlength=classes) + np.bincount(self.true, minlength=classes) > 0
        return Counts(hit, of_said, of_true, present)

    def each_against_the_rest(self) -> Iterator[tuple[Bools, Array]]:
        """Yield which rows are of a class, and scores that order all rows as its probabilities do; of two the second.

        The scores are ``log(p / (1 - p))``: unlike p they do not end at 1.
        """
        z = self.z.astype(np.float64)
        if z.shape[1] == 2:
            yield self.true == 1, z[:, 1] - z[:, 0]
            return
        z -= z.max(axis=1, keepdims=True)
        largest = z.argmax(axis=1)[:, None]
        e = np.exp(z)
        np.put_along_axis(e, largest, 0.0, axis=1)
        below = e.sum(axis=1, keepdims=True)
        others = 1.0 + below - e
        np.put_along_axis(others, largest, below, axis=1)
        with np.errstate(divide="ignore"):
            z -= np.log(others)
        for c in range(z.shape[1]):
            yield self.true == c, z[:, c]


class Labels(NamedTuple):
    """Rows with several labels, each of which is true or not.

    true : (rows, labels)
    z : (rows, labels), logits
    """

    true: Bools
    z: Array

    def said(self) -> Bools:
        """Return the labels whose logit is above 0."""
        return self.z > 0

    def counts(self, weight: NDArray[np.float64]) -> Counts:
        """Count by label."""
        said = self.said()
        every = np.ones(said.shape[1], bool)
        return Counts(weight @ (said & self.true), weight @ said, weight @ self.true, every)

    def each_against_the_rest(self) -> Iterator[tuple[Bools, Array]]:
        """Yield of each label which rows have it, and their logits."""
        yield from zip(self.true.T, self.z.T, strict=True)


class Numbers(NamedTuple):
    """Rows of quantities.

    true, said : (rows, columns) float64
    """

    true: NDArray[np.float64]
    said: NDArray[np.float64]


def forms_of(loss: Loss, outputs: int) -> tuple[type, ...]:
    """Return the forms that the outputs of a network with this loss have; a user's loss may mean any of them."""
    forms: dict[str, tuple[type, ...]] = {
        "any": (Classes, Numbers),
        "classes": (Classes,),
        "labels": (Classes,) if outputs == 1 else (Labels,),
        "means and variances": (Numbers,),
        "numbers": (Numbers,) if outputs == loss.target_width(outputs) else (),  # several quantiles are none
    }
    return forms.get(loss._says, ())


def true_of(form: type, targets: Targets, outputs: int) -> Array:
    """Return what is true of each row, as a form has it; ValueError if the targets do not say that."""
    if targets.labels.size:
        return targets.labels
    values = targets.values[:]
    columns = values.reshape(len(values), -1)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"targets of numbers, got {values.dtype}")
    if form is Numbers:
        if columns.shape[1] > outputs:
            raise ValueError(f"targets of {outputs} columns at most, got {columns.shape[1]}")
        return columns.astype(np.float64)
    if form is Labels:
        if not np.isin(columns, (0, 1)).all():
            raise ValueError("targets of 0 and 1, got others")
        return np.asarray(columns != 0)
    if columns.shape[1] == outputs > 1:
        if not is_one_hot(columns):
            raise ValueError("targets of classes, got probabilities")
        return np.asarray(columns.argmax(axis=1))
    classes = max(outputs, 2)
    if columns.shape[1] != 1 or not np.isin(columns, range(classes)).all():
        raise ValueError(f"targets that are classes, 0 to {classes - 1}, got others")
    return columns[:, 0].astype(np.int64)


def judged(form: type, true: Array, z: Array) -> Classes | Labels | Numbers:
    """Return outputs beside what is true; of one logit that of the second class is made, beside 0 for the first."""
    if form is Numbers:  # of means and variances the means are first
        return Numbers(true, z[:, : true.shape[1]].astype(np.float64))
    if form is Labels:
        return Labels(true, z)
    return Classes(true, z if z.shape[1] > 1 else np.concatenate([np.zeros_like(z), z], axis=1))
