"""What a training run recorded, an entry an epoch."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from fastbp._base.files import write_atomically
from fastbp._base.guard import Guarded

__all__ = ["History"]


class History(Guarded, dict[str, list[float]]):
    """The figures of each epoch by name: ``history["loss"]``, ``history["val_loss"]``, ``history["accuracy"]`` ...

    A dictionary, so that ``pandas.DataFrame(history)`` has a row an epoch; it grows by `append` alone. What a callback
    adds to the figures of `Callback.on_epoch_end` is in it.

    Parameters
    ----------
    columns : mapping of str to sequence of float, optional
        Figures to begin with, each of as many epochs.

    Raises
    ------
    ValueError
        If the columns are of different lengths.

    Examples
    --------
    >>> from fastbp import History
    >>> history = History()
    >>> history.append({"loss": 0.7})
    >>> history.append({"loss": 0.5, "val_loss": 0.6})
    >>> history["loss"], history["val_loss"], history.epochs
    ([0.7, 0.5], [nan, 0.6], 2)
    """

    def __init__(self, columns: Mapping[str, Sequence[float]] | None = None) -> None:
        super().__init__({name: [float(value) for value in column] for name, column in (columns or {}).items()})
        lengths = {len(column) for column in self.values()}
        if len(lengths) > 1:
            raise ValueError(f"History expects columns of one length, got {sorted(lengths)}")
        self._epochs = lengths.pop() if lengths else 0

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return self._epochs

    def append(self, figures: Mapping[str, float]) -> None:
        """Add an epoch; what it lacks is NaN."""
        row = dict.fromkeys(self, float("nan")) | {name: float(value) for name, value in figures.items()}
        for name, value in row.items():
            dict.setdefault(self, name, [float("nan")] * self._epochs).append(value)
        self._epochs += 1

    def _last(self, epochs: int) -> "History":
        """Return the figures of so many epochs at the end."""
        return History({name: column[self._epochs - epochs :] for name, column in self.items()})

    def _add(self, figures: Mapping[str, float]) -> None:
        """Add figures to the last epoch."""
        for name, value in figures.items():
            dict.setdefault(self, name, [float("nan")] * self._epochs)[-1] = value

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a line an epoch, with a header."""
        write_atomically(path, self._csv(header=True).encode())

    def _csv(self, *, header: bool, first: int = 1) -> str:
        """Return a line an epoch from the `first` on, counted from 1, with a header or without."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if header:
            writer.writerow(["epoch", *self])
        writer.writerows(
            [epoch, *(repr(column[epoch - 1]) for column in self.values())] for epoch in range(first, self.epochs + 1)
        )
        return text.getvalue()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("History grows by append alone; dict(history) is a copy to change")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Callable[..., "History"], tuple[Any, ...], dict[str, Any]]:
        return type(self), (dict(self),), vars(self)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {column[-1]:.4g}" for name, column in self.items())
        return f"History({self.epochs} epochs{'; last: ' + last if last else ''})"
