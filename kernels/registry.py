"""Tables of what there may be more of: a file of its own in a folder registers each, and nothing else lists them."""

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar


class Entry(Protocol):
    """What a table holds."""

    @property
    def name(self) -> str: ...
    @property
    def code(self) -> int: ...


E = TypeVar("E", bound=Entry)


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
