"""Groups of parameters: options by patterns of names, and the table of them that kernels take."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check
from fastbp.kernels import optimizers as updates
from fastbp.nn.sequential import Sequential

Groups = Mapping[str, Mapping[str, float]]
# The options of a group, with the column of the table and what stands there for parameters of no group
_OPTIONS = {
    "lr_factor": (updates.LR_FACTOR, 1.0),
    "weight_decay": (updates.DECAY, -1.0),
    "weight_decay_factor": (updates.DECAY_FACTOR, 1.0),
}
# What docstrings say of an optimizer's groups
TEXT = (
    "Options for some parameters, by patterns of their names in ``model.parameters()``, as `fnmatch` has them: "
    '``{"*.bias": {"weight_decay": 0}, "0.*": {"lr_factor": 6}}``. lr_factor multiplies the learning rate, '
    "weight_decay takes the place of that of all, and weight_decay_factor multiplies the weight decay, that of a "
    "schedule too. Where several patterns match, the last one with an option counts."
)


def check_groups(groups: Any, decays: bool, who: str) -> None:
    """Raise TypeError or ValueError if these are no options by patterns; `decays`: whether the optimizer decays."""
    if groups is None:
        return
    if not isinstance(groups, Mapping):
        raise TypeError(f"{who} expects groups to be options by patterns of names, got {groups!r}")
    for pattern, options in groups.items():
        if not isinstance(pattern, str) or not isinstance(options, Mapping):
            raise TypeError(f"{who} expects groups to be options by patterns of names, got {pattern!r}: {options!r}")
        for name, value in options.items():
            check.choice(name, [*_OPTIONS], who, f"an option of groups[{pattern!r}]")
            check.number(value, who, f"{name} of groups[{pattern!r}]")
            if name != "lr_factor" and not decays:
                raise ValueError(f"{who} expects no {name} in groups[{pattern!r}]: it has none")


def group_table(groups: Groups | None, model: Sequential, who: str) -> NDArray[np.float64]:
    """Return (groups, GROUP_SIZE), see ``kernels/optimizers/registry.py``; no rows without groups.

    ValueError for a pattern that matches no parameter.
    """
    rows: list[NDArray[np.float64]] = []
    if not groups:
        return np.zeros((0, updates.GROUP_SIZE))
    first, parameters = _address(model._params), model.parameters()
    for pattern in groups:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            raise ValueError(f"{who} expects a pattern of groups to match {', '.join(parameters)}; got {pattern!r}")
    for name, array in sorted(parameters.items(), key=lambda item: _address(item[1])):
        row = np.zeros(updates.GROUP_SIZE)
        row[updates.START] = _address(array) - first
        for option, (column, of_all) in _OPTIONS.items():
            found = [own[option] for pattern, own in groups.items() if option in own and fnmatchcase(name, pattern)]
            row[column] = found[-1] if found else of_all
        rows.append(row)
    return np.array(rows)


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
