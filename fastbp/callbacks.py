"""Callbacks: what `Trainer.fit` calls between epochs, and early stopping as one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp import _check

if TYPE_CHECKING:
    from fastbp.training import Trainer

__all__ = ["Callback", "EarlyStopping"]


class Callback:
    """Base of callbacks: methods that do nothing. An exception in one ends `fit`, the model at the end of a step.

    Examples
    --------
    >>> import fastbp
    >>> class Halve(fastbp.Callback):
    ...     def on_epoch_end(self, trainer, epoch, figures):
    ...         trainer.optimizer.lr /= 2
    """

    def on_fit_begin(self, trainer: "Trainer") -> None:
        """Run before the first epoch."""

    def on_epoch_end(self, trainer: "Trainer", epoch: int, figures: Mapping[str, float]) -> bool | None:
        """Run after each epoch, counted from 1, with its figures; return True to stop."""
        return None

    def on_fit_end(self, trainer: "Trainer") -> None:
        """Run after the last epoch."""


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
        self.monitor = monitor
        self.patience = _check.integer(patience, "EarlyStopping", "patience")
        self.min_delta = _check.number(min_delta, "EarlyStopping", "min_delta")
        self.restore_best = restore_best

    def on_fit_begin(self, trainer: "Trainer") -> None:  # noqa: D102
        self.best = float("inf")
        self.best_epoch = 0
        self._best_params: NDArray[Any] | None = None

    def on_epoch_end(self, trainer: "Trainer", epoch: int, figures: Mapping[str, float]) -> bool | None:  # noqa: D102
        if self.monitor not in figures:
            raise KeyError(f"EarlyStopping expects the figure {self.monitor!r}; this run has {', '.join(figures)}")
        value = figures[self.monitor]
        if self.monitor.endswith("accuracy"):
            value = -value
        if self._best_params is None or value < self.best - self.min_delta or (np.isnan(self.best) and value == value):
            self.best, self.best_epoch = value, epoch
            self._best_params = np.array(trainer.model._params)
        return epoch - self.best_epoch >= self.patience

    def on_fit_end(self, trainer: "Trainer") -> None:  # noqa: D102
        if self.restore_best and self._best_params is not None:
            trainer.model._params[...] = self._best_params
        self._best_params = None
