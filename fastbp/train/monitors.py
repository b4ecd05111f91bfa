"""Callbacks that look for the best of a figure: early stopping, and the model of the best epoch as a file."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check
from fastbp._base.files import check_target
from fastbp._base.interrupts import held_back
from fastbp.train.callbacks import Callback, Figures
from fastbp.train.metrics import larger_is_better
from fastbp.train.view import TrainerView

__all__ = ["EarlyStopping", "ModelCheckpoint", "Monitor"]

MODES = ("auto", "min", "max")


def unknown_mode(callback: Callback) -> ValueError:
    """Return the error about a figure of which it is not known what is better."""
    who = type(callback).__name__
    return ValueError(f"{who} expects mode 'min' or 'max' for {callback.monitor}: what is better is not known")


class Monitor(Callback):
    """Base of callbacks that look for the best value of a figure.

    Parameters
    ----------
    monitor : str or None
        A figure of the history.
    mode : {"auto", "min", "max"}
        Which values are better. "auto" takes it from the figure: a loss or a metric of the library.
    min_delta : float
        What counts as better.
    """

    def __init__(self, monitor: str | None, mode: str, min_delta: float = 0.0) -> None:
        who = type(self).__name__
        self.monitor = monitor
        self.mode = check.choice(mode, MODES, who, "mode")
        self.min_delta = check.number(min_delta, who, "min_delta")
        self._forget()

    def _forget(self) -> None:
        self._least, self.best_epoch = float("inf"), 0  # the best value, turned so that smaller is better

    @property
    def _sign(self) -> int:
        larger = self.mode == "max" if self.mode != "auto" else larger_is_better(str(self.monitor))
        return -1 if larger else 1

    @property
    def best(self) -> float:
        """The best value so far."""
        return self._sign * self._least

    def _check_monitor(self, recorded: bool) -> None:
        if recorded and self.mode == "auto" and larger_is_better(str(self.monitor)) is None:
            raise unknown_mode(self)

    def _is_better(self, figures: Mapping[str, float]) -> bool:
        """Whether the figure is better than the best so far; so is the first one, and any number than NaN."""
        assert self.monitor is not None
        value, least = self._sign * figures[self.monitor], self._least
        return self.best_epoch == 0 or value < least - self.min_delta or (np.isnan(least) and value == value)

    def _note(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Remember the figure as the best."""
        assert self.monitor is not None
        self._least, self.best_epoch = self._sign * figures[self.monitor], epoch

    def on_fit_begin(self, trainer: TrainerView) -> None:  # noqa: D102
        self._forget()

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"best": self._least, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        self._least, self.best_epoch = float(state["best"]), int(state["best_epoch"])


