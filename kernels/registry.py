"""Tables of what there may be more of: a file of its own in a folder registers each, and nothing else lists them."""

import importlib
import math
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar


class Entry(Protocol):
    """What a table holds."""

    @property
    def name(self) -> str: ...
    @property
    def code(self) -> int: ...


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Number:
    """A number that users choose for a loss, an update rule or a layer, or a pair of numbers.

    name, default : as users see them; the default of a pair is a pair, that of 1 or 0 for yes or no True or False
    text : what it says in the docstring
    least, below, most : each number is at least `least`, less than `below` and at most `most`
    positive : whether 0 is refused too
    whole : whether numbers between whole ones are
    none : a layer's dtype to what None stands for; without it None is refused
    place : in `hyper`, for an update rule; the second of a pair stands behind. A loss's stand in order from OWN on,
        a layer's among its attributes
    kept : what an update rule has in the number's place, where that is another
    """

    name: str
    default: float | tuple[float, float] | None
    text: str
    least: float = 0.0
    below: float = math.inf
    most: float = math.inf
    positive: bool = False
    whole: bool = False
    place: int = 0
    kept: Callable[[float], float] | None = None
    none: Callable[[Any], float] | None = None


@dataclass(frozen=True)
class Public:
    """What users see of an entry, where fastbp makes that from the table.

    name : of the class
    text : the first line of the docstring, without its full stop
    function : name of the function of arrays, for a loss
    torch : PyTorch's name of the class or the function, where the tests compare with it
    more : the docstring's second paragraph
    features : what the number of features of a row is called, for a layer with parameters
    """

    name: str
    text: str
    function: str = ""
    torch: str = ""
    more: str = ""
    features: str = "features"


def add(table: dict[str, E], entry: E) -> E:
    """Add an entry; refuse a second one of its name or code."""
    for other in table.values():
        if entry.name == other.name or entry.code == other.code:
            raise ValueError(f"{entry.name!r} expects a name and a code of its own, got those of {other}")
    table[entry.name] = entry
    return entry


def load_folder(package: str, path: Iterable[str], table: dict[str, Any], *, leave: Iterable[str]) -> None:
    """Import the modules of a folder, which fill its table; sort that by code.

    leave : modules that register nothing, and that are not to be imported yet
    """
    for module in pkgutil.iter_modules(path):
        if module.name not in leave:
            importlib.import_module(f"{package}.{module.name}")
    entries = sorted(table.values(), key=lambda entry: entry.code)
    table.clear()
    table.update((entry.name, entry) for entry in entries)
