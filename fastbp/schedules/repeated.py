"""Schedules that do the same again after a number of steps."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check
from fastbp._base.schedule import Warmed, kind
from fastbp.schedules.curves import cosine

Array = NDArray[np.float64]
# A quotient of whole lengths that should be a whole number is one, for all its rounding.
_NUDGE = 1 + 1e-12


@dataclass(frozen=True, repr=False)
class _Multiplied(Warmed):
    """A schedule that is multiplied by a number again and again."""

    value: float
    gamma: float = 0.1
    every: float = 1.0

    _lengths: ClassVar[tuple[str, ...]] = ("warmup", "every")

    def _curve(self, step: Array, total: float) -> Array:
        return self.value * self.gamma ** self._times(step / self._length("every", total))

    def _times(self, lengths: Array) -> Array:
        """Return how often the value is multiplied by gamma, so many lengths after the warm-up."""
        return lengths

    def _levels(self) -> tuple[float, ...]:
        return self.value, 0.0 if self.gamma < 1 else self.value


@kind
class step(_Multiplied):
    """A number that is multiplied at once every so many steps, as by PyTorch's ``StepLR``.

    Parameters
    ----------
    value : float
        In the first steps after the warm-up.
    gamma : float, default 0.1
        What it is multiplied by.
    every : int or float, default 1/3
        After how many steps, or which part of the steps after the warm-up.
    warmup : int or float, default 0.0
        See `constant`.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.step(1.0, 0.5, every=2).values(5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    every: float = 1 / 3

    def _times(self, lengths: Array) -> Array:
        return np.floor(lengths * _NUDGE)


@kind
class exponential(_Multiplied):
    """A number that falls by a factor in each step; with ``every=1`` PyTorch's ``ExponentialLR``.

    Parameters
    ----------
    value : float
        In the first step after the warm-up.
    gamma : float, default 0.1
        What it is multiplied by in `every` steps, in each by the same factor.
    every : int or float, default 1.0
        So many steps, or the part of the steps after the warm-up.
    warmup : int or float, default 0.0
        See `constant`.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.exponential(1.0, 0.5, every=1).values(4)
    array([1.   , 0.5  , 0.25 , 0.125])
    """


@kind
class cosine_restarts(cosine):
    """Half a cosine from a value to an end, again and again, as PyTorch's ``CosineAnnealingWarmRestarts``.

    Parameters
    ----------
    value : float
        In the first step after the warm-up, and at each restart.
    end : float, default 0.0
        What each cosine would end with.
    every : int or float, default 0.25
        Steps of the first cosine, or the part of the steps after the warm-up.
    factor : float, default 1
        Each cosine is so many times as long as the one before; at least 1.
    warmup : int or float, default 0.0
        See `constant`.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.cosine_restarts(1.0, every=2, factor=2).values(6).round(3)
    array([1.   , 0.5  , 1.   , 0.854, 0.5  , 0.146])
    """

    every: float = 0.25
    factor: float = 1

    _lengths: ClassVar[tuple[str, ...]] = ("warmup", "every")

    def _check(self, name: str, given: Any, who: str) -> None:
        check.number(given, who, name, 1.0 if name == "factor" else 0.0)

    def _way(self, step: Array, total: float) -> Array:
        length, factor = self._length("every", total), self.factor
        cycles = step / length * _NUDGE  # by the length of the first
        if factor == 1:
            return np.maximum(step / length - np.floor(cycles), 0.0)
        number = np.floor(np.log1p(cycles * (factor - 1)) / math.log(factor) * _NUDGE)
        begin = (factor**number - 1) / (factor - 1)
        return np.maximum(step / length - begin, 0.0) / factor**number
