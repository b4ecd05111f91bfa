"""A callback that lowers the learning rate where a figure no longer gets better."""

import math
from collections.abc import Mapping
from typing import Any

from fastbp._base import check
from fastbp._base.interrupts import held_back
from fastbp._base.schedule import Schedule
from fastbp.train.callbacks import Callback, Figures
from fastbp.train.metrics import larger_is_better
from fastbp.train.monitors import MODES, unknown_mode
from fastbp.train.view import TrainerView

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(Callback):
    """Multiply the learning rate by a factor when a figure has not got better for some epochs, as PyTorch does.

    The arguments are those of PyTorch's scheduler of that name. The history has "lr", the rate of each epoch.

    Parameters
    ----------
    monitor : str, default "val_loss"
        A figure of the history.
    mode : {"auto", "min", "max"}, default "auto"
        Which values are better, see `fastbp.EarlyStopping`.
    factor : float, default 0.1
        What the rate is multiplied by, less than 1.
    patience : int, default 10
        So many epochs without improvement are allowed; the next one lowers the rate.
    threshold : float, default 1e-4
        What counts as an improvement.
    threshold_mode : {"rel", "abs"}, default "rel"
        Whether the threshold is a part of the best value so far or a difference to it.
    cooldown : int, default 0
        Epochs after each change in which nothing is counted.
    min_lr : float, default 0.0
        The rate is not made smaller.
    eps : float, default 1e-8
        A change of the rate by no more is not made.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range; from `fit`, if the optimizer's rate is a schedule, or it is not known which
        values are better.
    KeyError
        From `fit`, if there is no figure of that name.

    Examples
    --------
    >>> import fastbp
    >>> x, y = fastbp.load_digits()
    >>> trainer = fastbp.Trainer(fastbp.mlp([64, 10], rng=0), optimizer=fastbp.Adam(0.1))
    >>> lower = fastbp.ReduceLROnPlateau("loss", factor=0.5, patience=0, threshold=0.1)
    >>> history = trainer.fit(x / 16, y, epochs=20, rng=0, callbacks=[lower], progress=False)
    >>> trainer.optimizer.lr < 0.1
    True
    """

    adds = ("lr",)

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        who = type(self).__name__
        self.monitor: str = monitor
        self.mode = check.choice(mode, MODES, who, "mode")
        self._larger = mode == "max" if mode != "auto" else larger_is_better(str(monitor))
        self.factor = check.number(factor, who, "factor", 0.0, 1.0, open_high=True)
        self.patience = check.integer(patience, who, "patience", 0)
        self.threshold = check.number(threshold, who, "threshold")
        self.threshold_mode = check.choice(threshold_mode, ("rel", "abs"), who, "threshold_mode")
        self.cooldown = check.integer(cooldown, who, "cooldown", 0)
        self.min_lr = check.number(min_lr, who, "min_lr")
        self.eps = check.number(eps, who, "eps")
        self._forget()

    def _forget(self) -> None:
        self.best = -math.inf if self._larger else math.inf
        self.bad_epochs = self.cooling = 0

    def _check_monitor(self, recorded: bool) -> None:
        if recorded and self._larger is None:
            raise unknown_mode(self)

    def on_fit_begin(self, trainer: TrainerView) -> None:  # noqa: D102
        self._rate(trainer)
        self._forget()

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Figures) -> bool | None:  # noqa: D102
        value, rate = figures[self.monitor], self._rate(trainer)
        figures["lr"] = rate
        better = self._is_better(value)
        bad_epochs, cooling = 0 if better else self.bad_epochs + 1, self.cooling
        if cooling > 0:
            bad_epochs, cooling = 0, cooling - 1
        lower = rate
        if bad_epochs > self.patience:
            bad_epochs, cooling = 0, self.cooldown
            lower = max(rate * self.factor, self.min_lr)
        with held_back():  # else, after Ctrl-C between them, the epoch would count in part, and once more
            self.best, self.bad_epochs, self.cooling = value if better else self.best, bad_epochs, cooling
            if rate - lower > self.eps:
                trainer.optimizer.lr = lower
        return None

    def _rate(self, trainer: TrainerView) -> float:
        rate = trainer.optimizer.lr
        if isinstance(rate, Schedule):
            raise TypeError(f"{type(self).__name__} expects the optimizer's lr to be a number, got {rate!r}")
        return float(rate)

    def _is_better(self, value: float) -> bool:
        way = self.threshold if self._larger else -self.threshold
        limit = self.best * (1 + way) if self.threshold_mode == "rel" else self.best + way
        return value > limit if self._larger else value < limit

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"best": self.best, "bad_epochs": self.bad_epochs, "cooling": self.cooling}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        self.best = float(state["best"])
        self.bad_epochs, self.cooling = int(state["bad_epochs"]), int(state["cooling"])
