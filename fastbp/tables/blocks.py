"""Rows of a table that is read a block at a time, as a network takes them."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.data.blocks import Blocks
from fastbp.data.columns.beside import read_weights
from fastbp.data.columns.encoder import Encoder
from fastbp.data.preprocessing import Scaler
from fastbp.tables.parts import Part


class TableBlocks(Blocks):
    """A part of a table's rows, encoded when they are read.

    Parameters
    ----------
    part : Part
    encoder : Encoder
    dtype : {float32, float64}
        Of the features.
    scaler : Scaler, optional
        Of quantities.

    Attributes
    ----------
    part
    """

    def __init__(self, part: Part, encoder: Encoder, dtype: DTypeLike, scaler: Scaler | None = None) -> None:
        self.part, self._encoder, self._dtype, self._scaler = part, encoder, dtype, scaler
        self._places = np.flatnonzero(part.sizes)
        self.sizes = part.sizes[self._places]
        weight = () if part.weight is None else (part.weight,)
        self._columns = [*(column.column for column in encoder.columns), *weight]

    def scaled(self, scaler: Scaler | None) -> "TableBlocks":
        """Return the same rows, with quantities scaled."""
        return TableBlocks(self.part, self._encoder, self._dtype, scaler)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.sizes.sum())

    @property
    def weight(self) -> str | None:
        """The column of weights."""
        return self.part.weight

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
        table, y = self.part.read(int(self._places[block]), self._columns)
        x = self._encoder.transform(table, dtype=self._dtype)
        y = y if self._scaler is None else self._scaler.transform(y)
        return (x, y) if self.part.weight is None else (x, y, read_weights(table, self.part.weight))

    def name(self, block: int) -> str:
        """Say which rows of the table a block is of."""
        table, place = self.part.table, self._places[block]
        first = int(table.starts[place])
        return f"{table.name}, rows {first + 1} to {first + table.sizes[place]}"
