"""Rows that are read a block at a time: which files they are of, and what a network reaches on them."""

import hashlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.options import ColumnOptions, meant
from fastbp.data.columns.target import Target
from fastbp.data.reading.files import paths_of
from fastbp.data.reading.large import LargeTable
from fastbp.data.reading.table import TableError, Trouble
from fastbp.nn.loss import Loss
from fastbp.tables.blocks import TableBlocks
from fastbp.tables.parts import Part, find_weights

Array = NDArray[Any]
PIECE = 1 << 22  # bytes of a file that are read at a time


class Answering(Protocol):
    """What is needed of a pipeline."""

    @property
    def loss(self) -> Loss:
        """The loss that the network was trained with."""

    @property
    def classes(self) -> list[str]:
        """Class names by index."""

    def outputs(self, x: Any) -> Array:
        """Run the network."""

    def quantities(self, z: Array) -> NDArray[np.float64]:
        """Undo the scaling of quantities."""

    def targets(self, y: Array) -> Array:
        """Return answers as the loss takes them."""


def answered(table: LargeTable, target: Target, weight: str | None = None) -> Part:
    """Return the rows that have an answer; TableError if none has, or columns are missing or cannot be read."""
    if weight is not None and weight not in table.column_names:
        said = f"names no column: {weight!r}{meant(weight, table.column_names)}"
        raise TableError(table.name, [Trouble("--weight", said)])
    part = Part(table, target, None if weight is None else find_weights(table, weight, target))
    if not len(part):
        raise TableError(table.name, [Trouble("", f"has no row with a value of {', '.join(target.columns)}")])
    return part


def file_digest(name: str) -> str:
    """Return a digest of the files of a table."""
    digest = hashlib.sha256()
    for path in paths_of(name):
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
    return digest.hexdigest()


def test_digest(files: str, columns: ColumnOptions | None) -> str:
    """Return a digest of the rows that are held out of files by the rules of columns; of all rows if they are None."""
    rules = None if columns is None else (columns.group, columns.time)
    return hashlib.sha256(repr((files, rules)).encode()).hexdigest()


def figures(pipeline: Answering, rows: TableBlocks) -> dict[str, float]:
    """Return what `Pipeline.evaluate` does, from sums over blocks."""
    loss = weights = hits = counted = 0.0
    quantities = _Errors()
    class_weight = getattr(pipeline.loss, "weight", None)
    for y, z, weight in answers(pipeline, rows):
        each = np.ones(len(y)) if weight is None else weight
        counts = each if class_weight is None else each * np.asarray(class_weight)[y]
        if counts.any():
            loss += pipeline.loss.value(z, pipeline.targets(y), weight) * counts.sum()
        weights, counted = weights + counts.sum(), counted + each.sum()
        if pipeline.classes:
            hits += each[z.argmax(axis=1) == y].sum()
        else:
            quantities.add(pipeline.quantities(z), y, each)
    found = {"loss": float(loss / weights)}
    return found | ({"accuracy": float(hits / counted)} if pipeline.classes else quantities.figures)


def confusion(pipeline: Answering, rows: TableBlocks) -> NDArray[np.int64]:
    """Return how many rows there are of each class, by the class that is predicted: (classes, classes)."""
    found = np.zeros((len(pipeline.classes),) * 2, np.int64)
    for y, z, _ in answers(pipeline, rows):
        np.add.at(found, (y, z.argmax(axis=1)), 1)
    return found


def recall(pipeline: Answering, rows: TableBlocks, code: int) -> float:
    """Return which part of the rows of a class, by their weights, is said to be of it; NaN where there is none."""
    right = counted = 0.0
    for y, z, weight in answers(pipeline, rows):
        each = (np.ones(len(y)) if weight is None else weight)[y == code]
        right, counted = right + each[z.argmax(axis=1)[y == code] == code].sum(), counted + each.sum()
    return float(right / counted) if counted else float("nan")


def answers(pipeline: Answering, rows: TableBlocks) -> Iterator[tuple[Array, Array, Array | None]]:
    """Yield answers, the network's outputs and weights, block by block; answers are not scaled."""
    for block in range(len(rows.sizes)):
        x, y, weight = (*rows.read(block), None)[:3]
        yield y, pipeline.outputs(x), weight


class _Errors:
    """Sums of errors of quantities, and of squares about their mean."""

    def __init__(self) -> None:
        self._weight: Any = 0.0
        self._mean: Any = 0.0
        self._squares: Any = 0.0
        self._wrong: Any = 0.0

    def add(self, predicted: Array, y: Array, weight: Array) -> None:
        size = weight.sum()
        if not size:
            return
        each, before = weight[:, None], self._weight
        mean = (each * y).sum(axis=0) / size
        away = mean - self._mean
        self._weight += size
        self._squares += (each * (y - mean) ** 2).sum(axis=0) + away**2 * before * size / self._weight
        self._mean += away * size / self._weight
        self._wrong += (each * (predicted - y) ** 2).sum(axis=0)

    @property
    def figures(self) -> dict[str, float]:
        wrong, squares = self._wrong, self._squares
        rmse = {"rmse": float(np.sqrt(wrong[0] / self._weight))} if len(wrong) == 1 else {}
        with np.errstate(divide="ignore", invalid="ignore"):
            return rmse | {"r2": float((1 - wrong / squares).mean())}
