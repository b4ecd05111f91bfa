"""The range of quantities that predictions stay in."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp.data.preprocessing import Scaler

Array = NDArray[Any]


class Limits(NamedTuple):
    """The smallest and the largest of each quantity, (outputs,) each."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, y: ArrayLike) -> "Limits":
        """Return those of rows, (rows, outputs)."""
        y = np.asarray(y, np.float64)
        return cls(y.min(axis=0), y.max(axis=0))

    def scaled(self, scaler: Scaler) -> "Limits":
        """Return those of scaled quantities."""
        return Limits(*((limit - scaler.shift) / scaler.scale for limit in self))

    def apply(self, values: Array) -> Array:
        """Return quantities, (rows, outputs), moved into the range."""
        return np.asarray(np.clip(values, self.low, self.high))

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain data."""
        return {"low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "Limits":
        """Make those that `to_dict` described; ValueError if they are none."""
        limits = cls(*(np.array(state[name], np.float64) for name in ("low", "high")))
        if limits.low.ndim != 1 or limits.low.shape != limits.high.shape or not (limits.low <= limits.high).all():
            raise ValueError(f"limits should be a smallest and a largest number of each quantity, got {dict(state)}")
        return limits
