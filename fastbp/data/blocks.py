"""Rows that are read a block at a time, while a network trains on those before: what a source of them says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check

__all__ = ["ArrayBlocks", "Blocks"]


class Blocks:
    """Rows in blocks that are read when they are needed: base class of what `Trainer.fit` takes in the place of arrays.

    A source says how many rows each block has, and reads one. `fit` reads in a thread of its own, ahead of the steps;
    two windows of blocks and the one that is read are in memory at a time.

    Attributes
    ----------
    sizes : ndarray of int64, (blocks,)
        Rows of each block, at least one; known without reading.
    window : int or None
        How many blocks are shuffled together, see `Trainer.fit`. None, the default: as many as 32 MB hold.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> class Waves(fastbp.Blocks):
    ...     sizes = np.full(50, 200)
    ...
    ...     def read(self, block):
    ...         x = np.random.default_rng(block).uniform(-3, 3, (200, 1))
    ...         return x, np.sin(x)
    >>> trainer = fastbp.Trainer(fastbp.mlp([1, 16, 1], "tanh", rng=0), "mse", fastbp.Adam(1e-2))
    >>> history = trainer.fit(Waves(), epochs=3, rng=0, progress=False)
    >>> history["loss"][-1] < 0.1
    True
    """

    sizes: NDArray[np.int64]
    window: int | None = None

    def read(self, block: int) -> tuple[Any, ...]:
        """Return ``(x, y)`` or ``(x, y, sample_weight)`` of a block: what `Trainer.step` takes, sparse matrices aside.

        It is called from another thread than the one that trains, and by one at a time. The same block has to be the
        same rows whenever it is read. An error that it raises ends `fit`, with the block's name.
        """
        raise NotImplementedError

    def name(self, block: int) -> str:
        """Return what errors call a block."""
        return f"block {block}"


class ArrayBlocks(Blocks):
    """Arrays as blocks of rows: memory maps of files that are larger than memory, on disks that do not like to seek.

    ``fit(x, y)`` takes memory maps as well, and there each epoch is a permutation of all rows, read one by one. That is
    the better shuffle, and as fast where the system keeps the files in memory.

    Parameters
    ----------
    x, y, sample_weight
        As in `Trainer.fit`, arrays or memory maps.
    rows : int, default 65536
        Rows of a block; the last one has what is left.
    window : int, optional
        See `Blocks`.

    Raises
    ------
    TypeError, ValueError
        If `rows` or `window` is no such number, or the arrays differ in length or have no rows.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> x, y = fastbp.load_digits()
    >>> source = fastbp.ArrayBlocks(x / 16, y, rows=256, window=4)
    >>> source.sizes
    array([256, 256, 256, 256, 256, 256, 256,   5])
    >>> trainer = fastbp.Trainer(fastbp.mlp([64, 32, 10], rng=0), optimizer=fastbp.Adam(1e-2))
    >>> history = trainer.fit(source, epochs=10, rng=0, progress=False)
    >>> trainer.evaluate(source)["accuracy"] > 0.97
    True
    """

    def __init__(
        self, x: Any, y: Any, sample_weight: Any = None, *, rows: int = 65536, window: int | None = None
    ) -> None:
        who = type(self).__name__
        self._arrays: tuple[Any, ...] = (x, y) if sample_weight is None else (x, y, sample_weight)
        self._rows, self.window = check.integer(rows, who, "rows"), checked_window(window, who)
        lengths = [len(array) for array in self._arrays]
        if len(set(lengths)) > 1 or not lengths[0]:
            raise ValueError(f"{who} expects arrays of as many rows each, at least one, got {lengths}")
        starts = np.arange(0, lengths[0], self._rows)
        self.sizes = np.minimum(self._rows, lengths[0] - starts)

    def read(self, block: int) -> tuple[Any, ...]:
        """Return the rows of a block."""
        rows = slice(block * self._rows, (block + 1) * self._rows)
        return tuple(array[rows] for array in self._arrays)

    def name(self, block: int) -> str:
        """Return which rows a block has."""
        first = block * self._rows
        return f"rows {first} to {first + self.sizes[block] - 1}"


def checked_window(window: int | None, who: str) -> int | None:
    """Return how many blocks are shuffled together, checked."""
    return None if window is None else check.integer(window, who, "window")


def checked_sizes(source: Blocks, who: str) -> NDArray[np.int64]:
    """Return the rows of each block of a source, checked."""
    sizes = np.asarray(getattr(source, "sizes", None))
    kind = type(source).__name__
    if sizes.ndim != 1 or not sizes.size or sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise ValueError(f"{who} expects sizes of {kind} to be integers, the rows of each block, got {sizes!r}")
    return sizes.astype(np.int64)


@contextmanager
def named(source: Blocks, block: int) -> Iterator[None]:
    """Raise what a block causes inside as an error that names the block, of the same kind where that is a usual one."""
    try:
        yield
    except Exception as error:
        known = (kind for kind in (ValueError, TypeError, OSError, MemoryError) if isinstance(error, kind))
        raise next(known, RuntimeError)(f"{source.name(block)}: {error}") from error
