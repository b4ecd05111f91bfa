"""Numbers brought to a size that networks train well on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

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
    def fit(cls, values: Array) -> Self:
        """Find center and spread of numbers, of those that are finite.

        values : (rows,) of float64 or int64
        """
        if values.dtype == np.int64:
            center: int | float = int(np.partition(values, (len(values) - 1) // 2)[(len(values) - 1) // 2])
        else:
            values = values[np.isfinite(values)]
            if not len(values):
                return cls(0.0, 0.0)
            center = _quantiles(values, [0.5])[0]
        distances = _difference(values, center)
        distances = np.clip(distances, -_MOST, _MOST)
        low, high = _quantiles(distances, [0.25, 0.75])
        spread = min(high - low, _MOST)
        if spread == 0:
            least, largest = float(distances.min()), float(distances.max())
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


def _quantiles(values: NDArray[np.float64], where: list[float]) -> list[float]:
    """Return quantiles of finite numbers, interpolated as NumPy does, of huge ones too."""
    shrink = 0.25 if np.abs(values).max() > _MOST / 4 else 1.0
    return [float(q) / shrink for q in np.quantile(values * shrink, where)]
