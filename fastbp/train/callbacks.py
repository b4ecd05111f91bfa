"""Callbacks: what `Trainer.fit` calls between steps and epochs; early stopping and checkpoints."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check
from fastbp._base.files import check_target
from fastbp._base.interrupts import held_back
from fastbp.train.view import TrainerView

__all__ = ["Callback", "Checkpoint", "EarlyStopping"]


class Callback:
    """Base of callbacks: methods that do nothing. An exception in one ends `fit`, the model at the end of a step.

    A callback is told of the end of an epoch once, in a run that was interrupted and resumed too; again only if it
    raised, or Ctrl-C came in its middle. So it is of the steps that `every` names. `on_fit_begin` and `on_fit_end`
    surround each call of `fit`. A callback that counts or remembers says what in `state_dict`.

    It may use the trainer: make a `step` on other rows, evaluate, predict, save, set parameters, numbers of the
    optimizer or of threads. That counts from the next step on. Only `fit` of the same trainer is refused.

    Attributes
    ----------
    monitor : str or None
        A figure of the history that it reads: `fit` refuses a run that has none of that name. None by default.
    every : int or None
        Call `on_steps_end` after each multiple of so many steps, counted from the run's first through all epochs, and
        at no other. What a callback does then comes at the same steps in each run of the same seed, one that was
        interrupted and resumed too, and to the same bits. None, the default, leaves it to the clock. `fit` reads this
        when it begins.

    Examples
    --------
    >>> import fastbp
    >>> class Halve(fastbp.Callback):
    ...     every = 1000
    ...
    ...     def on_steps_end(self, trainer):
    ...         trainer.optimizer.lr /= 2
    """

    monitor: str | None = None
    every: int | None = None

    def on_fit_begin(self, trainer: TrainerView) -> None:
        """Run before the first epoch."""

    def on_steps_end(self, trainer: TrainerView) -> None:
        """Run after each compiled call: some steps, about 50 ms (a longer step is a call of its own); see `every`."""

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Mapping[str, float]) -> bool | None:
        """Run after each epoch, counted from 1, with its figures; return True to stop."""
        return None

    def on_fit_end(self, trainer: TrainerView) -> None:
        """Run after the last epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run has to bring back: by name, arrays and what JSON can hold."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave, after `on_fit_begin`."""

    def _kept(self) -> list[str]:
        """Return sentences about what there is to go back to from a run that failed."""
        return []


def checked_callbacks(callbacks: Iterable[Callback], figures: Sequence[str], more: bool) -> list[Callback]:
    """Return the callbacks of a run that records these figures, and `more` on the validation data.

    An error for what `fit` cannot call.
    """
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        raise TypeError(f"fit expects callbacks to be a list of them, got {type(callbacks).__name__}")
    checked = list(callbacks)
    for callback in checked:
        who = type(callback).__name__
        if not isinstance(callback, Callback):
            raise TypeError(f"fit expects callbacks to be Callback objects, got {who}")
        may_come = more and str(callback.monitor).startswith("val_")
        if callback.monitor is not None and callback.monitor not in figures and not may_come:
            raise KeyError(f"{who} expects the figure {callback.monitor!r}; this run has {', '.join(figures)}")
        if callback.every is not None:
            check.integer(callback.every, who, "every")
    return checked


class EarlyStopping(Callback):
    """Stop when a figure no longer gets better, and bring the best parameters back.

    Parameters
    ----------
    monitor : str, default "val_loss"
        A figure of the history. Smaller is better, except for accuracies.
    patience : int, default 5
        Epochs without improvement to wait.
    min_delta : float, default 0.0
        What counts as an improvement.
    restore_best : bool, default True
        Whether the model ends with the parameters of its best epoch.

    Raises
    ------
    KeyError
        From `fit`, if there is no figure of that name.

    Examples
    --------
    >>> import fastbp
    >>> stop = fastbp.EarlyStopping(patience=3)
    """

    def __init__(
        self, monitor: str = "val_loss", patience: int = 5, min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        self.monitor: str = monitor
        self.patience = check.integer(patience, "EarlyStopping", "patience")
        self.min_delta = check.number(min_delta, "EarlyStopping", "min_delta")
        self.restore_best = restore_best
        self._forget()

    def _forget(self) -> None:
        self.best = float("inf")
        self.best_epoch = 0
        self._best_params: NDArray[Any] | None = None

    def on_fit_begin(self, trainer: TrainerView) -> None:  # noqa: D102
        self._forget()

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Mapping[str, float]) -> bool | None:  # noqa: D102
        value = figures[self.monitor]
        if self.monitor.endswith("accuracy"):
            value = -value
        if self._best_params is None or value < self.best - self.min_delta or (np.isnan(self.best) and value == value):
            params = np.array(trainer.model._params)
            with held_back():  # else, after Ctrl-C between them, the best value would be of other parameters
                self.best, self.best_epoch, self._best_params = value, epoch, params
        return epoch - self.best_epoch >= self.patience

    def on_fit_end(self, trainer: TrainerView) -> None:  # noqa: D102
        if self.restore_best and self._best_params is not None:
            trainer.model._params[...] = self._best_params

    def _kept(self) -> list[str]:
        if not self.restore_best or self._best_params is None:
            return []
        return [f"EarlyStopping has the parameters of epoch {self.best_epoch}: its on_fit_end(trainer) sets them."]

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        params = {} if self._best_params is None else {"best_params": self._best_params}
        return {"best": self.best, "best_epoch": self.best_epoch, **params}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        self.best, self.best_epoch = float(state["best"]), int(state["best_epoch"])
        self._best_params = state.get("best_params")


