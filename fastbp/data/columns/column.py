"""A column of a table, a block of rows at a time: what rules look at and encoders are fitted to.

Of a table in memory there is one block. One that is larger is read anew whenever its blocks are gone through, so what
looks at a column keeps sums, extremes and distinct values of its blocks, never all of its rows.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
S = TypeVar("S")


class Column(Generic[T]):
    """What there is of each block of rows: an array of pyarrow, or what was made of it.

    Parameters
    ----------
    blocks : list, or callable that returns an iterable
        A list of what is in memory; else what reads the blocks, as often as it is called.
    kind : type of pyarrow, optional
        Of the values, if they are arrays.
    """

    def __init__(self, blocks: list[T] | Callable[[], Iterable[T]], kind: Any = None) -> None:
        self._blocks, self.type = blocks, kind

    @classmethod
    def of(cls, values: Any) -> "Column[Any]":
        """Return an array of pyarrow as a column of one block; a column as it is."""
        return values if isinstance(values, Column) else cls([values], values.type)

    def __iter__(self) -> Iterator[T]:
        return iter(self._blocks() if callable(self._blocks) else self._blocks)

    def map(self, change: Callable[[T], S]) -> "Column[S]":
        """Return the column of what is made of each block: once of what is in memory, else whenever it is read."""
        if callable(self._blocks):
            return Column(lambda: map(change, self), self.type)
        return Column([change(block) for block in self._blocks], self.type)

    @property
    def in_memory(self) -> bool:
        """Whether all of it is."""
        return not callable(self._blocks)
