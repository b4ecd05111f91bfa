"""What the classes and functions have in common that are made from the kernels' tables: checks and docstrings."""

import textwrap
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastbp._base import check
from fastbp._base.docs import LINE
from fastbp._base.schedule import checked_number
from fastbp.kernels.registry import Number


def checked(number: Number, value: Any, who: str, varies: bool = False) -> tuple[Any, ...]:
    """Return the number that a user chose, or the two of a pair; ValueError or TypeError if one is out of range.

    varies : whether it may be a schedule
    """
    if isinstance(number.default, bool):
        return (float(check.flag(value, who, number.name)),)
    if not isinstance(number.default, tuple):
        return (_checked(number, value, who, number.name, varies),)
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{who} expects {number.name} to be two numbers, got {value!r}")
    return tuple(_checked(number, each, who, f"{number.name}[{i}]", varies) for i, each in enumerate(value))


def checked_each(number: Number, value: Any, who: str) -> float | tuple[float, ...]:
    """Return the number that a user chose for all of something, or one each; errors as `checked` has them."""
    if isinstance(value, (int, float, np.integer, np.floating, str)):
        return float(checked(number, value, who)[0])
    array = check.floats(value, np.dtype(np.float64), who, number.name)
    if array.ndim == 0:
        return float(checked(number, float(array), who)[0])
    if array.ndim != 1 or not array.size:
        shape = check.shape_text(array.shape)
        raise ValueError(f"{who} expects {number.name} to be a number, or a row of them, got shape {shape}")
    return tuple(_checked(number, float(each), who, f"{number.name}[{i}]", False) for i, each in enumerate(array))


def _checked(number: Number, value: Any, who: str, name: str, varies: bool) -> Any:
    high = min(number.below, number.most)
    checks = checked_number if varies else check.number
    found: Any = checks(value, who, name, number.least, high, open_high=number.below == high)
    if number.positive and found == 0:
        raise ValueError(f"{who} expects {name} greater than 0, got {value!r}")
    if number.whole and found != int(found):
        raise ValueError(f"{who} expects {name} to be a whole number, got {value!r}")
    return found


def parameters_of(numbers: Iterable[Number], varies: Container[str] = ()) -> list[tuple[str, str]]:
    """Return the numbers as `docstring` takes parameters; those of the names `varies` may be schedules."""
    found = []
    for number in numbers:
        kind = "float" if number.default is None else type(number.default).__name__
        if isinstance(number.default, tuple):
            kind = "float"
        if number.name in varies:
            kind = f"{kind} or schedule"
        if number.none is not None and number.default is not None:
            kind = f"{kind} or None"
        if isinstance(number.default, tuple):
            kind = f"({kind}, {kind})"
        default = "optional" if number.default is None else f"default {number.default}"
        found.append((f"{number.name} : {kind}, {default}", number.text))
    return found


def docstring(text: str, sections: Mapping[str, Sequence[tuple[str, str]]], example: str) -> str:
    """Return a docstring in numpydoc's form, of paragraphs; an entry of a section is a line and what stands below."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += ["", *textwrap.wrap(paragraph, LINE - 4)]
    del lines[0]
    for section, entries in sections.items():
        lines += ["", section, "-" * len(section)]
        for line, below in entries:
            lines += [line, *textwrap.wrap(below, LINE - 4, initial_indent="    ", subsequent_indent="    ")]
    return "\n".join([*lines, "", "Examples", "--------", ">>> import fastbp", *example.splitlines(), ""])
