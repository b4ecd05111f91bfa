"""What `fastbp train` is asked for, and what that means for some data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Protocol

from fastbp._base import check
from fastbp._base.schedule import Warmed
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.reading.table import ReadOptions
from fastbp.nn.loss import Loss
from fastbp.nn.losses import CrossEntropyLoss
from fastbp.nn.mlp import NORMS
from fastbp.nn.sequential import Sequential
from fastbp.schedules import CURVES
from fastbp.tables.network import table_mlp
from fastbp.train.optimizers import OPTIMIZERS, Optimizer, named_optimizer
from fastbp.train.trainer import Trainer

# Learning rates where none are given, of optimizers whose own is another
_RATES = {"adam": 3e-3, "adamw": 3e-3, "sgd": 0.1, "momentum": 0.05, "nesterov": 0.05, "rmsprop": 1e-3}
RATES = {name: _RATES.get(name, kind.lr) for name, (kind, _) in OPTIMIZERS.items()}
# Without a warm-up "linear" goes by epochs here; those behind "constant" go by steps, see `fastbp.schedules`.
SCHEDULES = tuple(dict.fromkeys(["linear", "constant", *CURVES]))
SCALINGS = ("auto", "none", "scale", "standardize")
DTYPES = ("float32", "float64")
LABEL_SMOOTHING = 0.1
WATCHED = "val_loss"
READING = tuple(field.name for field in fields(ReadOptions))
TABLE_OPTIONS = tuple(field.name for field in fields(ColumnOptions))
CLASS_WEIGHTS = ("balanced",)


class Data(Protocol):
    """What options are settled for."""

    @property
    def task(self) -> str:
        """Classification or regression."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of classes."""

    def scaling(self, asked: str) -> str:
        """Settle how features are scaled."""


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
    # Those that files have where they were said
    norm: str | None = None
    dropout: float = 0.0
    warmup: float = 0.0
    no_decay: tuple[str, ...] = ()
    clip_norm: float | None = None
    ema: float | None = None
    metric: tuple[str, ...] = ()
    monitor: str | None = None
    test: str | None = None
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    quote: str | None = None
    missing: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    class_weight: str | None = None
    stream: bool | None = None

    @property
    def columns(self) -> ColumnOptions:
        """What columns of a table are."""
        return columns_of(asdict(self))

    @property
    def reading(self) -> ReadOptions:
        """How text is read."""
        return reading_of(asdict(self))

    def __post_init__(self) -> None:
        """Refuse what can be refused before any data is read."""
        for name, value, choices in (
            ("--optimizer", self.optimizer, tuple(OPTIMIZERS)),
            ("--schedule", self.schedule, SCHEDULES),
            ("--scaling", self.scaling, SCALINGS),
            ("--dtype", self.dtype, DTYPES),
            ("--norm", self.norm or "batch_norm", tuple(NORMS)),
        ):
            check.choice(value, choices, "train", name)
        check.number(self.validation_fraction, "train", "--validation-fraction", 0.0, 1.0, open_high=True)
        check.number(self.dropout, "train", "--dropout", 0.0, 1.0, open_high=True)
        for name, limit, most in (("--clip-norm", self.clip_norm, float("inf")), ("--ema", self.ema, 1.0)):
            if limit is not None and not check.number(limit, "train", name, 0.0, most, open_high=True):
                raise ValueError(f"train expects {name} greater than 0, got 0")
        if (self.patience or self.monitor) and not self.validation_fraction:
            name = "--patience 0" if self.patience else "no --monitor"
            raise ValueError(f"train expects {name} with --validation-fraction 0: there is nothing to watch")
        check.number(self.warmup, "train", "--warmup", 0.0, 1.0)
        if self.warmup and not issubclass(CURVES[self.schedule], Warmed):
            raise ValueError(f"train expects no --warmup with --schedule {self.schedule}: it has its own")
        if self.group is not None and self.time is not None:
            raise ValueError("train expects --group or --time, not both: each says which rows are held out")
        check.choice(self.class_weight or CLASS_WEIGHTS[0], CLASS_WEIGHTS, "train", "--class-weight")
        CrossEntropyLoss(label_smoothing=self.label_smoothing or 0.0)
        self._check_no_decay(self.make_model(1, 1))
        _ = self.reading, self.columns

    def _check_no_decay(self, model: Sequential) -> None:
        if self.no_decay and not self.make_optimizer().weight_decay:
            raise ValueError("train expects --weight-decay with --no-decay: there is none")
        for pattern in self.no_decay:
            if not any(fnmatchcase(name, pattern) for name in model.parameters()):
                raise ValueError(f"train expects --no-decay to match {', '.join(model.parameters())}; got {pattern!r}")

    def make_model(self, features: int, outputs: int, cardinalities: Sequence[int] = ()) -> Sequential:
        """Make the network; the last features are codes, as many as there are cardinalities."""
        return table_mlp(
            [features, *self.hidden, outputs],
            cardinalities,
            self.activation,
            init=self.init,
            norm=self.norm,
            dropout=self.dropout,
            dtype=self.dtype,
            rng=self.seed,
        )

    def make_optimizer(self) -> Optimizer:
        """Make the optimizer, with its own learning rate and weight decay where none are given."""
        own: dict[str, Any] = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        if self.no_decay:
            own["groups"] = {pattern: {"weight_decay": 0.0} for pattern in self.no_decay}
        lr = RATES[self.optimizer] if self.lr is None else self.lr
        return named_optimizer(self.optimizer, "train", lr=lr, **own)

    def make_trainer(self, model: Sequential, loss: Loss) -> Trainer:
        """Make what trains a network."""
        return Trainer(model, loss, self.make_optimizer(), self.clip_norm, ema=self.ema)

    def resolve(self, data: Data) -> dict[str, Any]:
        """Return all options with their values for this data, as the model's file keeps them.

        Those with a default are among them where they were said.
        """
        if data.task == "regression" and self.label_smoothing:
            raise ValueError("train expects no --label-smoothing for a regression: there are no classes")
        smoothing = self.label_smoothing
        if smoothing is None:
            smoothing = LABEL_SMOOTHING if data.task == "classification" else 0.0
        if data.task == "regression" and self.class_weight:
            raise ValueError("train expects no --class-weight for a regression: there are no classes")
        scaling = data.scaling(self.scaling)
        if self.metric and not self.validation_fraction:
            raise ValueError("train expects no --metric with --validation-fraction 0: they are of the validation rows")
        figures = [WATCHED, *(f"val_{name}" for name in (*(["accuracy"] if data.classes else []), *self.metric))]
        check.choice(self.monitor or WATCHED, figures, "train", "--monitor")
        chosen = self.make_optimizer()
        settled = {"lr": chosen.lr, "weight_decay": chosen.weight_decay}
        options = asdict(self) | settled | {"label_smoothing": smoothing, "scaling": scaling}
        usual = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in options.items() if value != usual[name]}


def columns_of(options: Mapping[str, Any]) -> ColumnOptions:
    """Return what options, those of a model's file too, say of a table's columns."""
    given: dict[str, Any] = {name: options[name] for name in TABLE_OPTIONS if options.get(name) is not None}
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return ColumnOptions(**given)


def reading_of(options: Mapping[str, Any]) -> ReadOptions:
    """Return what options say of how text is read."""
    return ReadOptions(**{name: options[name] for name in READING} | {"missing": tuple(options["missing"] or ())})
