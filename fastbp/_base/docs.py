"""Lists in docstrings, made from what there is."""

import textwrap
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
LINE = 120


def listed(names: Iterable[str], last: str = "or") -> str:
    """Return "a, b or c"."""
    *first, end = names
    return f"{', '.join(first)} {last} {end}" if first else end


def with_lists(**lists: str) -> Callable[[T], T]:
    """Put texts where the docstring of a class or a function has their names in braces.

    The line with the name is filled anew.
    """

    def decorate(thing: T) -> T:
        lines = (thing.__doc__ or "").split("\n")  # none under -OO
        for name, text in lists.items():
            for i, line in enumerate(lines):
                if f"{{{name}}}" in line:
                    indent = " " * (len(line) - len(line.lstrip()))
                    whole = line.strip().replace(f"{{{name}}}", text)
                    lines[i : i + 1] = textwrap.wrap(whole, LINE, initial_indent=indent, subsequent_indent=indent)
        if thing.__doc__:
            thing.__doc__ = "\n".join(lines)
        return thing

    return decorate
