"""What `fastbp train` is asked for, and what that means for some data."""

from dataclasses import asdict, dataclass
from typing import Any

from fastbp._base import check
from fastbp.data.datasets import Dataset
from fastbp.nn.losses import CrossEntropyLoss
from fastbp.nn.mlp import mlp
from fastbp.schedules import CURVES
from fastbp.train.optimizers import OPTIMIZERS, Optimizer, named_optimizer

# Learning rates where none are given, of optimizers whose own is another
_RATES = {"adam": 3e-3, "adamw": 3e-3, "sgd": 0.1, "momentum": 0.05, "nesterov": 0.05, "rmsprop": 1e-3}
RATES = {name: _RATES.get(name, kind.lr) for name, (kind, _) in OPTIMIZERS.items()}
# "linear" goes by epochs here; those behind "constant" by steps, see `fastbp.schedules`.
SCHEDULES = tuple(dict.fromkeys(["linear", "constant", *CURVES]))
SCALINGS = ("auto", "none", "scale", "standardize")
DTYPES = ("float32", "float64")
LABEL_SMOOTHING = 0.1
WATCHED = "val_loss"
UNSAID: dict[str, Any] = {"metric": (), "monitor": WATCHED}


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
    metric: tuple[str, ...] = ()
    monitor: str = WATCHED

    def __post_init__(self) -> None:
        """Refuse what can be refused before any data is read."""
        for name, value, choices in (
            ("--optimizer", self.optimizer, tuple(OPTIMIZERS)),
            ("--schedule", self.schedule, SCHEDULES),
            ("--scaling", self.scaling, SCALINGS),
            ("--dtype", self.dtype, DTYPES),
        ):
            check.choice(value, choices, "train", name)
        check.number(self.validation_fraction, "train", "--validation-fraction", 0.0, 1.0, open_high=True)
        if self.patience and not self.validation_fraction:
            raise ValueError("train expects --patience 0 with --validation-fraction 0: there is nothing to watch")
        self.make_optimizer()
        CrossEntropyLoss(label_smoothing=self.label_smoothing or 0.0)
        mlp([1, *self.hidden, 1], self.activation, init=self.init, rng=0)

    def make_optimizer(self) -> Optimizer:
        """Make the optimizer, with its own learning rate and weight decay where none are given."""
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        lr = RATES[self.optimizer] if self.lr is None else self.lr
        return named_optimizer(self.optimizer, "train", lr=lr, **decay)

    def resolve(self, data: Dataset) -> dict[str, Any]:
        """Return all options with their values for this data, as the model's file keeps them.

        Which metrics and figure to watch is among them where it was said.
        """
        if data.task == "regression" and self.label_smoothing:
            raise ValueError("train expects no --label-smoothing for a regression: there are no classes")
        smoothing = self.label_smoothing
        if smoothing is None:
            smoothing = LABEL_SMOOTHING if data.task == "classification" else 0.0
        scaling = self.scaling
        if scaling == "auto":  # pixels share a unit; columns of other data may not
            scaling = "scale" if data.feature_names == () and not data.name.endswith(".npz") else "standardize"
        if self.metric and not self.validation_fraction:
            raise ValueError("train expects no --metric with --validation-fraction 0: they are of the validation rows")
        if self.monitor != WATCHED and not self.patience:
            raise ValueError("train expects --patience with --monitor: without it nothing is watched")
        figures = [WATCHED, *(f"val_{name}" for name in (*(["accuracy"] if data.classes else []), *self.metric))]
        check.choice(self.monitor, figures, "train", "--monitor")
        chosen = self.make_optimizer()
        settled = {"lr": chosen.lr, "weight_decay": chosen.weight_decay}
        options = asdict(self) | settled | {"label_smoothing": smoothing, "scaling": scaling}
        return {name: value for name, value in options.items() if name not in UNSAID or value != UNSAID[name]}
