"""Training by a recipe: the call of `Trainer.fit`, by what the best epoch is known, and the model of a whole table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastbp.data.columns.encoder import Encoder
from fastbp.data.columns.roles import Role
from fastbp.data.columns.target import Target
from fastbp.data.preprocessing import Scaler
from fastbp.data.split import Answered
from fastbp.tables.blocks import TableBlocks
from fastbp.tables.limits import Limits
from fastbp.tables.model import TableModel
from fastbp.tables.recipes.calibration import temperature
from fastbp.tables.recipes.initial import MOST_ROWS
from fastbp.tables.recipes.recipe import Array, Layout, Recipe
from fastbp.train.callbacks import Callback
from fastbp.train.evaluation import MetricLike
from fastbp.train.history import History
from fastbp.train.monitors import EarlyStopping
from fastbp.train.progress import Progress
from fastbp.train.trainer import Trainer


class BestEpoch(EarlyStopping):
    """Brings the parameters of the best epoch back, of equal ones the last."""

    def _is_better(self, figures: Mapping[str, float]) -> bool:
        return super()._is_better(figures) or self._sign * figures[self.monitor] == self._least


class Watched(NamedTuple):
    """By what the best epoch is known.

    monitor : a figure of the validation rows
    mode : "min", "max" or "auto"
    metrics : what `Trainer.fit` evaluates for it
    """

    monitor: str
    mode: str = "auto"
    metrics: Sequence[MetricLike] = ()

    @classmethod
    def of(cls, classes: int, limits: Limits | None = None, *, averaged: bool = False) -> "Watched":
        """Return the accuracy, or without classes the mean squared error, of outputs that are moved into limits.

        averaged : whether there are members, whose average is judged; the loss is the mean of theirs
        """
        if classes:
            return cls("val_accuracy", "max")
        if averaged:
            return cls("val_rmse", "min", ["rmse"])
        return cls("val_loss", "min") if limits is None else cls("val_clamped_mse", "min", [clamped_mse(limits)])

    def callback(self, recipe: Recipe) -> EarlyStopping:
        """Make what brings the best parameters back."""
        kind = BestEpoch if recipe.keeps_best and not recipe.first_of_equals else EarlyStopping
        return kind(self.monitor, recipe.patience or recipe.epochs, mode=self.mode)


def clamped_mse(limits: Limits) -> Callable[..., float]:
    """Return a metric of `Trainer.fit`: the mean squared error of outputs that are moved into a range."""

    def clamped_mse(y: Array, z: Array, sample_weight: Array | None = None) -> float:
        wrong = ((limits.apply(z) - y) ** 2).mean(axis=1, dtype=np.float64)
        return float(np.average(wrong, weights=sample_weight))

    return clamped_mse


def fit(
    trainer: Trainer,
    recipe: Recipe,
    rows: Answered | TableBlocks,
    held_out: Answered | TableBlocks | None,
    seed: int,
    *,
    metrics: Iterable[MetricLike] = (),
    callbacks: Iterable[Callback] = (),
    progress: bool | Progress | None = False,
    resume: bool = False,
) -> History:
    """Train on rows, x as the network and y as its loss take them, and evaluate others after each epoch.

    trainer : of `Recipe.make_trainer`
    seed : of the orders of the rows, and of dropout
    metrics, callbacks, progress, resume : as of `Trainer.fit`
    """
    return trainer.fit(
        **rows.given,
        epochs=recipe.epochs,
        batch_size=min(recipe.batch_size, rows.rows),
        drop_last=recipe.drop_last,
        rng=np.random.default_rng(seed),
        validation_data=held_out,
        metrics=metrics,
        callbacks=[*recipe.callbacks(), *callbacks],
        progress=progress,
        resume=resume,
    )


def limits_of(rows: Answered | TableBlocks) -> Limits:
    """Return the range of the quantities of rows."""
    if isinstance(rows, Answered):
        return Limits.of(rows.y)
    facts = rows.part.answers
    return Limits(facts.low, facts.high)


def some_rows(rows: Answered | TableBlocks) -> Array:
    """Return rows for `Recipe.begin`, x as the network takes it: all of them, or of blocks as many as it looks at."""
    if isinstance(rows, Answered):
        return np.asarray(rows.x)
    found: list[Array] = []
    for block in range(len(rows.sizes)):
        found.append(rows.read(block)[0])
        if sum(map(len, found)) >= MOST_ROWS:
            break
    return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class Asked:
    """What `fit_table` is asked for beside rows and recipe.

    Attributes
    ----------
    seed : int
        Of first parameters, orders and dropout.
    dtype : {"float32", "float64"}
    calibrated : bool
        Whether probabilities are calibrated on the rows that are held out.
    callbacks : sequence of Callback
    progress : bool, optional
        As of `Trainer.fit`.
    """

    seed: int
    dtype: str = "float32"
    calibrated: bool = False
    callbacks: Sequence[Callback] = ()
    progress: bool | None = False


class Fitted(NamedTuple):
    """What `fit_table` returns.

    best_epoch : counted from 1; the last one where no rows were held out
    temperature : that the outputs were divided by; 1 without a calibration
    """

    model: TableModel
    history: History
    best_epoch: int
    temperature: float


def fit_table(
    recipe: Recipe,
    roles: Sequence[Role],
    target: Target,
    train: Answered,
    held_out: Answered | None,
    asked: Asked,
) -> Fitted:
    """Fit encoder, scaler and network to rows of a table, x a `Table`; of the best epoch of those held out, if any are.

    Raises
    ------
    TableError, ValueError
        If there is no feature, or all that `Trainer.fit` raises.
    """
    classes = len(target.classes)
    encoder = Encoder.fit(train.x, roles, encoding=recipe.encoding)
    scaler = None if classes else Scaler.fit(train.y, "standardize")
    limits = Limits.of(train.y) if recipe.clamps and scaler else None

    def ready(rows: Answered) -> Answered:
        y = rows.y if scaler is None else scaler.transform(rows.y)
        return rows._replace(x=encoder.transform(rows.x, dtype=asked.dtype), y=y)

    rows, others = ready(train), held_out and ready(held_out)
    network = recipe.make_network(Layout.of(encoder), classes or train.y.shape[1], asked.dtype, asked.seed)
    recipe.begin(network, rows.x, asked.seed)
    trainer = recipe.make_trainer(network, recipe.make_loss(classes))
    watched = Watched.of(classes, limits.scaled(scaler) if limits and scaler else None, averaged=network.members > 1)
    best = watched.callback(recipe) if others else None
    history = fit(
        trainer, recipe, rows, others, asked.seed, metrics=watched.metrics if others else (), progress=asked.progress,
        callbacks=[*asked.callbacks, *([best] if best else [])],
    )  # fmt: skip
    if trainer.ema is not None:
        network = trainer.averaged_model()
    found = 1.0
    if asked.calibrated and others:
        found = temperature(network.predict(others.x), others.y, others.weight, network.members)
        recipe.scale_outputs(network, 1 / found)
    model = TableModel(network, encoder, target, scaler, limits=limits)
    return Fitted(model, history, best.best_epoch if best else history.epochs, found)
