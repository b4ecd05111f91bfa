"""What a training run recorded, an entry an epoch."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence

from fastbp._files import write_atomically

__all__ = ["History"]


class History(Mapping[str, list[float]]):
    """The figures of each epoch by name: ``history["loss"]``, ``history["val_loss"]``, ``history["accuracy"]`` ...

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
        self._columns = {name: [float(value) for value in column] for name, column in (columns or {}).items()}
        lengths = {len(column) for column in self._columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"History expects columns of one length, got {sorted(lengths)}")
        self.epochs = lengths.pop() if lengths else 0

    def append(self, figures: Mapping[str, float]) -> None:
        """Add an epoch; what it lacks is NaN."""
        self.epochs += 1
        for name in (*self._columns, *(n for n in figures if n not in self._columns)):
            column = self._columns.setdefault(name, [float("nan")] * (self.epochs - 1))
            column.append(float(figures.get(name, float("nan"))))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a line an epoch, with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *self._columns])
        writer.writerows(
            [epoch, *(repr(column[epoch - 1]) for column in self._columns.values())]
            for epoch in range(1, self.epochs + 1)
        )
        write_atomically(path, text.getvalue().encode())

    def __getitem__(self, name: str) -> list[float]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {column[-1]:.4g}" for name, column in self._columns.items())
        return f"History({self.epochs} epochs{'; last: ' + last if last else ''})"