class EarlyStopping(Monitor):
    """Stop when a figure no longer gets better, and bring the best parameters back.

    Parameters
    ----------
    monitor : str, default "val_loss"
        A figure of the history: "val_f1" for instance, where ``fit(metrics=["f1"])`` records it.
    patience : int, default 5
        Epochs without improvement to wait.
    min_delta : float, default 0.0
        What counts as an improvement.
    restore_best : bool, default True
        Whether the model ends with the parameters, and running statistics, of its best epoch.
    mode : {"auto", "min", "max"}, default "auto"
        Which values are better. "auto" knows it of losses and of the library's metrics; for a function's figure, or one
        that a callback adds, it has to be said.

    Attributes
    ----------
    best, best_epoch : float, int
        The best value so far, and its epoch, counted from 1.

    Raises
    ------
    KeyError
        From `fit`, if there is no figure of that name.
    ValueError
        From `fit`, if it is not known which values are better.

    Examples
    --------
    >>> import fastbp
    >>> x, y = fastbp.load_digits()
    >>> stop = fastbp.EarlyStopping("val_f1_macro", patience=3)
    >>> trainer = fastbp.Trainer(fastbp.mlp([64, 10], rng=0), optimizer=fastbp.Adam(0.01))
    >>> asked = {"validation_split": 0.2, "metrics": ["f1_macro"], "callbacks": [stop], "progress": False}
    >>> history = trainer.fit(x / 16, y, epochs=100, rng=0, **asked)
    >>> stop.best == max(history["val_f1_macro"])
    True
    """

    monitor: str

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: str = "auto",
    ) -> None:
        self.patience = check.integer(patience, "EarlyStopping", "patience")
        self.restore_best = check.flag(restore_best, "EarlyStopping", "restore_best")
        super().__init__(monitor, mode, min_delta)

    def _forget(self) -> None:
        super()._forget()
        self._best: dict[str, NDArray[Any]] = {}

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Figures) -> bool | None:  # noqa: D102
        if self._is_better(figures):
            kept = trainer._kept()
            with held_back():  # else, after Ctrl-C between them, the best value would be of other parameters
                self._note(epoch, figures)
                self._best = kept
        return epoch - self.best_epoch >= self.patience

    def on_fit_end(self, trainer: TrainerView) -> None:  # noqa: D102
        if self.restore_best and self._best:
            trainer._bring_back(self._best)

    def _kept(self) -> list[str]:
        if not self.restore_best or not self._best:
            return []
        return [f"EarlyStopping has the parameters of epoch {self.best_epoch}: its on_fit_end(trainer) sets them."]

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return super().state_dict() | {f"best_{name}": array for name, array in self._best.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        super().load_state_dict(state)
        own = super().state_dict()
        self._best = {name.removeprefix("best_"): array for name, array in state.items() if name not in own}


class ModelCheckpoint(Monitor):
    """Save the model after each epoch, or after those that are the best so far.

    `fastbp.load` reads the file, which is whole or not there at any moment. It is the model alone, with the averages of
    its parameters where a trainer has them (`ema`): a run that is to go on needs `Checkpoint`. None is saved while
    a parameter is NaN or infinite.

    Parameters
    ----------
    path : str or path
        Each takes the place of the one before.
    monitor : str, default "val_loss"
        A figure of the history.
    mode : {"auto", "min", "max"}, default "auto"
        As in `EarlyStopping`.
    save_best_only : bool, default False
        Whether to save where the figure is better than in all epochs before. Without it `monitor` is not looked at.

    Attributes
    ----------
    best, best_epoch : float, int
        The best value so far, and its epoch, counted from 1.

    Raises
    ------
    KeyError, ValueError
        From `fit`, if there is no figure of that name, or it is not known which values are better.
    OSError
        From `fit`, if the file cannot be written; before the first epoch if its folder is missing, or not writable.

    Examples
    --------
    >>> import os, tempfile, fastbp
    >>> x, y = fastbp.load_digits()
    >>> path = os.path.join(tempfile.mkdtemp(), "best.safetensors")
    >>> best = fastbp.ModelCheckpoint(path, monitor="val_accuracy", save_best_only=True)
    >>> trainer = fastbp.Trainer(fastbp.mlp([64, 10], rng=0))
    >>> history = trainer.fit(x / 16, y, epochs=5, rng=0, validation_split=0.2, callbacks=[best], progress=False)
    >>> best.best == max(history["val_accuracy"])
    True
    >>> fastbp.load(path).out_features
    10
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_loss",
        mode: str = "auto",
        save_best_only: bool = False,
    ) -> None:
        self.path = path
        self.save_best_only = check.flag(save_best_only, "ModelCheckpoint", "save_best_only")
        super().__init__(monitor if self.save_best_only else None, mode)

    def on_fit_begin(self, trainer: TrainerView) -> None:  # noqa: D102
        check_target(self.path)
        super().on_fit_begin(trainer)

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Figures) -> bool | None:  # noqa: D102
        if np.isfinite(trainer.model._params).all() and (self.monitor is None or self._is_better(figures)):
            trainer._evaluated_model().save(self.path)
            if self.monitor is not None:
                with held_back():
                    self._note(epoch, figures)
        return None
