"""Parting the rows of a data set in two, repeatably: at random, by groups or by time."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.data.preprocessing import Scaler


class Answered(NamedTuple):
    """Rows with an answer.

    x : an array (rows, features), what a network reads in its place, or a table
    y : (rows,) class indices, or (rows, outputs) quantities
    weight : (rows,), how much each counts; None where all count the same
    """

    x: Any
    y: NDArray[Any]
    weight: NDArray[np.float64] | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.y)

    @property
    def given(self) -> dict[str, Any]:
        """What `Trainer.fit` is given."""
        return {"x": self.x, "y": self.y, "sample_weight": self.weight}

    @property
    def scaler(self) -> Scaler:
        """What brings quantities to mean 0 and standard deviation 1."""
        return Scaler.fit(self.y, "standardize")

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Return how many rows there are of each class."""
        return np.bincount(self.y, minlength=classes)


def train_validation_split(
    x: ArrayLike,
    y: ArrayLike,
    *,
    fraction: float,
    seed: int | np.random.Generator,
    stratify: ArrayLike | None = None,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Part rows at random into training and validation.

    Parameters
    ----------
    x, y : array_like, (rows, ...)
        Features and targets.
    fraction : float
        The validation part, between 0 and 1; its rows are rounded up.
    seed : int or numpy.random.Generator
        The same seed gives the same rows.
    stratify : array_like, (rows,), optional
        Labels, mostly `y` itself: each class is then parted in the ratio of `fraction`, to within
        one row, and a class with a single row stays in training.

    Returns
    -------
    x_train, x_validation, y_train, y_validation : ndarray
        Copies, in shuffled order; the order of the four is that of scikit-learn's
        ``train_test_split``.

    Raises
    ------
    ValueError
        If lengths differ, or a part would be empty.

    Examples
    --------
    >>> from fastbp.data.datasets import load_digits
    >>> x, y = load_digits()
    >>> x_train, x_val, y_train, y_val = train_validation_split(x, y, fraction=0.1, seed=0, stratify=y)
    >>> len(x_train), len(x_val)
    (1617, 180)
    """
    x, y = np.asarray(x), np.asarray(y)
    if len(x) != len(y):
        raise ValueError(f"x and y should have as many rows, got {len(x)} and {len(y)}")
    train, validation = split_rows(len(x), fraction, seed, stratify)
    return x[train], x[validation], y[train], y[validation]


def split_rows(
    rows: int,
    fraction: float,
    seed: int | np.random.Generator,
    stratify: ArrayLike | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Part ``range(rows)`` as `train_validation_split` does; return the two index arrays."""
    count = _count(fraction, rows)
    order = np.random.default_rng(seed).permutation(rows)
    if stratify is None:
        return order[count:], order[:count]

    labels = np.asarray(stratify)
    if labels.shape != (rows,):
        raise ValueError(f"stratify should have shape ({rows},), got {labels.shape}")
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    shared = order[sizes[codes[order]] > 1]
    if not len(shared):
        raise ValueError(
            f"cannot stratify {rows} rows: every label is there once. If the target is a quantity, this is a regression"
        )
    # Rows in shuffled order, class after class; taking them at even distances takes from each
    # class its share to within one row, and exactly `count` altogether.
    by_class = shared[np.argsort(codes[shared], kind="stable")]
    count = math.ceil(fraction * len(shared))
    taken = by_class[((np.arange(count) + 0.5) * len(shared) / count).astype(np.intp)]
    held_out = np.zeros(rows, bool)
    held_out[taken] = True
    return order[~held_out[order]], order[held_out[order]]


def split_groups(
    groups: NDArray[np.int64], fraction: float, seed: int | np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Part rows so that those of one group, (rows,), stay together; return the two index arrays, in shuffled order.

    Groups are drawn until `fraction` of the rows are held out, but never all groups.
    """
    count = _count(fraction, len(groups))
    generator = np.random.default_rng(seed)
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError(f"all {len(groups)} rows are of one group, which cannot be parted")
    drawn = generator.permutation(len(sizes))
    needed = int(np.searchsorted(np.cumsum(sizes[drawn]), count)) + 1
    held_out = np.isin(codes, drawn[: min(needed, len(sizes) - 1)])
    order = generator.permutation(len(groups))
    return order[~held_out[order]], order[held_out[order]]


def split_times(times: NDArray[Any], fraction: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Part early rows from late ones by their times, (rows,); return the two index arrays, in the order of time."""
    count = _count(fraction, len(times))
    order = np.argsort(times, kind="stable")
    return order[: len(order) - count], order[len(order) - count :]


def _count(fraction: float, rows: int) -> int:
    """Return how many rows are held out, rounded up."""
    if not 0 < fraction < 1:
        raise ValueError(f"fraction should be between 0 and 1, got {fraction}")
    count = math.ceil(fraction * rows)
    if count >= rows:
        raise ValueError(f"fraction {fraction} of {rows} rows leaves no row to train with")
    return count
