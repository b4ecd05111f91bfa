"""Callbacks that write the figures of each epoch: to a CSV file, or to a writer such as TensorBoard's."""

import os
from typing import Any

from fastbp._base.files import check_target
from fastbp.train.callbacks import Callback, Figures
from fastbp.train.history import History
from fastbp.train.view import TrainerView

__all__ = ["CSVLogger", "TensorBoard"]


class CSVLogger(Callback):
    """Write a line an epoch, with a header: "epoch" and the figures of the history; `History.to_csv` writes the same.

    A line is there as soon as its epoch ended. The file holds the epochs of one run, each once and from the first on,
    also where that was interrupted or killed and is resumed: it is then written anew, with the lines that it had. What
    callbacks behind it add to an epoch comes with the next line, and at the end of `fit`.

    Parameters
    ----------
    path : str or path
        A file that is there is replaced when the first epoch ends.

    Raises
    ------
    OSError
        From `fit`, if the file cannot be written; before the first epoch if its folder is missing, or not writable.

    Examples
    --------
    >>> import os, pathlib, tempfile, fastbp
    >>> x, y = fastbp.load_digits()
    >>> path = os.path.join(tempfile.mkdtemp(), "history.csv")
    >>> trainer = fastbp.Trainer(fastbp.mlp([64, 10], rng=0))
    >>> history = trainer.fit(x, y, epochs=2, rng=0, callbacks=[fastbp.CSVLogger(path)], progress=False)
    >>> [line.split(",")[0] for line in pathlib.Path(path).read_text().splitlines()]
    ['epoch', '1', '2']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._written: tuple[int, str] = 0, ""  # up to which epoch in this `fit`; the header and that epoch's line

    def on_fit_begin(self, trainer: TrainerView) -> None:  # noqa: D102
        check_target(self.path)
        self._written = 0, ""

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Figures) -> bool | None:  # noqa: D102
        run = trainer.history._last(epoch)  # `epoch` counts those of the run
        if self._written == (epoch - 1, _header_and_line(run, epoch - 1)):
            self._written = 0, ""  # until the line is there
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(run._csv(header=False, first=epoch))
        else:
            run.to_csv(self.path)
        self._written = epoch, _header_and_line(run, epoch)
        return None

    def on_fit_end(self, trainer: TrainerView) -> None:  # noqa: D102
        epoch, written = self._written
        run = trainer.history._last(epoch)
        if epoch and written != _header_and_line(run, epoch):
            run.to_csv(self.path)


def _header_and_line(run: History, epoch: int) -> str:
    """Return the columns of a run's file and the line of an epoch."""
    header, *lines = run._csv(header=True, first=max(epoch, 1)).splitlines()
    return "\n".join([header, *lines[:1]])


class TensorBoard(Callback):
    """Give the figures of each epoch to a writer: ``writer.add_scalar(name, value, epoch)``, as TensorBoard's are.

    Each is given once, after its epoch. A run that was killed and goes on from a checkpoint makes the epochs since that
    again, and gives their figures again, the same ones: a new ``SummaryWriter(folder, purge_step=epoch)`` drops what an
    old one had of them.

    Parameters
    ----------
    writer : object with a method ``add_scalar(name, value, step)``
        ``torch.utils.tensorboard.SummaryWriter(folder)`` for instance. It is flushed at the end of `fit` if it can be,
        and left open.

    Raises
    ------
    TypeError
        If the writer has no such method.

    Examples
    --------
    >>> import fastbp
    >>> class Prints:
    ...     def add_scalar(self, name, value, step):
    ...         print(step, name)
    >>> x, y = fastbp.load_digits()
    >>> trainer = fastbp.Trainer(fastbp.mlp([64, 10], rng=0))
    >>> history = trainer.fit(x / 16, y, rng=0, callbacks=[fastbp.TensorBoard(Prints())], progress=False)
    1 loss
    1 accuracy
    """

    def __init__(self, writer: Any) -> None:
        if not callable(getattr(writer, "add_scalar", None)):
            raise TypeError(f"TensorBoard expects a writer with a method add_scalar, got {type(writer).__name__}")
        self.writer = writer

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Figures) -> bool | None:  # noqa: D102
        for name, value in figures.items():
            self.writer.add_scalar(name, value, epoch)
        return None

    def on_fit_end(self, trainer: TrainerView) -> None:  # noqa: D102
        if callable(flush := getattr(self.writer, "flush", None)):
            flush()
