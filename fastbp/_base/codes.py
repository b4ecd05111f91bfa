"""Columns of an input that hold codes: which, and that each number there is one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base.inputs import Input
from fastbp.kernels import entries
from fastbp.kernels.ops.kinds.embedding import CARDINALITY, COLUMN, coded_of

Array = NDArray[Any]
# So many numbers of an input are read, and looked at, at a time.
READ_NUMBERS = 1 << 18


class Codes:
    """Says that columns of x hold 0, 1 … below a cardinality.

    Parameters
    ----------
    table : ndarray of int64
        The integers of an embedding, see `fastbp.kernels.ops.kinds.embedding`; kernels have its address.
    """

    __slots__ = ("table",)

    def __init__(self, table: NDArray[np.int64]) -> None:
        self.table = table

    @property
    def columns(self) -> list[int]:
        """The columns that hold codes."""
        found: list[int] = coded_of(self.table)[:, COLUMN].tolist()
        return found

    def expect(self, x: Array | Input, who: str, numbers: Sequence[int] | Array | None = None) -> None:
        """Raise ValueError if a number in these columns is no code.

        x : rows, of the model's dtype where they are an array; an input is read some rows at a time
        numbers : of the rows, where they are not 0, 1, ...
        """
        if isinstance(x, Input):
            rows = max(1, READ_NUMBERS // x.shape[1])
            for start in range(0, len(x), rows):
                self.expect(x[start : start + rows], who, range(start, len(x)))
            return
        wrong = entries.first_wrong_code(self.table, x)
        if wrong >= 0:
            raise self._error(x[wrong], who, wrong if numbers is None else int(numbers[wrong]))

    def wrong_row(self, x: Array | Input, row: int, who: str) -> ValueError:
        """Return the error about a row that a kernel found wrong in a step."""
        return self._error(x[row : row + 1][0], who, row)

    def _error(self, numbers: Array, who: str, row: int) -> ValueError:
        for column, cardinality in coded_of(self.table)[:, [COLUMN, CARDINALITY]].tolist():
            if numbers[column] not in range(cardinality):
                return ValueError(
                    f"{who} expects codes in 0..{cardinality - 1} in column {column} of x, got {numbers[column]} in "
                    f"row {row}"
                )
        return ValueError(f"{who} expects x as it was: a code in row {row} has been changed meanwhile")
