"""Curves from a value to an end, once in a run."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastbp._base.schedule import Warmed, kind

Array = NDArray[np.float64]


@kind
class constant(Warmed):
    """The same number in all steps, after a warm-up.

    Parameters
    ----------
    value : float
    warmup : int or float, default 0.0
        Steps, or the part of the run, in which it rises: to (s + 1) / (w + 1) of `value` in step s of w, from 0.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.constant(0.1, warmup=4).values(6)
    array([0.02, 0.04, 0.06, 0.08, 0.1 , 0.1 ])
    """

    value: float

    def _curve(self, step: Array, total: float) -> Array:
        return np.full(step.shape, self.value)

    def _levels(self) -> tuple[float, ...]:
        return (self.value,)


@dataclass(frozen=True, repr=False)
class _Falling(Warmed):
    """A schedule from a value to an end."""

    value: float
    end: float = 0.0

    def _curve(self, step: Array, total: float) -> Array:
        return self.end + (self.value - self.end) * self._left(self._way(step, total))

    def _way(self, step: Array, total: float) -> Array:
        """Return which part of the way from the value to the end is behind, from 0 to 1."""
        return np.minimum(step / total, 1.0)

    def _left(self, way: Array) -> Array:
        """Return what is left of the difference: 1 where no part of the way is behind, 0 where all is."""
        raise NotImplementedError

    def _levels(self) -> tuple[float, ...]:
        return self.value, self.end


@kind
class linear(_Falling):
    """From a value to an end along a line, as PyTorch's ``LinearLR``.

    Parameters
    ----------
    value : float
        In the first step after the warm-up.
    end : float, default 0.0
        At progress 1: the step after the last would have it.
    warmup : int or float, default 0.0
        See `constant`.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.linear(1.0, 0.5).values(4)
    array([1.   , 0.875, 0.75 , 0.625])
    """

    def _left(self, way: Array) -> Array:
        return 1 - way


@kind
class polynomial(_Falling):
    """From a value to an end by a power of what is left of the run, as PyTorch's ``PolynomialLR``.

    Parameters
    ----------
    value : float
        In the first step after the warm-up.
    end : float, default 0.0
        At progress 1.
    power : float, default 2.0
        The number is ``end + (value - end) * (1 - progress) ** power``.
    warmup : int or float, default 0.0
        See `constant`.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.polynomial(1.0).values(4)
    array([1.    , 0.5625, 0.25  , 0.0625])
    """

    power: float = 2.0

    def _left(self, way: Array) -> Array:
        return (1 - way) ** self.power


@kind
class cosine(_Falling):
    """From a value to an end along half a cosine, as PyTorch's ``CosineAnnealingLR``.

    Parameters
    ----------
    value : float
        In the first step after the warm-up.
    end : float, default 0.0
        At progress 1.
    warmup : int or float, default 0.0
        See `constant`.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.cosine(1.0).values(4).round(3)
    array([1.   , 0.854, 0.5  , 0.146])
    """

    def _left(self, way: Array) -> Array:
        return (1 + np.cos(np.pi * way)) / 2


@kind
class flat_cosine(cosine):
    """A value that stays for a part of the run, and falls to an end along half a cosine then.

    RealMLP has it for weight decay and dropout (Holzmüller, Grinsztajn and Steinwart, 2024).

    Parameters
    ----------
    value : float
    end : float, default 0.0
        At progress 1.
    flat : int or float, default 0.5
        How long it stays after the warm-up: steps, or the part of the steps after the warm-up.
    warmup : int or float, default 0.0
        See `constant`.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.flat_cosine(1.0).values(6).round(3)
    array([1.  , 1.  , 1.  , 1.  , 0.75, 0.25])
    """

    flat: float = 0.5

    _lengths: ClassVar[tuple[str, ...]] = ("warmup", "flat")

    def _way(self, step: Array, total: float) -> Array:
        flat = self._length("flat", total)
        return super()._way(np.maximum(step - flat, 0.0), total - flat if flat < total else 1.0)
