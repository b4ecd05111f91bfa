"""Numbers brought to a size that networks train well on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.column import Column
from fastbp.data.columns.survey import at_ranks

Array = NDArray[Any]
_MOST = float(np.finfo(np.float64).max)
_INT64 = np.iinfo(np.int64)


@dataclass(frozen=True)
class Scale:
    """``s / sqrt(1 + (s/3)^2)`` of ``s = (x - center) / spread``: about s near 0, and within -3 and 3.

    These are the rules of RealMLP [1]_: center is the median, spread the distance of the quartiles; where that is 0,
    half of the distance of the extremes; numbers that are all the same become 0.

    Attributes
    ----------
    center : int or float
        A whole number where float64 would lose digits of the values.
    spread : float
        0 of numbers that are all the same.

    References
    ----------
    .. [1] D. Holzmüller, L. Grinsztajn and I. Steinwart, *Better by default* (2024), https://arxiv.org/abs/2407.04491
    """

    center: int | float
    spread: float

    @classmethod
    def fit(cls, values: Array | Column[Array]) -> Self:
        """Find center and spread of numbers, of those that are finite.

        values : (rows,) of float64 or int64, or the blocks of a column, all of one of these
        """
        column = values if isinstance(values, Column) else Column([values])
        kinds = [(block.dtype == np.int64, int(np.isfinite(block).sum())) for block in column]
        whole, count = all(kind for kind, _ in kinds), sum(finite for _, finite in kinds)
        if not whole:
            column = column.map(lambda block: block[np.isfinite(block)])
        if not count:
            return cls(0.0, 0.0)
        places = np.array([0.0, 0.25, 0.5, 0.75, 1.0]) * (count - 1)
        first = places.astype(np.int64)
        # What stands at these places, and behind each: quantiles lie in between
        few = at_ranks(column, count, [*first.tolist(), *np.minimum(first + 1, count - 1).tolist()]).reshape(2, 5)
        behind = places - first
        center: int | float = int(few[0, 2]) if whole else _between(few[:, 2], behind[2])
        distances = np.clip(_difference(few, center), -_MOST, _MOST)
        low, high = (_between(distances[:, i], behind[i]) for i in (1, 3))
        spread = min(high - low, _MOST)
        if spread == 0:
            least, largest = float(distances[0, 0]), float(distances[0, 4])
            # half of each first, since the difference might overflow; 0 of the two smallest numbers would be no spread
            spread = largest / 2 - least / 2 or largest - least
        return cls(center, spread)

    def apply(self, values: Array) -> NDArray[np.float64]:
        """Return scaled numbers; NaN stays, infinity becomes 3."""
        if self.spread == 0:
            return np.zeros(len(values))
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.clip(_difference(values, self.center) / self.spread, -1e300, 1e300)
            return np.asarray(scaled / np.hypot(1.0, scaled / 3))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"center": self.center, "spread": self.spread}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Make the scale that `to_dict` described; ValueError if it is none."""
        center, spread = state["center"], state["spread"]
        whole = type(center) is int and _INT64.min <= center <= _INT64.max
        if not (whole or (type(center) is float and np.isfinite(center))):
            raise ValueError(f"a center should be a finite number, got {center!r}")
        if type(spread) is not float or not 0 <= spread < np.inf:
            raise ValueError(f"a spread should be finite and not negative, got {spread!r}")
        return cls(center, spread)


def _difference(values: Array, center: float | int) -> NDArray[np.float64]:
    """Return ``values - center`` in float64; of whole numbers without the loss of their digits."""
    with np.errstate(over="ignore"):
        about = values.astype(np.float64) - float(center)
    if values.dtype != np.int64 or type(center) is not int:
        return about
    exact = values - np.int64(center)  # wraps only where int64 would not hold the difference
    return np.where(np.abs(about) < 2.0**62, exact.astype(np.float64), about)


def _between(pair: NDArray[np.float64], part: float) -> float:
    """Return what is this part of the way from one finite number to the next, as NumPy does; of huge ones too."""
    shrink = 0.25 if np.abs(pair).max() > _MOST / 4 else 1.0
    return float(np.quantile(pair * shrink, part)) / shrink
