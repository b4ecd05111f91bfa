"""A training run of the command line: data, split, scaling, network, training, figures. Nothing is printed here."""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastbp import _check
from fastbp._pipeline import Array, Pipeline, fingerprint
from fastbp._tables import SUFFIXES
from fastbp.callbacks import Callback, Checkpoint, EarlyStopping
from fastbp.datasets import Dataset, load_dataset, train_validation_split
from fastbp.losses import CrossEntropyLoss, MSELoss
from fastbp.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from fastbp.preprocessing import Scaler
from fastbp.progress import Progress
from fastbp.sequential import mlp
from fastbp.training import Trainer

# Optimizers by name, with the learning rate that each takes where none is given.
OPTIMIZERS: dict[str, tuple[type[Optimizer], float, dict[str, Any]]] = {
    "adam": (Adam, 3e-3, {}),
    "adamw": (AdamW, 3e-3, {}),
    "sgd": (SGD, 0.1, {}),
    "momentum": (SGD, 0.05, {"momentum": 0.9}),
    "nesterov": (SGD, 0.05, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (RMSprop, 1e-3, {}),
}
SCHEDULES = ("linear", "constant")
SCALINGS = ("auto", "none", "scale", "standardize")
DTYPES = ("float32", "float64")
LABEL_SMOOTHING = 0.1
CHECKPOINT_SECONDS = 30


@dataclass(frozen=True)
class Options:
    """What `fastbp train` was asked for; None and "auto" are settled by `resolve`."""

    hidden: tuple[int, ...]
    activation: str
    init: str | None
    dtype: str
    optimizer: str
    lr: float | None
    schedule: str
    weight_decay: float | None
    label_smoothing: float | None
    epochs: int
    batch_size: int
    patience: int
    validation_fraction: float
    scaling: str
    seed: int

    def __post_init__(self) -> None:
        """Refuse what can be refused before any data is read."""
        for name, value, choices in (
            ("--optimizer", self.optimizer, tuple(OPTIMIZERS)),
            ("--schedule", self.schedule, SCHEDULES),
            ("--scaling", self.scaling, SCALINGS),
            ("--dtype", self.dtype, DTYPES),
        ):
            _check.choice(value, choices, "train", name)
        _check.number(self.validation_fraction, "train", "--validation-fraction", 0.0, 1.0, open_high=True)
        if self.patience and not self.validation_fraction:
            raise ValueError("train expects --patience 0 with --validation-fraction 0: there is nothing to watch")
        self.make_optimizer()
        CrossEntropyLoss(label_smoothing=self.label_smoothing or 0.0)
        mlp([1, *self.hidden, 1], self.activation, init=self.init, rng=0)

    def make_optimizer(self) -> Optimizer:
        """Make the optimizer, with its own learning rate and weight decay where none are given."""
        kind, lr, more = OPTIMIZERS[self.optimizer]
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        return kind(**{"lr": lr if self.lr is None else self.lr} | decay | more)

    def resolve(self, data: Dataset) -> dict[str, Any]:
        """Return all options with their values for this data, as the model's file keeps them."""
        if data.task == "regression" and self.label_smoothing is not None:
            raise ValueError("train expects no --label-smoothing for a regression: there are no classes")
        smoothing = self.label_smoothing
        if smoothing is None:
            smoothing = LABEL_SMOOTHING if data.task == "classification" else 0.0
        scaling = self.scaling
        if scaling == "auto":  # pixels share a unit; columns of other data may not
            scaling = "scale" if data.feature_names == () and not data.name.endswith(".npz") else "standardize"
        chosen = self.make_optimizer()
        settled = {"lr": chosen.lr, "weight_decay": chosen.weight_decay}
        return asdict(self) | settled | {"label_smoothing": smoothing, "scaling": scaling}


class Schedule(Callback):
    """Lowers the learning rate to 0, epoch by epoch, and stops where the loss is no number any more."""

    def __init__(self, lr: float, epochs: int, kind: str) -> None:
        self.lr, self.epochs, self.kind = lr, epochs, kind

    def on_epoch_end(self, trainer: Trainer, epoch: int, figures: Mapping[str, float]) -> bool:
        """Set the next epoch's rate."""
        if self.kind == "linear":
            trainer.optimizer.lr = self.lr * (1 - epoch / self.epochs)
        return not math.isfinite(figures["loss"])


@dataclass(frozen=True, eq=False)
class Result:
    """A finished run, or one that Ctrl-C ended."""

    pipeline: Pipeline
    trainer: Trainer
    parts: dict[str, tuple[Array, Array]]
    best_epoch: int | None
    interrupted: bool
    diverged: bool

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return the figures on the training, validation and test rows, all with the final parameters."""
        return {name: self.pipeline.evaluate(*rows, name) for name, rows in self.parts.items()}


class Run:
    """A run that is ready to begin: the data is read and split, the network made, or read from a checkpoint.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        As `load_dataset`, and if options do not suit the data, or are not those of the checkpoint.
    """

    def __init__(
        self,
        source: str,
        options: Options,
        *,
        target: str | None = None,
        task: str | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        data = load_dataset(source, target=target, task=task)  # type: ignore[arg-type]  # it checks the task
        self.data = data
        self.options = resolved = options.resolve(data)
        x, y = data.x_train, data.y_train
        self.parts = {"train": (x, y), "test": (data.x_test, data.y_test)}
        if options.validation_fraction:
            x, x_val, y, y_val = train_validation_split(
                x, y, fraction=options.validation_fraction, seed=options.seed, stratify=y if data.classes else None
            )
            self.parts = {"train": (x, y), "validation": (x_val, y_val), "test": (data.x_test, data.y_test)}
        if not len(data.x_test):
            raise ValueError(f"{data.name} leaves no rows for the test")
        scaler = Scaler.fit(x, resolved["scaling"])
        target_scaler = None if data.classes else Scaler.fit(y, "standardize")
        outputs = len(data.classes) or y.shape[1]
        model = mlp(
            [x.shape[1], *options.hidden, outputs],
            options.activation,
            init=options.init,
            dtype=options.dtype,
            rng=options.seed,
        )
        model.metadata = {
            "task": data.task,
            "classes": list(data.classes),
            "feature_names": list(data.feature_names),
            "target": target if source.lower().endswith(SUFFIXES) else None,
            "scaler": scaler.to_dict(),
            "target_scaler": target_scaler and target_scaler.to_dict(),
            "options": resolved,
            "seed": options.seed,
            "data": {"name": data.name, "test_rows": fingerprint(data)},
        }
        loss = CrossEntropyLoss(label_smoothing=resolved["label_smoothing"]) if data.classes else MSELoss()
        if checkpoint is None:
            self.trainer = Trainer(model, loss, options.make_optimizer())
        else:
            self.trainer = Trainer.load_checkpoint(checkpoint)
            _same_run(checkpoint, self.trainer.model.metadata, model.metadata)
        self.pipeline = Pipeline(self.trainer.model, scaler, target_scaler)

    def compile(self) -> None:
        """Compile, or take from the cache, what a run of this element type calls."""
        twin = Trainer(mlp([1, 1], dtype=self.pipeline.model.dtype, rng=0), "mse")
        twin.fit([[0.0]], [0.0], validation_data=([[0.0]], [0.0]), progress=False)

    def train(self, progress: Progress, checkpoint: str | os.PathLike[str]) -> Result:
        """Train, or go on; Ctrl-C ends it at a step's end and keeps what is done, in the checkpoint too."""
        options, pipeline = self.options, self.pipeline
        ready = {
            name: (pipeline.scaler.transform(x), pipeline.targets(y))
            for name, (x, y) in self.parts.items()
            if name != "test"
        }
        schedule = Schedule(options["lr"], options["epochs"], options["schedule"])
        stopping = EarlyStopping(patience=options["patience"]) if options["patience"] else None
        saves = Checkpoint(checkpoint, every_seconds=CHECKPOINT_SECONDS)
        interrupted = False
        try:
            self.trainer.fit(
                *ready["train"],
                epochs=options["epochs"],
                batch_size=options["batch_size"],
                rng=np.random.default_rng(options["seed"]),
                validation_data=ready.get("validation"),
                callbacks=[schedule, *([stopping] if stopping else []), saves],
                progress=progress,
                resume=True,
            )
        except KeyboardInterrupt:
            interrupted = True
            self.trainer.save_checkpoint(checkpoint)
            if stopping:
                stopping.on_fit_end(self.trainer)
        last = [np.array(self.trainer.history.get("loss", [])[-1:]), *pipeline.model.parameters().values()]
        diverged = not all(np.isfinite(values).all() for values in last)
        best_epoch = stopping.best_epoch if stopping else None
        return Result(pipeline, self.trainer, self.parts, best_epoch, interrupted, diverged)


def _same_run(path: str | os.PathLike[str], before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ValueError if a checkpoint is of a run on other data, or with other options."""
    for name in ("options", "data"):
        for key, value in now[name].items():
            # As JSON brings it back: tuples are lists.
            was = before.get(name, {}).get(key)
            if was != (list(value) if isinstance(value, tuple) else value):
                raise ValueError(f"--resume expects {key} {was} as in {os.fspath(path)}, got {value}")
