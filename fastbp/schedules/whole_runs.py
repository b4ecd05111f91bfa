"""Schedules of a whole run, without a warm-up of their own."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check
from fastbp._base.schedule import Record, kind
from fastbp._base.schedule_file import name_of

Array = NDArray[np.float64]


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
