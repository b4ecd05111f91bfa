"""What there is of answers that are read a block at a time: rows of each class, and how quantities are scaled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.target import Target
from fastbp.data.preprocessing import Scaler


class AnswerFacts:
    """Sums of the answers of blocks.

    Attributes
    ----------
    counts : ndarray of int64, (classes,)
        Rows of each class.
    low, high : ndarray of float64, (outputs,)
        The range of quantities.
    """

    def __init__(self, target: Target) -> None:
        outputs = len(target.columns)
        self.counts = np.zeros(len(target.classes), np.int64)
        self._sizes: list[int] = []
        self._mean, self._squares = np.zeros(outputs), np.zeros(outputs)  # about the mean
        self.low, self.high = np.full(outputs, np.inf), np.full(outputs, -np.inf)

    def add(self, y: NDArray[Any]) -> None:
        """Add those of a block."""
        before, size = sum(self._sizes), len(y)
        self._sizes.append(size)
        if y.ndim == 1:
            self.counts += np.bincount(y, minlength=len(self.counts))
        elif size:
            mean = y.mean(axis=0)
            away = mean - self._mean
            self._squares += ((y - mean) ** 2).sum(axis=0) + away**2 * before * size / (before + size)
            self._mean += away * size / (before + size)
            self.low, self.high = np.minimum(self.low, y.min(axis=0)), np.maximum(self.high, y.max(axis=0))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many there are in each block."""
        return np.array(self._sizes, np.int64)

    @property
    def scaler(self) -> Scaler:
        """What brings quantities to mean 0 and standard deviation 1."""
        spread = np.sqrt(self._squares / sum(self._sizes))
        return Scaler("standardize", self._mean, np.where(spread == 0, 1.0, spread))
