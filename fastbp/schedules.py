"""Schedules: a number for each step of a run, for learning rates, weight decay, momentum, betas and Dropout's p.

They go where the number would: ``fastbp.Adam(lr=fastbp.schedules.cosine(3e-3, warmup=0.05))``,
``fastbp.Dropout(fastbp.schedules.flat_cosine(0.15))``. The step s of n, counted from 0, has the progress s / n: 0 in
the first step, (n - 1) / n in the last. The numbers of many steps are computed before a compiled call, which takes them
in turn. See `Trainer` for what n is.

A length (`warmup`, `every`, `flat`) is a number of steps if it is an int, and a part of the run if it is a float.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check
from fastbp._base.schedule import KINDS, Record, Schedule, Warmed, kind
from fastbp._base.schedule_file import name_of

__all__ = [
    "CURVES",
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "coslog4",
    "exponential",
    "flat_cosine",
    "function",
    "linear",
    "named",
    "one_cycle",
    "polynomial",
    "step",
]

Array = NDArray[np.float64]
# A quotient of whole lengths that should be a whole number is one, for all its rounding.
_NUDGE = 1 + 1e-12


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
        return self.end + (self.value - self.end) * self._left(np.minimum(step / total, 1.0))

    def _left(self, progress: Array) -> Array:
        """Return what is left of the way, 1 at progress 0 and 0 at 1."""
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

    def _left(self, progress: Array) -> Array:
        return 1 - progress


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

    def _left(self, progress: Array) -> Array:
        return (1 - progress) ** self.power


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

    def _left(self, progress: Array) -> Array:
        return (1 + np.cos(np.pi * progress)) / 2


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

    def _curve(self, step: Array, total: float) -> Array:
        flat = self._length("flat", total)
        return super()._curve(np.maximum(step - flat, 0.0), total - flat if flat < total else 1.0)


@dataclass(frozen=True, repr=False)
class _Multiplied(Warmed):
    """A schedule that is multiplied by a number again and again."""

    value: float
    gamma: float = 0.1
    every: float = 1.0

    _lengths: ClassVar[tuple[str, ...]] = ("warmup", "every")

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

    def _curve(self, step: Array, total: float) -> Array:
        return self.value * self.gamma ** np.floor(step / self._length("every", total) * _NUDGE)


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

    def _curve(self, step: Array, total: float) -> Array:
        return self.value * self.gamma ** (step / self._length("every", total))


@kind
class cosine_restarts(Warmed):
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

    value: float
    end: float = 0.0
    every: float = 0.25
    factor: float = 1

    _lengths: ClassVar[tuple[str, ...]] = ("warmup", "every")

    def _check(self, name: str, given: Any, who: str) -> None:
        check.number(given, who, name, 1.0 if name == "factor" else 0.0)

    def _curve(self, step: Array, total: float) -> Array:
        length, factor = self._length("every", total), self.factor
        cycles = step / length * _NUDGE  # by the length of the first
        if factor == 1:
            place = np.maximum(step / length - np.floor(cycles), 0.0)
        else:
            number = np.floor(np.log1p(cycles * (factor - 1)) / math.log(factor) * _NUDGE)
            begin = (factor**number - 1) / (factor - 1)
            place = np.maximum(step / length - begin, 0.0) / factor**number
        return self.end + (self.value - self.end) * (1 + np.cos(np.pi * place)) / 2

    def _levels(self) -> tuple[float, ...]:
        return self.value, self.end


@kind
class one_cycle(Record):
    """Up from a small number and down to a smaller one, as PyTorch's ``OneCycleLR``: the last step has the smallest.

    For a momentum that goes the other way, 0.95 to 0.85 and back: ``one_cycle(0.85, div_factor=0.85 / 0.95,
    final_div_factor=1)``.

    Parameters
    ----------
    value : float
        The largest.
    pct_start : float, default 0.3
        The part of the run in which it rises.
    div_factor : float, default 25.0
        The first step has ``value / div_factor``.
    final_div_factor : float, default 1e4
        The last step has that divided by this.
    anneal_strategy : {"cos", "linear"}, default "cos"
        Along which curve it goes.
    three_phase : bool, default False
        Whether it falls to where it began first, in as many steps as it rose, and from there to the smallest.

    References
    ----------
    Smith and Topin, "Super-convergence", 2018.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.one_cycle(1.0, pct_start=0.5, anneal_strategy="linear").values(6).round(3)
    array([0.04 , 0.52 , 1.   , 0.667, 0.333, 0.   ])
    """

    value: float
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal_strategy: str = "cos"
    three_phase: bool = False

    def _check(self, name: str, given: Any, who: str) -> None:
        if name == "anneal_strategy":
            check.choice(given, ("cos", "linear"), who, name)
        elif name == "three_phase":
            check.flag(given, who, name)
        else:
            check.number(given, who, name, 0.0, 1.0 if name == "pct_start" else np.inf)
            if name.endswith("div_factor") and given == 0:
                raise ValueError(f"{who} expects {name} greater than 0, got {given!r}")

    def _levels(self) -> tuple[float, ...]:
        initial = self.value / self.div_factor
        return initial, self.value, initial / self.final_div_factor

    def _values(self, step: Array, total: int) -> Array:
        initial, most, least = self._levels()
        top = self.pct_start * total - 1
        ends, levels = [0.0, top, total - 1.0], [initial, most, least]
        if self.three_phase:
            ends, levels = [0.0, top, 2 * self.pct_start * total - 2, total - 1.0], [initial, most, initial, least]
        result = np.full(step.shape, levels[-1])
        for k in reversed(range(len(ends) - 1)):
            way = np.clip((step - ends[k]) / max(ends[k + 1] - ends[k], 1e-12), 0.0, 1.0)
            if self.anneal_strategy == "cos":
                way = (1 - np.cos(np.pi * way)) / 2
            # of two phases that meet in a step, the first has it
            result = np.where(step <= ends[k + 1], levels[k] + (levels[k + 1] - levels[k]) * way, result)
        return result


@kind
class coslog4(Record):
    """RealMLP's: ``value * (1/2 - 1/2 cos(2 pi log2(1 + 15 progress)))``, four cycles, each twice as long.

    Parameters
    ----------
    value : float
        The largest; it begins at 0.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default", 2024.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.coslog4(1.0).values(15)[[0, 1, 3, 7]].round(3)
    array([0., 0., 0., 0.])
    """

    value: float

    def _values(self, step: Array, total: int) -> Array:
        return self.value * (0.5 - 0.5 * np.cos(2 * np.pi * np.log2(1 + 15 * step / total)))

    def _levels(self) -> tuple[float, ...]:
        return 0.0, self.value


@kind
class function(Record):
    """A function of the progress, called with a float from 0 to 1 for each step, before the call that makes it.

    A checkpoint has its name and a digest of its source: `Trainer.load_checkpoint` is given it, ``schedules=[...]``.

    Parameters
    ----------
    formula : callable
        ``formula(progress) -> float``; it is to give the same whenever it is called.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.function(lambda t: 0.1 if t < 0.5 else 0.01).values(4)
    array([0.1 , 0.1 , 0.01, 0.01])
    """

    formula: Callable[[float], float]

    def _check(self, name: str, given: Any, who: str) -> None:
        if not callable(given):
            raise TypeError(f"{who} expects formula to be a function of the progress, got {given!r}")

    def _values(self, step: Array, total: int) -> Array:
        who = name_of(self.formula)
        found = [check.number(self.formula(t), who, f"its result at {t:g}", -np.inf) for t in (step / total).tolist()]
        return np.array(found)

    def _levels(self) -> tuple[float, ...]:
        return ()

    def __repr__(self) -> str:
        return f"function({name_of(self.formula)})"


# Those that a value alone makes, by name
CURVES = {name: found for name, found in KINDS.items() if "value" in (option.name for option in found._options())}


def named(name: str, value: float, **options: Any) -> Schedule:
    """Return the schedule of a name.

    Parameters
    ----------
    name : str
        Of any of these but `function`.
    value : float
    **options
        Its others.

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError, TypeError
        If there is none of that name, or an argument does not fit.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.named("cosine", 3e-3, warmup=0.05)
    cosine(0.003, warmup=0.05)
    """
    chosen: Any = check.choice(name, CURVES, "schedules.named", "name")
    made: Schedule = chosen(value, **options)
    return made
