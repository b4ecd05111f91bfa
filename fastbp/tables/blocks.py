"""Rows of a table that is read a block at a time, as a network takes them."""

import copy
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.data.blocks import Blocks
from fastbp.data.columns.encoder import Encoder
from fastbp.data.preprocessing import Scaler
from fastbp.tables.kept import KeptBlocks
from fastbp.tables.parts import Part


class TableBlocks(Blocks):
    """A part of a table's rows, encoded when they are read.

    Parameters
    ----------
    part : Part
    encoder : Encoder
    dtype : {float32, float64}
        Of the features.
    keep : bool
        Whether rows are kept as they are encoded, in a temporary file, to be read again.

    Attributes
    ----------
    part
    """

    _scaler: Scaler | None = None  # of quantities

    def __init__(self, part: Part, encoder: Encoder, dtype: DTypeLike, keep: bool = False) -> None:
        self.part, self._encoder, self._dtype = part, encoder, dtype
        self._places = np.flatnonzero(part.sizes)
        self.sizes = part.sizes[self._places]
        weight = () if part.weights is None else (part.weights.column,)
        self._columns = [*(column.column for column in encoder.columns), *weight]
        self._kept = KeptBlocks(self.sizes) if keep else None

    def scaled(self, scaler: Scaler | None) -> "TableBlocks":
        """Return the same rows, with quantities scaled."""
        scaled = copy.copy(self)
        scaled._scaler = scaler
        return scaled

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.sizes.sum())

    @property
    def weight(self) -> str | None:
        """The column of weights."""
        return None if self.part.weights is None else self.part.weights.column

    @property
    def given(self) -> dict[str, Any]:
        """What `Trainer.fit` is given."""
        return {"x": self}

    @property
    def scaler(self) -> Scaler:
        """What brings quantities to mean 0 and standard deviation 1."""
        return self.part.answers.scaler

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Return how many rows there are of each class."""
        return self.part.answers.counts

    def read(self, block: int) -> tuple[Any, ...]:
        """Return features, answers, and weights if there are any."""
        found = None if self._kept is None else self._kept.get(block)
        if found is None:
            found = self._encoded(block)
            if self._kept is not None:
                self._kept.keep(block, found)
        x, y, *weight = found
        return (x, y if self._scaler is None else self._scaler.transform(y), *weight)

    def _encoded(self, block: int) -> tuple[NDArray[Any], ...]:
        table, y = self.part.read(int(self._places[block]), self._columns)
        x = self._encoder.transform(table, dtype=self._dtype)
        return (x, y) if self.part.weights is None else (x, y, self.part.weights.read(table))

    def name(self, block: int) -> str:
        """Say which rows of the table a block is of."""
        table, place = self.part.table, self._places[block]
        first = int(table.starts[place])
        return f"{table.name}, rows {first + 1} to {first + table.sizes[place]}"
