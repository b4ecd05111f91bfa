"""Training on blocks that are read while steps run: a thread reads what the next steps need.

A window of blocks is shuffled, see `order.py`, and steps run on its rows as they do on rows at hand. What is left after
its last whole batch stands at the beginning of the next part. Of a part all rows are there before its first step: so
which thread is quicker changes nothing, and two parts are in memory, with the block that is read.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base.sparse import StoredRows
from fastbp.data.blocks import Blocks, checked_sizes, checked_window, named
from fastbp.train.ahead import Ahead
from fastbp.train.given import samples_like
from fastbp.train.order import NONE, Layout, Numbers, Windows, rows_at
from fastbp.train.rows import Rows
from fastbp.train.samples import Samples
from fastbp.train.staging import Staged, bytes_of, taken
from fastbp.train.state import RunState

Array = NDArray[Any]
WINDOW_BYTES = 1 << 25  # of the rows of a window, where the source does not say how many blocks it has


class Streamed(Rows):
    """The rows of a block source, as the epochs of a run take them.

    Parameters
    ----------
    source : Blocks
    shuffle : bool
        Whether each epoch has an order of its own.
    inputs : callable
        Checks x, y and the weights of a block and returns them as `Samples`.

    Attributes
    ----------
    first : Samples
        A row of the first block, which says what all are.
    """

    def __init__(self, source: Blocks, shuffle: bool, inputs: Callable[..., Samples]) -> None:
        self._source, self._inputs, self._shuffle = source, inputs, shuffle
        self._sizes, window = checked_sizes(source, "fit"), checked_window(source.window, "fit")
        self.rows = int(self._sizes.sum())
        self._like: Samples | None = None
        block = self.read(0)
        if window is None:
            held = WINDOW_BYTES * len(block.x) / bytes_of(block)  # rows
            window = max(1, int(held * len(self._sizes) / self.rows))
        self._window = min(window, len(self._sizes))
        self.first = self._like = taken(block, np.arange(1))

    def begin(self, run: RunState | None, rows: int, batch_size: int) -> tuple[Layout, int, bool]:
        """Return rows, batch size and order as `RunState` has them."""
        return Layout(rows, self._sizes, self._window), batch_size, bool(self._shuffle)

    def names(self, run: RunState, places: range) -> Numbers:
        """Return which rows of all the running epoch takes at some places."""
        return rows_at(run.layout, run.drawn(), places)

    @contextmanager
    def staged(self, run: RunState) -> Iterator["Stream"]:
        """Surround the steps that are left of an epoch: what they read."""
        stream = Stream(self.read, run)
        try:
            yield stream
        finally:
            stream.close()

    def read(self, block: int) -> Samples:
        """Read a block; an error that says which if it cannot be read, or is not as the first."""
        with named(self._source, block):
            samples = samples_like(self._source.read(block), self._inputs, self._like, "expected read to return rows")
            if isinstance(samples.x, StoredRows):
                raise TypeError("expected read to return arrays, got a sparse matrix")
            if len(samples.x) != self._sizes[block]:
                raise ValueError(f"expected {self._sizes[block]} rows, as sizes says, got {len(samples.x)}")
            if self._like is not None and (kinds := _kinds(samples)) != (like := _kinds(self._like)):
                raise ValueError(f"expected arrays as in the first block, {like}, got {kinds}")
        return samples

    def blocks(self) -> Iterator[Samples]:
        """Read all blocks, the next one in a thread while the caller computes with the one before."""
        ahead = Ahead(partial(self.read, 0))
        try:
            for block in range(1, len(self._sizes)):
                now, ahead = ahead.result(), Ahead(partial(self.read, block))
                yield now
            yield ahead.result()
        finally:
            ahead.wait()


class Room:
    """Memory for samples, which others take again after them: for many rows new memory costs the system's clearing."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}

    def joined(self, parts: Iterable[Samples], rows: int) -> Samples:
        """Return samples one after the other, each copied as it comes: so many rows in all."""
        whole: dict[str, Array] = {}
        at = 0
        for part in parts:
            arrays = _arrays(part)
            if not at:
                like, whole = part, {name: self._array(name, array, rows) for name, array in arrays.items()}
            end = at + len(part.x)
            for name, array in arrays.items():
                whole[name][at:end] = array[:]
            at = end
        targets = like.targets._replace(
            labels=whole.get("labels", like.targets.labels), values=whole.get("values", like.targets.values)
        )
        return Samples(whole["x"], targets, whole.get("weight", like.weight))

    def _array(self, name: str, like: Any, rows: int) -> Array:
        held = self._arrays.get(name)
        if held is None or len(held) < rows:
            self._arrays.pop(name, None)  # its memory, before there is more
            held = self._arrays[name] = np.empty((rows, *like.shape[1:]), like.dtype)
        return held[:rows]


