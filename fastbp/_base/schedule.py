"""What every schedule is: a number for each step of a run, where other numbers are the same for all."""

from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check
from fastbp._base.guard import Guarded, guarded_record

__all__ = ["KINDS", "Record", "Schedule", "Warmed", "checked_number", "kind"]

Array = NDArray[np.float64]
# Kinds of schedules by name, as the command line and files have them; `fastbp.schedules` defines them.
KINDS: dict[str, type["Record"]] = {}
Class = TypeVar("Class", bound=type["Record"])


class Schedule(Guarded):
    """A number for each step of a run, by its progress: steps made before / steps of the run; see `fastbp.schedules`.

    Examples
    --------
    >>> import fastbp
    >>> schedule = fastbp.schedules.linear(1.0)
    >>> isinstance(schedule, fastbp.schedules.Schedule), schedule.values(4)
    (True, array([1.  , 0.75, 0.5 , 0.25]))
    """

    def values(self, total: int, first: int = 0, count: int | None = None) -> Array:
        """Return the numbers of some steps of a run.

        Parameters
        ----------
        total : int
            Steps of the run. Steps beyond have the number of progress 1.
        first : int, default 0
            The first step, counted from 0.
        count : int, optional
            How many; without it all from the first on.

        Returns
        -------
        ndarray of shape (count,), float64
        """
        total = check.integer(total, type(self).__name__, "total")
        first = check.integer(first, type(self).__name__, "first", 0)
        count = max(0, total - first) if count is None else check.integer(count, type(self).__name__, "count", 0)
        return self._values(np.minimum(np.arange(first, first + count), total).astype(np.float64), total)

    def _values(self, step: Array, total: int) -> Array:
        """Return the numbers of steps, each from 0 to `total`."""
        raise NotImplementedError

    def _levels(self) -> tuple[float, ...]:
        """Return numbers that all others are between, as far as they are known before."""
        raise NotImplementedError

    def __mul__(self, factor: float) -> "Schedule":
        if not isinstance(factor, (int, float, np.number)):
            return NotImplemented
        whole, before = (self.schedule, self.factor) if isinstance(self, Scaled) else (self, 1.0)
        return Scaled(whole, float(before * factor))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Schedule":
        return self * (1 / divisor) if isinstance(divisor, (int, float, np.number)) else NotImplemented


class Record(Schedule):
    """A schedule that is a frozen dataclass of numbers; the first is the one that it is about."""

    _lengths: ClassVar[tuple[str, ...]] = ()  # options that are lengths

    @classmethod
    def _options(cls) -> tuple[Field[Any], ...]:
        return fields(cls)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        who = type(self).__name__
        for option in self._options():
            given = getattr(self, option.name)
            if option.name not in self._lengths:
                self._check(option.name, given, who)
            elif isinstance(given, (int, np.integer)):
                check.integer(given, who, option.name, self._least(option.name))
            elif check.number(given, who, option.name, 0.0, 1.0) == 0 and self._least(option.name):
                raise ValueError(f"{who} expects {option.name} greater than 0, got {given!r}")

    def _check(self, name: str, given: Any, who: str) -> None:
        check.number(given, who, name)

    def _least(self, name: str) -> int:
        """Return the least number of steps that a length may have."""
        return 0 if name in ("warmup", "flat") else 1

    def _length(self, name: str, total: float) -> float:
        """Return a length in steps."""
        given = getattr(self, name)
        return float(given) if isinstance(given, (int, np.integer)) else given * total

    def __repr__(self) -> str:
        first, *others = sorted(self._options(), key=lambda option: bool(option.kw_only))
        shown = [repr(getattr(self, first.name))]
        for option in others:
            if (given := getattr(self, option.name)) != option.default:
                shown.append(f"{option.name}={given!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Warmed(Record):
    """A schedule that may begin with a warm-up.

    Step s of the w steps of a warm-up has (s + 1) / (w + 1) of the value; the curve begins at step w, and takes the
    other steps for the run.
    """

    warmup: float = field(default=0.0, kw_only=True)

    _lengths: ClassVar[tuple[str, ...]] = ("warmup",)

    def _values(self, step: Array, total: int) -> Array:
        w = self._length("warmup", total)
        rising = np.minimum((step + 1) / (w + 1), 1.0)
        return rising * self._curve(np.maximum(step - w, 0.0), total - w if w < total else 1.0)

    def _curve(self, step: Array, total: float) -> Array:
        """Return the numbers of steps after the warm-up, of so many."""
        raise NotImplementedError


@dataclass_transform(frozen_default=True)
def kind(cls: Class) -> Class:
    """Make a class a frozen dataclass, and a kind of schedules that files know by its name."""
    KINDS[cls.__name__] = guarded_record(dataclass(frozen=True, repr=False)(cls))
    return cls


@kind
class Scaled(Record):
    """A schedule times a number."""

    schedule: Schedule
    factor: float

    def _check(self, name: str, given: Any, who: str) -> None:
        if name == "factor":
            check.number(given, who, name)
        elif not isinstance(given, Schedule):
            raise TypeError(f"{who} expects a schedule, got {given!r}")

    def _values(self, step: Array, total: int) -> Array:
        return self.factor * self.schedule._values(step, total)

    def _levels(self) -> tuple[float, ...]:
        return tuple(self.factor * level for level in self.schedule._levels())

    def __repr__(self) -> str:
        return f"{self.factor!r} * {self.schedule!r}"


def checked_number(
    value: Any, who: str, name: str, low: float = 0.0, high: float = np.inf, *, open_high: bool = False
) -> float | Schedule:
    """Return what `check.number` does, or a schedule between whose levels all numbers are in that range."""
    if not isinstance(value, Schedule):
        return check.number(value, who, name, low, high, open_high=open_high)
    for level in value._levels():
        check.number(level, who, f"{name}={value!r}", low, high, open_high=open_high)
    return value
