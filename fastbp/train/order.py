"""In which order an epoch takes its rows: one function for rows at hand and for rows that are read in blocks.

What can be read by itself is a unit: a row of arrays and memory maps, or a block of a source. The generator of the run
permutes the units as an epoch begins. Of blocks it draws a seed then, and the rows are shuffled further: as many blocks
as a window has, one beside the other in that order, are permuted as one by ``default_rng([seed, window])``, with the
number of the window in the epoch. Without `shuffle` all stand as they are.

So an epoch's order follows from the generator as the epoch begins, the sizes of the blocks and the window, and any
window's part of it from the permutation of blocks and the seed, without the rows of another.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
NONE: Numbers = np.empty(0, np.int64)


class Layout(NamedTuple):
    """How the rows of a run stand.

    rows : how many there are
    sizes : (blocks,), rows of each block; empty where each row can be read by itself
    window : how many blocks are shuffled together; 0 without blocks
    """

    rows: int
    sizes: Numbers = NONE
    window: int = 0

    @property
    def units(self) -> int:
        """How many rows or blocks there are."""
        return len(self.sizes) or self.rows


class Order(NamedTuple):
    """What is drawn of an epoch's order.

    units : (units,), the rows or blocks in their order
    seed : of the windows; -1 where their rows stand as they are
    """

    units: Numbers
    seed: int = -1


def draw(layout: Layout, generator: np.random.Generator | None) -> Order:
    """Draw the order of the epoch that begins; without a generator all stand as they are."""
    if generator is None:
        return Order(np.arange(layout.units))
    units = generator.permutation(layout.units).astype(np.int64, copy=False)
    return Order(units, int(generator.integers(2**63)) if layout.sizes.size else -1)


class Windows:
    """The windows of an epoch over blocks.

    Attributes
    ----------
    first : (windows + 1,), the place in the epoch of each window's first row, and the number of rows
    """

    def __init__(self, layout: Layout, order: Order) -> None:
        self._layout, self._order = layout, order
        self._offsets = np.cumsum(layout.sizes) - layout.sizes
        begins = np.arange(0, layout.units, layout.window)
        self.first = np.append(0, np.cumsum(np.add.reduceat(layout.sizes[order.units], begins)))

    def at(self, place: int) -> int:
        """Return which window has a place of the epoch."""
        return int(np.searchsorted(self.first, place, "right")) - 1

    def blocks(self, window: int) -> list[int]:
        """Return the blocks of a window, in which order its rows stand."""
        first = window * self._layout.window
        return [int(block) for block in self._order.units[first : first + self._layout.window]]

    def within(self, window: int) -> Numbers:
        """Return the rows of a window in their order, as they stand in it."""
        rows = int(self.first[window + 1] - self.first[window])
        if self._order.seed < 0:
            return np.arange(rows)
        return np.random.default_rng([self._order.seed, window]).permutation(rows).astype(np.int64, copy=False)

    def numbers(self, window: int) -> Numbers:
        """Return which rows of the source stand in a window."""
        sizes, offsets = self._layout.sizes, self._offsets
        return np.concatenate([np.arange(offsets[b], offsets[b] + sizes[b]) for b in self.blocks(window)])


def rows_at(layout: Layout, order: Order, places: range) -> Numbers:
    """Return which rows an epoch takes at some places, one after the other: of a batch, say."""
    if not layout.sizes.size:
        return order.units[places.start : places.stop]
    return np.concatenate(list(_parts(Windows(layout, order), places)), dtype=np.int64)


def _parts(windows: Windows, places: range) -> Iterator[Numbers]:
    for window in range(windows.at(places.start), windows.at(places.stop - 1) + 1):
        first = int(windows.first[window])
        rows = windows.numbers(window)[windows.within(window)]
        yield rows[max(0, places.start - first) : places.stop - first]