class Stream:
    """The rows of an epoch over blocks, as its steps read them.

    Parameters
    ----------
    read : callable
        Returns the samples of a block.
    run : RunState
        Whose epoch it is.
    """

    def __init__(self, read: Callable[[int], Samples], run: RunState) -> None:
        self._read, self._run = read, run
        self._windows = Windows(run.layout, run.drawn())
        self._now = Staged(range(0), Samples(NONE, None, NONE), NONE, NONE)  # type: ignore[arg-type]  # nothing yet
        self._rooms = Room(), Room()  # of the part that steps run on, and of the next one
        self._ahead: Ahead[Staged] | None = None
        self._closed = False

    def at(self, step: int) -> Staged:
        """Return what this step reads, and those that follow it; another thread begins to read what comes then."""
        if step not in self._now.steps:
            if self._ahead is None:
                self._ahead = Ahead(partial(self._part, step, None))
            self._now, self._ahead = self._ahead.result(), None
            self._rooms = self._rooms[::-1]
            end = self._now.steps.stop
            if end < self._run.steps:
                left = self._now.order[(end - step) * self._run.batch_size :]
                self._ahead = Ahead(partial(self._part, end, taken(self._now.samples, left) if left.size else None))
        return self._now

    def close(self) -> None:
        """Let the thread end, after the block that it reads."""
        self._closed = True
        if self._ahead is not None:
            self._ahead.wait()

    def _part(self, step: int, carried: Samples | None) -> Staged:
        """Return what steps from this one on read: the rows of a window, or of as many as a batch needs.

        carried : the rows before, which this step begins with
        """
        run, windows, rows = self._run, self._windows, 0 if carried is None else len(carried.x)
        place, batch = step * run.batch_size, run.batch_size
        first, last = windows.at(place + rows), windows.at(min(place + batch, run.rows) - 1)
        skipped = place + rows - windows.first[first]  # where a run goes on: the steps before have had them
        order, blocks = [np.arange(rows)], []
        for window in range(first, last + 1):
            within = windows.within(window)
            order.append(rows + within[skipped:])
            blocks += windows.blocks(window)
            rows, skipped = rows + len(within), 0
        stop = int(windows.first[last + 1])
        end = run.steps if stop == run.rows else stop // batch
        samples = self._rooms[1].joined(self._samples(carried, blocks), rows)
        return Staged(range(step, end), samples, np.concatenate(order), NONE, step)

    def _samples(self, carried: Samples | None, blocks: Iterable[int]) -> Iterator[Samples]:
        if carried is not None:
            yield carried
        for block in blocks:
            if self._closed:
                raise InterruptedError
            yield self._read(block)


def outputs_of(source: Blocks, inputs: Callable[..., Samples], predict: Callable[[Any], Array]) -> Samples:
    """Return all rows of a source with what is predicted of them in the place of x."""
    rows = Streamed(source, False, inputs)
    return Room().joined((block._replace(x=predict(block.x)) for block in rows.blocks()), rows.rows)


def _arrays(samples: Samples) -> dict[str, Any]:
    """Return what samples have of each row, by name."""
    x, targets, weight = samples
    arrays = {"x": x, "labels": targets.labels, "values": targets.values, "weight": weight}
    return {name: array for name, array in arrays.items() if len(array)}


def _kinds(samples: Samples) -> dict[str, Any]:
    return {name: (str(array.dtype), array.shape[1:]) for name, array in _arrays(samples).items()}
