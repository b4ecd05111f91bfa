"""Numbers brought to a normal distribution by where they stand among those of the training."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.column import Column
from fastbp.data.columns.survey import at_ranks

Array = NDArray[Any]
ROWS_EACH, FEWEST, MOST = 30, 10, 1000  # rows for a quantile, and how many of these there are
# Numbers of the normal distribution, up to those that are exceeded once in ten million, and the part below each
_SCORES = np.linspace(-1.0, 1.0, 2001) * -NormalDist().inv_cdf(1e-7)
_PARTS = np.array([NormalDist().cdf(score) for score in _SCORES])


@dataclass(frozen=True)
class Quantiles:
    """The normal score of a number: of the part of the training's numbers that are below it.

    Between two quantiles that part is interpolated, as in scikit-learn's QuantileTransformer. Numbers that are equal to
    several are in the middle of these, at the ends too, where that one says the least and the largest score; and those
    that training did not reach are as its extremes.

    Attributes
    ----------
    values : tuple of float
        Quantiles at equal distances, from the least number to the largest; none where there was no number.
    """

    values: tuple[float, ...]

    @classmethod
    def fit(cls, values: Array | Column[Array]) -> Self:
        """Find the quantiles of numbers, of those that are finite.

        values : (rows,) of float64 or int64, or the blocks of a column
        """
        column = values if isinstance(values, Column) else Column([values])
        column = column.map(lambda block: block[np.isfinite(block)].astype(np.float64))
        count = sum(map(len, column))
        if not count:
            return cls(())
        places = np.linspace(0, count - 1, max(FEWEST, min(count // ROWS_EACH, MOST)))
        below = places.astype(np.int64)
        above = np.minimum(below + 1, count - 1)
        first, second = at_ranks(column, count, [*below.tolist(), *above.tolist()]).reshape(2, -1)
        part = places - below
        return cls(tuple((first * (1 - part) + second * part).tolist()))

    def apply(self, values: Array) -> NDArray[np.float64]:
        """Return normal scores; NaN stays."""
        known = np.array(self.values)
        if not known.size or known[0] == known[-1]:
            return np.where(np.isnan(values.astype(np.float64)), np.nan, 0.0)
        x, parts = values.astype(np.float64), np.linspace(0.0, 1.0, len(known))
        part = (np.interp(x, known, parts) + 1 - np.interp(-x, -known[::-1], parts)) / 2  # of equal ones the middle
        return np.asarray(np.interp(part, _PARTS, _SCORES))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"quantiles": list(self.values)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Make those that `to_dict` described; ValueError if they are none."""
        values = state["quantiles"]
        if not isinstance(values, list) or any(type(value) is not float for value in values):
            raise ValueError("quantiles should be a list of numbers")
        if not np.isfinite(values).all() or (np.diff(values) < 0).any():
            raise ValueError("quantiles should be finite and rise")
        return cls(tuple(values))
