"""Callbacks: what `Trainer.fit` calls between steps and epochs; checkpoints, and functions as callbacks."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from fastbp._base import check
from fastbp._base.files import check_target
from fastbp.train.view import TrainerView

__all__ = ["Callback", "Checkpoint", "LambdaCallback"]


Figures = MutableMapping[str, float]


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
    adds : tuple of str
        Names of figures that it adds after each epoch, for callbacks behind it that monitor one; none by default.

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
    adds: tuple[str, ...] = ()

    def on_fit_begin(self, trainer: TrainerView) -> None:
        """Run before the first epoch."""

    def on_steps_end(self, trainer: TrainerView) -> None:
        """Run after each compiled call: some steps, about 50 ms (a longer step is a call of its own); see `every`."""

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Figures) -> bool | None:
        """Run after each epoch, counted from 1, with its figures; return True to stop.

        Figures that it adds to the dictionary are kept in the history, and callbacks after it see them. Those that the
        run has recorded stay as they are.
        """
        return None

    def on_fit_end(self, trainer: TrainerView) -> None:
        """Run after the last epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run has to bring back: by name, arrays and what JSON can hold."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave, after `on_fit_begin`."""

    def _check_monitor(self, recorded: bool) -> None:
        """Raise ValueError if it cannot read the figure that it monitors, which the run records or may record."""

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
    known = list(figures)
    for callback in checked:
        who = type(callback).__name__
        if not isinstance(callback, Callback):
            raise TypeError(f"fit expects callbacks to be Callback objects, got {who}")
        may_come = more and str(callback.monitor).startswith("val_")
        if callback.monitor is not None:
            if callback.monitor not in known and not may_come:
                raise KeyError(f"{who} expects the figure {callback.monitor!r}; this run has {', '.join(known)}")
            callback._check_monitor(callback.monitor in known)
        if callback.every is not None:
            check.integer(callback.every, who, "every")
        known += callback.adds
    return checked


class LambdaCallback(Callback):
    """A callback of functions, each called as the method of that name is, with the trainer first (unlike Keras's).

    Parameters
    ----------
    on_fit_begin, on_steps_end, on_fit_end : callable, optional
        ``function(trainer)``.
    on_epoch_end : callable, optional
        ``function(trainer, epoch, figures)``; it stops the run if it returns True itself, no other value.
    every : int, optional
        See `Callback`.

    Raises
    ------
    TypeError
        If one of them cannot be called.

    Examples
    --------
    >>> import fastbp
    >>> x, y = fastbp.load_digits()
    >>> def rate(trainer, epoch, figures):
    ...     figures["rate"] = trainer.optimizer.lr
    >>> trainer = fastbp.Trainer(fastbp.mlp([64, 10], rng=0))
    >>> asked = {"callbacks": [fastbp.LambdaCallback(on_epoch_end=rate)], "progress": False}
    >>> trainer.fit(x, y, epochs=2, rng=0, **asked)["rate"]
    [0.001, 0.001]
    """

    def __init__(
        self,
        *,
        on_fit_begin: Callable[[TrainerView], object] | None = None,
        on_steps_end: Callable[[TrainerView], object] | None = None,
        on_epoch_end: Callable[[TrainerView, int, Figures], object] | None = None,
        on_fit_end: Callable[[TrainerView], object] | None = None,
        every: int | None = None,
    ) -> None:
        self._functions = {
            "on_fit_begin": on_fit_begin,
            "on_steps_end": on_steps_end,
            "on_epoch_end": on_epoch_end,
            "on_fit_end": on_fit_end,
        }
        for name, function in self._functions.items():
            if function is not None and not callable(function):
                raise TypeError(f"LambdaCallback expects {name} to be a function, got {function!r}")
        self.every: int | None = every

    def _call(self, name: str, *arguments: Any) -> bool:
        function = self._functions[name]
        return function is not None and function(*arguments) is True

    def on_fit_begin(self, trainer: TrainerView) -> None:  # noqa: D102
        self._call("on_fit_begin", trainer)

    def on_steps_end(self, trainer: TrainerView) -> None:  # noqa: D102
        self._call("on_steps_end", trainer)

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Figures) -> bool | None:  # noqa: D102
        return self._call("on_epoch_end", trainer, epoch, figures)

    def on_fit_end(self, trainer: TrainerView) -> None:  # noqa: D102
        self._call("on_fit_end", trainer)


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

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Figures) -> bool | None:  # noqa: D102
        if self.every_epochs is not None and epoch % self.every_epochs == 0:
            self.save(trainer)
        return None

    def on_fit_end(self, trainer: TrainerView) -> None:  # noqa: D102
        self.save(trainer)

    def _kept(self) -> list[str]:
        return [f"{os.fspath(self.path)} has the run as of {self._steps} steps."] if self._steps else []
