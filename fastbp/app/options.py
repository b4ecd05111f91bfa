"""What `fastbp train` is asked for, and what that means for some data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Protocol

from fastbp._base import check
from fastbp._base.schedule import Warmed
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.reading.table import ReadOptions
from fastbp.nn.losses import CrossEntropyLoss
from fastbp.nn.mlp import NORMS
from fastbp.nn.sequential import Sequential
from fastbp.schedules import CURVES
from fastbp.tables.recipes.names import PRESETS
from fastbp.tables.recipes.plain import RATES, Plain
from fastbp.tables.recipes.recipe import Layout, Recipe
from fastbp.train.optimizers import OPTIMIZERS, Optimizer, named_optimizer

# Without a warm-up "linear" goes by epochs here; those behind "constant" go by steps, see `fastbp.schedules`.
SCHEDULES = tuple(dict.fromkeys(["linear", "constant", *CURVES]))
SCALINGS = ("auto", "none", "scale", "standardize")
DTYPES = ("float32", "float64")
WATCHED = "val_loss"
READING = tuple(field.name for field in fields(ReadOptions))
TABLE_OPTIONS = tuple(field.name for field in fields(ColumnOptions))
CLASS_WEIGHTS = ("balanced",)
# Options of all recipes, and of the plain one alone
OF_RECIPES = (
    "hidden", "activation", "dropout", "optimizer", "lr", "schedule", "weight_decay", "label_smoothing", "epochs",
    "batch_size", "clip_norm", "ema",
)  # fmt: skip
OF_PLAIN = ("init", "norm", "warmup", "no_decay")


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
    """What `fastbp train` was asked for; None, which leaves it to the preset, and "auto" are settled by `resolve`."""

    hidden: tuple[int, ...] | None
    activation: str | None
    init: str | None
    dtype: str
    optimizer: str | None
    lr: float | None
    schedule: str | None
    weight_decay: float | None
    label_smoothing: float | None
    epochs: int | None
    batch_size: int | None
    patience: int
    validation_fraction: float
    scaling: str
    seed: int
    # Those that files have where they were said
    norm: str | None = None
    dropout: float | None = 0.0
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
    preset: str = "plain"

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
            ("--preset", self.preset, tuple(PRESETS)),
            ("--optimizer", self.optimizer or "adam", tuple(OPTIMIZERS)),
            ("--schedule", self.schedule or "linear", SCHEDULES),
            ("--scaling", self.scaling, SCALINGS),
            ("--dtype", self.dtype, DTYPES),
            ("--norm", self.norm or "batch_norm", tuple(NORMS)),
        ):
            check.choice(value, choices, "train", name)
        check.number(self.validation_fraction, "train", "--validation-fraction", 0.0, 1.0, open_high=True)
        check.number(self.dropout or 0.0, "train", "--dropout", 0.0, 1.0, open_high=True)
        for name, limit, most in (("--clip-norm", self.clip_norm, float("inf")), ("--ema", self.ema, 1.0)):
            if limit is not None and not check.number(limit, "train", name, 0.0, most, open_high=True):
                raise ValueError(f"train expects {name} greater than 0, got 0")
        if (self.patience or self.monitor) and not self.validation_fraction:
            name = "--patience 0" if self.patience else "no --monitor"
            raise ValueError(f"train expects {name} with --validation-fraction 0: there is nothing to watch")
        check.number(self.warmup, "train", "--warmup", 0.0, 1.0)
        if self.warmup and not issubclass(CURVES[self.schedule or "linear"], Warmed):
            raise ValueError(f"train expects no --warmup with --schedule {self.schedule}: it has its own")
        if self.group is not None and self.time is not None:
            raise ValueError("train expects --group or --time, not both: each says which rows are held out")
        check.choice(self.class_weight or CLASS_WEIGHTS[0], CLASS_WEIGHTS, "train", "--class-weight")
        CrossEntropyLoss(label_smoothing=self.label_smoothing or 0.0)
        self._check_preset()
        recipe = self.recipe("regression")
        recipe.check("train")
        network = recipe.make_network(Layout(1, 1), 1, self.dtype, self.seed)
        self._check_no_decay(network, recipe.make_optimizer(network))
        _ = self.reading, self.columns

    def _check_preset(self) -> None:
        base = PRESETS[self.preset]["regression"]
        if isinstance(base, Plain):
            return
        refused = [f"--{name.replace('_', '-')}" for name in OF_PLAIN if getattr(self, name)]
        if self.optimizer not in (None, base.optimizer):
            refused.append(f"--optimizer {self.optimizer}")
        if refused:
            raise ValueError(
                f"train expects no {', '.join(refused)} with --preset {self.preset}: --preset plain has it"
            )

    def _check_no_decay(self, model: Sequential, optimizer: Optimizer) -> None:
        if self.no_decay and not optimizer.weight_decay:
            raise ValueError("train expects --weight-decay with --no-decay: there is none")
        for pattern in self.no_decay:
            if not any(fnmatchcase(name, pattern) for name in model.parameters()):
                raise ValueError(f"train expects --no-decay to match {', '.join(model.parameters())}; got {pattern!r}")

    def recipe(self, task: str) -> Recipe:
        """Return the preset's recipe with what was asked for."""
        base = PRESETS[self.preset][task]
        given = {name: getattr(self, name) for name in OF_RECIPES if getattr(self, name) is not None}
        if isinstance(base, Plain):
            given |= {name: getattr(self, name) for name in OF_PLAIN}
            given.setdefault("lr", RATES[given.get("optimizer", base.optimizer)])
        return replace(base, **given, patience=self.patience or base.patience)

    def resolve(self, data: Data) -> dict[str, Any]:
        """Return all options with their values for this data, as the model's file keeps them.

        Those with a default are among them where they were said.
        """
        if data.task == "regression" and self.label_smoothing:
            raise ValueError("train expects no --label-smoothing for a regression: there are no classes")
        if data.task == "regression" and self.class_weight:
            raise ValueError("train expects no --class-weight for a regression: there are no classes")
        scaling = data.scaling(self.scaling)
        if self.metric and not self.validation_fraction:
            raise ValueError("train expects no --metric with --validation-fraction 0: they are of the validation rows")
        figures = [WATCHED, *(f"val_{name}" for name in (*(["accuracy"] if data.classes else []), *self.metric))]
        check.choice(self.monitor or WATCHED, figures, "train", "--monitor")
        recipe = self.recipe(data.task)
        settled = {name: getattr(recipe, name) for name in OF_RECIPES}
        if recipe.weight_decay is None:
            settled["weight_decay"] = named_optimizer(recipe.optimizer).weight_decay
        options = asdict(self) | settled | {"scaling": scaling}
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
