"""Schedules as data, as model files and checkpoints have them."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastbp._base import check
from fastbp._base.schedule import KINDS, Schedule
from fastbp.kernels.compile.outside import digest_of

Formula = Callable[[float], float]
Functions = Mapping[str, Formula]


def name_of(formula: Formula) -> str:
    """Return the name by which a file knows a function of the user's."""
    return str(getattr(formula, "__name__", type(formula).__name__))


def to_file(schedule: Schedule) -> dict[str, Any]:
    """Describe a schedule: a function of the user's by its name and a digest of its source."""
    kind = type(schedule)
    if KINDS.get(kind.__name__) is not kind:
        raise TypeError(f"a file knows the schedules {', '.join(KINDS)}; got {kind.__name__}")
    given = {option.name: getattr(schedule, option.name) for option in KINDS[kind.__name__]._options()}
    options: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Schedule):
            options[name] = to_file(value)
        elif callable(value):
            digest = digest_of(value, of_text=True) if inspect.isfunction(value) else None
            options |= {"name": name_of(value), "digest": digest}
        else:
            options[name] = value
    return {"schedule": kind.__name__, "options": options}


def from_file(described: Any, own: Functions) -> Any:
    """Return the schedule that `to_file` described, anything else as it is; `own` are the user's functions by name."""
    if not isinstance(described, Mapping) or "schedule" not in described:
        return described
    kind: type[Any] = check.choice(described["schedule"], KINDS, "load", "a schedule")
    options = dict(described["options"])
    if "digest" not in options:
        return kind(**{name: from_file(value, own) for name, value in options.items()})
    name, digest = options["name"], options["digest"]
    if name not in own:
        raise ValueError(f"it has a schedule by a function {name!r} of your own: pass it, schedules=[{name}]")
    found = kind(own[name])
    if to_file(found)["options"]["digest"] != digest:
        warnings.warn(
            f"the function {name} of a schedule has another source than that of the file", UserWarning, stacklevel=2
        )
    return found


def functions_by_name(functions: Iterable[Any], who: str) -> Functions:
    """Return functions that are given for the names in a file."""
    if not isinstance(functions, Iterable):
        raise TypeError(f"{who} expects schedules to be a list of functions, got {type(functions).__name__}")
    found = {}
    for formula in functions:
        if not callable(formula):
            raise TypeError(f"{who} expects schedules to be functions of your own, got {formula!r}")
        found[name_of(formula)] = formula
    return found