class Checkpoint(Callback):
    """Save a checkpoint while `fit` goes on, at the end of a step, and at the end of the run.

    Each takes the place of the one before, whole or not at all; none does while a parameter is NaN or infinite.
    ``fastbp.Trainer.load_checkpoint`` reads it, and ``fit(..., resume=True)`` goes on from it.

    Parameters
    ----------
    path : str or path
    every_epochs : int, optional
        Save after so many epochs; 1 if `every_seconds` is not given either.
    every_seconds : float, optional
        Save when so many seconds have passed, in the middle of an epoch too.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    OSError
        From `fit`, if the file cannot be written; before the first epoch if its folder is missing, or not writable.

    Examples
    --------
    >>> import os, tempfile, fastbp
    >>> x, y = fastbp.load_digits()
    >>> path = os.path.join(tempfile.mkdtemp(), "run.checkpoint")
    >>> trainer = fastbp.Trainer(fastbp.mlp([64, 10], rng=0))
    >>> history = trainer.fit(x, y, epochs=2, rng=0, callbacks=[fastbp.Checkpoint(path)], progress=False)
    >>> fastbp.Trainer.load_checkpoint(path).history.epochs
    2
    """

    def __init__(
        self, path: str | os.PathLike[str], *, every_epochs: int | None = None, every_seconds: float | None = None
    ) -> None:
        if every_epochs is None and every_seconds is None:
            every_epochs = 1
        if every_epochs is not None:
            every_epochs = check.integer(every_epochs, "Checkpoint", "every_epochs")
        if every_seconds is not None:
            every_seconds = check.number(every_seconds, "Checkpoint", "every_seconds")
        self.path, self.every_epochs, self.every_seconds = path, every_epochs, every_seconds
        self._steps = 0  # when it saved last

    def save(self, trainer: TrainerView) -> bool:
        """Write the checkpoint, unless a parameter is NaN or infinite: then the one before is what to go back to.

        `fit` calls this when a checkpoint is due; a subclass may add to it.

        Parameters
        ----------
        trainer : Trainer

        Returns
        -------
        bool
            Whether it is written.

        Raises
        ------
        OSError
            If the file cannot be written; the one that was there before is as it was.

        Examples
        --------
        >>> import os, tempfile, numpy as np, fastbp
        >>> checkpoint = fastbp.Checkpoint(os.path.join(tempfile.mkdtemp(), "run.checkpoint"))
        >>> trainer = fastbp.Trainer(fastbp.mlp([2, 3], rng=0))
        >>> checkpoint.save(trainer)
        True
        >>> trainer.model.parameters()["0.bias"][0] = np.inf
        >>> checkpoint.save(trainer)
        False
        """
        if not np.isfinite(trainer.model._params).all():
            return False
        trainer.save_checkpoint(self.path)
        self._steps = trainer.steps
        self._saved = time.monotonic()  # after writing, so that a slow disk does not take all of the time
        return True

    def on_fit_begin(self, trainer: TrainerView) -> None:  # noqa: D102
        check_target(self.path)
        self._saved, self._steps = time.monotonic(), 0

    def on_steps_end(self, trainer: TrainerView) -> None:  # noqa: D102
        if self.every_seconds is not None and time.monotonic() - self._saved >= self.every_seconds:
            self.save(trainer)

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Mapping[str, float]) -> bool | None:  # noqa: D102
        if self.every_epochs is not None and epoch % self.every_epochs == 0:
            self.save(trainer)
        return None

    def on_fit_end(self, trainer: TrainerView) -> None:  # noqa: D102
        self.save(trainer)

    def _kept(self) -> list[str]:
        return [f"{os.fspath(self.path)} has the run as of {self._steps} steps."] if self._steps else []
