"""Samples whose numbers stand far apart: gathered for many steps at a time, into a block of bounded size.

A step that reads such rows in any order, where they stand, fetches a cache line for each number of a row. The rows of
many steps share these lines, when they are read in the order in which they stand.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp._base.inputs import STAGED_BYTES, Input
from fastbp._base.sparse import StoredRows
from fastbp.train.samples import Samples

Rows = NDArray[np.int64]
ALL = np.empty(0, np.int64)


class Staged(NamedTuple):
    """What some steps read.

    steps : those that do
    samples : with all of theirs
    order : as in `Part`, of the rows of `samples`
    numbers : (samples,), which rows of all samples they are; empty if they are all, as they stand
    first : the step that takes the rows with which the order begins
    """

    steps: range
    samples: Samples
    order: Rows
    numbers: Rows
    first: int = 0

    def row(self, sample: int) -> int:
        """Return which row of all samples one of these is."""
        return int(self.numbers[sample]) if self.numbers.size else sample


class Stage(Protocol):
    """Has what the steps of an epoch read, some steps at a time."""

    def at(self, step: int) -> Staged:
        """Return what this step reads, and those that follow it."""


class Staging:
    """The samples of an epoch as its steps read them: as they stand, or if they are scattered a block at a time.

    Parameters
    ----------
    samples : Samples
    order : (samples,), the row numbers in their order
    batch : rows of a step
    shuffled : whether the order is any but that in which the rows stand, where steps share lines as it is
    """

    def __init__(self, samples: Samples, order: Rows, batch: int, shuffled: bool = True) -> None:
        self._samples, self._order, self._batch = samples, order, batch
        self._steps = steps = -(-len(order) // batch)  # of a block
        self._now = Staged(range(steps), samples, order, ALL)
        if shuffled and any(isinstance(each, Input) and each.scattered for each in (samples.x, samples.targets.values)):
            self._steps = max(1, int(STAGED_BYTES * len(samples.x) / bytes_of(samples)) // batch)
            self._now = Staged(range(0), samples, np.empty_like(order), ALL)

    def at(self, step: int) -> Staged:
        """Return what this step reads, and those that follow it."""
        if step not in self._now.steps:
            places, first, batch = self._now.order, step * self._batch, self._batch
            numbers = self._order[first : first + self._steps * batch]
            self._now = self._now._replace(steps=range(0), samples=self._samples)  # the memory of the block before
            sorter = np.argsort(numbers)
            places[first + sorter] = np.arange(len(numbers))
            numbers = numbers[sorter]
            steps = range(step, step + -(-len(numbers) // batch))
            self._now = Staged(steps, taken(self._samples, numbers), places, numbers)
        return self._now


def bytes_of(samples: Samples) -> int:
    """Return how large an array of all that the samples hold would be."""
    x, targets, weight = samples
    parts: list[Any] = [targets.labels, targets.values, weight, *(x.memory if isinstance(x, StoredRows) else [x])]
    return sum(part.size * part.dtype.itemsize for part in parts)


def taken(samples: Samples, rows: Rows) -> Samples:
    """Return a copy of some of the samples."""
    x, targets, weight = samples
    of_each: dict[str, Any] = {"labels": targets.labels, "values": targets.values}
    of_each = {name: part[rows] for name, part in of_each.items() if len(part)}
    return Samples(x[rows], targets._replace(**of_each), weight[rows] if weight.size else weight)
