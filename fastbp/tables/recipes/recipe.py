"""What every recipe says: the numbers of a training run as data, and how network and optimizer are made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import DTypeLike, NDArray

from fastbp import schedules
from fastbp._base import check
from fastbp._base.schedule import Schedule
from fastbp.data.columns.encoder import Encoder
from fastbp.data.columns.encoding import USUAL, Encoding
from fastbp.nn.loss import Loss
from fastbp.nn.losses import CrossEntropyLoss, MSELoss
from fastbp.nn.sequential import Sequential
from fastbp.train.callbacks import Callback
from fastbp.train.optimizers import Optimizer
from fastbp.train.trainer import Trainer

Array = NDArray[Any]


class Layout(NamedTuple):
    """What stands in the columns of a network's input: scaled numbers first, then flags, then codes.

    width : how many columns there are
    numbers : how many of the first are scaled numbers
    cardinalities : how many codes each of the last has
    """

    width: int
    numbers: int
    cardinalities: tuple[int, ...] = ()

    @classmethod
    def of(cls, encoder: Encoder) -> "Layout":
        """Return the layout of an encoder's features."""
        return cls(len(encoder.feature_names), encoder.numbers, encoder.cardinalities)


@dataclass(frozen=True)
class Recipe:
    """How a network of a table's features is made and trained. Each kind of network has a subclass.

    Attributes
    ----------
    hidden : tuple of int
        Sizes of the hidden layers.
    activation : str
        Of the hidden layers.
    dropout : float
        Probability with which a number of a hidden layer is dropped.
    lr : float
        Learning rate: the largest, where a schedule changes it.
    schedule : str
        Of the learning rate, by its name in `fastbp.schedules`.
    weight_decay : float, optional
        None: the optimizer's own.
    label_smoothing : float
        The part of a label that is spread over all classes.
    epochs, batch_size : int
    drop_last : bool
        Whether an incomplete last batch of an epoch is left out.
    clamps : bool
        Whether predicted quantities are moved into the range of those that were trained on.
    clip_norm, ema : float, optional
        As of `Trainer`.
    patience : int, optional
        Stop after so many epochs without a better one; None: never.
    validation_fraction : float
        The part of the training rows that is held out where nothing else is asked for.
    keeps_best : bool
        Whether the parameters of the best epoch come back where rows are held out.
    first_of_equals : bool
        Whether of equally good epochs the first is the best one; else the last.
    encoding : Encoding
        How columns become features.
    optimizer : str
        The name of what `make_optimizer` makes.
    """

    hidden: tuple[int, ...]
    activation: str
    lr: float
    epochs: int
    batch_size: int
    dropout: float = 0.0
    schedule: str = "constant"
    weight_decay: float | None = None
    label_smoothing: float = 0.0
    drop_last: bool = False
    clamps: bool = False
    clip_norm: float | None = None
    ema: float | None = None
    patience: int | None = None
    validation_fraction: float = 0.2
    keeps_best: bool = True
    first_of_equals: bool = False
    encoding: Encoding = USUAL
    optimizer: str = "adamw"

    def make_network(self, layout: Layout, outputs: int, dtype: DTypeLike, seed: int) -> Sequential:
        """Make the network."""
        raise NotImplementedError

    def begin(self, network: Sequential, x: Array, seed: int) -> None:
        """Set first parameters that depend on the training rows; without any, nothing."""

    def make_optimizer(self, network: Sequential) -> Optimizer:
        """Make the optimizer, with its schedules, and options for some of the network's parameters."""
        raise NotImplementedError

    def make_loss(self, classes: int, class_weight: Sequence[float] | None = None) -> Loss:
        """Make the loss of so many classes, or without any that of quantities."""
        if not classes:
            return MSELoss()
        return CrossEntropyLoss(label_smoothing=self.label_smoothing, weight=class_weight)

    def make_trainer(self, network: Sequential, loss: Loss) -> Trainer:
        """Make what trains a network."""
        return Trainer(network, loss, self.make_optimizer(network), self.clip_norm, ema=self.ema)

    def scale_outputs(self, network: Sequential, factor: float) -> None:
        """Multiply the network's outputs by a number: they are linear in the parameters of the last layer."""
        for value, _ in network[-1]._named().values():
            value *= factor

    def rate(self, epoch: int) -> float | Schedule:
        """Return the learning rate after so many epochs, or its schedule."""
        return self.lr if self.schedule == "constant" else schedules.named(self.schedule, self.lr)

    def callbacks(self) -> list[Callback]:
        """Make the callbacks of a run that are part of the recipe."""
        return []

    def check(self, who: str) -> None:
        """Raise TypeError or ValueError, in the name of `who`, for a number that no training run could have."""
        for i, size in enumerate(self.hidden):
            check.integer(size, who, f"hidden[{i}]")
        check.integer(self.epochs, who, "epochs")
        check.integer(self.batch_size, who, "batch_size")
        check.number(self.lr, who, "lr")
        check.number(self.weight_decay or 0.0, who, "weight_decay")
        check.choice(self.schedule, schedules.CURVES, who, "schedule")
        check.number(self.dropout, who, "dropout", 0.0, 1.0, open_high=True)
        check.number(self.label_smoothing, who, "label_smoothing", 0.0, 1.0)
        if self.patience is not None:
            check.integer(self.patience, who, "patience")
