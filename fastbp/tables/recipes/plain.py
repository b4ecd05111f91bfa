"""The plain recipe: `fastbp.mlp` behind embeddings, with an optimizer and a schedule by their names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import DTypeLike

from fastbp import schedules
from fastbp._base.schedule import Schedule
from fastbp.nn.sequential import Sequential
from fastbp.tables.network import table_mlp
from fastbp.tables.recipes.recipe import Layout, Recipe
from fastbp.train.callbacks import Callback
from fastbp.train.optimizers import OPTIMIZERS, Optimizer, named_optimizer
from fastbp.train.view import TrainerView

# Learning rates where none are given, of optimizers whose own is another
_RATES = {"adam": 3e-3, "adamw": 3e-3, "sgd": 0.1, "momentum": 0.05, "nesterov": 0.05, "rmsprop": 1e-3}
RATES = {name: _RATES.get(name, kind.lr) for name, (kind, _) in OPTIMIZERS.items()}


@dataclass(frozen=True)
class Plain(Recipe):
    """A chain of dense layers. Without a warm-up its schedule "linear" lowers the learning rate to 0 epoch by epoch.

    Attributes
    ----------
    init : str, optional
        First weights; else by activation.
    norm : str, optional
        A layer before each activation.
    warmup : float
        The part of the steps in which the learning rate rises.
    no_decay : tuple of str
        Parameters without weight decay, by patterns of their names.
    """

    init: str | None = None
    norm: str | None = None
    warmup: float = 0.0
    no_decay: tuple[str, ...] = ()

    def make_network(self, layout: Layout, outputs: int, dtype: DTypeLike, seed: int) -> Sequential:
        """Make the network."""
        return table_mlp(
            [layout.width, *self.hidden, outputs], layout.cardinalities, self.activation, init=self.init,
            norm=self.norm, dropout=self.dropout, dtype=dtype, rng=seed,
        )  # fmt: skip

    def make_optimizer(self, network: Sequential | None = None) -> Optimizer:
        """Make the optimizer; its learning rate is set by `callbacks`."""
        own: dict[str, Any] = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        if self.no_decay:
            own["groups"] = {pattern: {"weight_decay": 0.0} for pattern in self.no_decay}
        return named_optimizer(self.optimizer, "train", lr=self.lr, **own)

    def rate(self, epoch: int) -> float | Schedule:
        """Return the rate after so many epochs, or the schedule."""
        begin = {"warmup": self.warmup} if self.warmup else {}
        if begin or self.schedule not in ("linear", "constant"):
            return schedules.named(self.schedule, self.lr, **begin)
        return self.lr if self.schedule == "constant" else self.lr * (1 - epoch / self.epochs)

    def callbacks(self) -> list[Callback]:
        """Make what sets the learning rate."""
        return [Rates(self)]


class Rates(Callback):
    """Sets the learning rate of a plain recipe, before the run and after each epoch."""

    def __init__(self, recipe: Plain) -> None:
        self.recipe = recipe

    def on_fit_begin(self, trainer: TrainerView) -> None:
        """Set the rate: a run that goes on may do so for another number of epochs."""
        trainer.optimizer.lr = self.recipe.rate(trainer.history.epochs)

    def on_epoch_end(self, trainer: TrainerView, epoch: int, figures: Mapping[str, float]) -> None:
        """Set the next epoch's rate."""
        trainer.optimizer.lr = self.recipe.rate(epoch)


_SHARED: dict[str, Any] = {
    "hidden": (256, 128),
    "activation": "relu",
    "optimizer": "adam",
    "lr": RATES["adam"],
    "schedule": "linear",
    "epochs": 60,
    "batch_size": 64,
    "validation_fraction": 0.1,
    "keeps_best": False,
}
PLAIN = {"classification": Plain(**_SHARED, label_smoothing=0.1), "regression": Plain(**_SHARED)}
