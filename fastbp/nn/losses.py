"""Losses as objects with options, for a `Trainer`. Each means what PyTorch's of that name means."""

import math
from dataclasses import dataclass, make_dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._base import check
from fastbp._base.guard import Guarded, guarded_record
from fastbp._base.made import checked, docstring, parameters_of
from fastbp._base.threads import tasks_for
from fastbp.kernels import losses as kernels
from fastbp.kernels.losses import by_hand
from fastbp.kernels.registry import Number

__all__ = [
    "LOSSES",
    "REDUCTIONS",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "Loss",
    "MSELoss",
    "Targets",
    "named_loss",
    "positive_eps",
    "publish",
]

Array = NDArray[Any]
REDUCTIONS = {"mean": kernels.MEAN, "sum": kernels.SUM, "none": kernels.NONE}
# exp, a logarithm and the sums of one element cost about as much as this many multiplications and additions.
WORK_PER_ELEMENT = 30


class Targets(NamedTuple):
    """Targets as the kernels take them: class labels or numbers, the other one empty."""

    code: int
    labels: NDArray[np.int64]
    values: Array
    class_weight: Array

    @property
    def labelled(self) -> bool:
        """Whether each row is of a class, so that there is an accuracy."""
        return self.code in (kernels.SOFTMAX_LABELS, kernels.SOFTMAX_ONE_HOT)

    def as_classes(self) -> "Targets":
        """Return the targets, as classes where they are probabilities with a single 1 in each row."""
        if self.code == kernels.SOFTMAX_PROBABILITIES and is_one_hot(self.values):
            return self._replace(code=kernels.SOFTMAX_ONE_HOT)
        return self


_NO_LABELS = np.empty(0, np.int64)
# Rows that are looked at together: rows that are not one-hot are mostly seen to be so in the first of them.
ROWS_AT_ONCE = 1 << 12


def is_one_hot(values: Array) -> bool:
    """Whether each row is a single 1 among zeros."""
    parts = (values[start : start + ROWS_AT_ONCE] for start in range(0, len(values), ROWS_AT_ONCE))
    return all(((part != 0).sum(axis=1) == 1).all() and (part.max(axis=1) == 1).all() for part in parts)


@guarded_record
@dataclass(frozen=True, kw_only=True)
class Loss(Guarded):
    """What the losses have in common: checked targets and the options that the kernel reads.

    A loss stays as it was made. A subclass may add to it or have other defaults, but not override what the kernels
    compute: they take the options once.
    """

    reduction: str = "mean"

    _who: ClassVar[str] = "Loss"
    _code: ClassVar[int]
    _numbers: ClassVar[tuple[Number, ...]] = ()  # its own, each a field of that name
    # "forward" and "backward" are PyTorch's names, "call" is Keras's.
    _compiled: ClassVar = (
        "options", "outputs_for", "target_width", "check_outputs", "targets", "evaluate", "__call__", "call", "forward",
        "backward",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check.choice(self.reduction, REDUCTIONS, self._who, "reduction")
        if self._numbers:
            self._own()  # checks them

    def _own(self) -> list[float]:
        return [own for number in self._numbers for own in checked(number, getattr(self, number.name), self._who)]

    def options(self, reduction: str | None = None) -> NDArray[np.float64]:
        """Return the kernel's options."""
        options = np.zeros(kernels.OPTIONS_SIZE)
        if self._numbers:
            own = self._own()
            options = np.concatenate([np.zeros(kernels.OWN), own, options[kernels.OWN + len(own) :]])
        options[kernels.REDUCTION] = REDUCTIONS[reduction or self.reduction]
        return options

    def outputs_for(self, target_width: int) -> int:
        """Return how many outputs a network needs for this many target columns."""
        return target_width

    def target_width(self, outputs: int) -> int:
        """Return how many columns the targets of a network with so many outputs have."""
        return outputs // self.outputs_for(1)

    def check_outputs(self, outputs: int) -> None:
        """Raise ValueError if no targets suit a network with so many outputs."""
        if outputs % self.outputs_for(1):
            raise ValueError(
                f"{type(self).__name__} expects a model with {self.outputs_for(1)} outputs for each target column, got "
                f"out_features {outputs}"
            )

    def targets(self, y: Any, batch: int, outputs: int, dtype: DTypeLike) -> Targets:
        """Check targets for a network output of shape (batch, outputs)."""
        width = self.target_width(outputs)
        values = check.floats(y, np.dtype(dtype), self._who, "targets")
        if width == 1 and values.shape == (batch,):
            values = values.reshape(batch, 1)
        check.exact_shape(values, (batch, width), self._who, "targets")
        return Targets(self._code, _NO_LABELS, values, np.empty(0, dtype))

    def evaluate(
        self, z: Array, y: Any, sample_weight: Any = None, out: Array | None = None, reduction: str | None = None
    ) -> tuple[Any, Array]:
        """Return the loss of network outputs, (batch, outputs), and its gradient."""
        batch, outputs = z.shape
        targets = self.targets(y, batch, outputs, z.dtype)
        weight = check.weights(sample_weight, batch, z.dtype, self._who, "sample_weight")
        gradient = check.output(
            out, z.shape, z.dtype, self._who, z, targets.values, targets.labels, targets.class_weight, weight
        )
        rows = np.empty((3, batch))
        total = by_hand.loss_and_gradient(
            targets.code,
            z,
            targets.labels,
            targets.values,
            targets.class_weight,
            self.options(reduction),
            weight,
            rows,
            tasks_for(WORK_PER_ELEMENT * z.size),
            gradient,
        )
        if (reduction or self.reduction) == "none":
            return (rows[0] * rows[1]).astype(z.dtype), gradient
        return float(total), gradient


@guarded_record
@dataclass(frozen=True, kw_only=True)
class CrossEntropyLoss(Loss):
    """Cross-entropy of logits against class indices or probabilities; see `softmax_cross_entropy`.

    Parameters
    ----------
    weight : array_like of shape (classes,), optional
        A weight for each class. It may be negative, as in PyTorch.
    ignore_index : int, default -100
        Rows with this label count for nothing: a `Trainer` takes zeros for what they hold, be it NaN.
    label_smoothing : float in [0, 1], default 0.0
        The part of each target that is spread over all classes.
    reduction : {"mean", "sum", "none"}, default "mean"
        How the rows' losses are put together. A `Trainer` takes "mean" and "sum".

    Examples
    --------
    >>> import fastbp
    >>> loss = fastbp.CrossEntropyLoss(label_smoothing=0.1)
    >>> trainer = fastbp.Trainer(fastbp.mlp([4, 8, 3], rng=0), loss)
    """

    weight: Any = None
    ignore_index: int = -100
    label_smoothing: float = 0.0

    _who: ClassVar[str] = "softmax_cross_entropy"

    def __post_init__(self) -> None:
        super().__post_init__()
        check.number(self.label_smoothing, self._who, "label_smoothing", 0.0, 1.0)
        check.integer(self.ignore_index, self._who, "ignore_index", smallest=-(2**53))

    def options(self, reduction: str | None = None) -> NDArray[np.float64]:  # noqa: D102
        options = super().options(reduction)
        options[kernels.IGNORE_INDEX] = self.ignore_index
        options[kernels.LABEL_SMOOTHING] = self.label_smoothing
        return options

    def check_outputs(self, outputs: int) -> None:  # noqa: D102
        if outputs < 2:
            raise ValueError(
                f"{type(self).__name__} expects a model with an output for each class, 2 or more, got out_features "
                f"{outputs}; for yes or no by one output take 'binary_cross_entropy_with_logits'"
            )

    def targets(self, y: Any, batch: int, outputs: int, dtype: DTypeLike) -> Targets:  # noqa: D102
        dtype = np.dtype(dtype)
        class_weight = check.weights(self.weight, outputs, dtype, self._who, "weight", smallest=-np.inf)
        array = np.asarray(y)
        probabilities = array.ndim == 2 and (array.dtype.kind == "f" or self._is_indicator(array, outputs))
        if not class_weight.size and (probabilities or self.label_smoothing > 0):
            class_weight = np.ones(outputs, dtype)
        if probabilities:
            values = check.exact_shape(
                check.floats(y, dtype, self._who, "targets"), (batch, outputs), self._who, "targets"
            )
            return Targets(kernels.SOFTMAX_PROBABILITIES, _NO_LABELS, values, class_weight)
        labels = check.labels(y, batch, outputs, self._who, self.ignore_index)
        return Targets(kernels.SOFTMAX_LABELS, labels, np.empty((0, 0), dtype), class_weight)

    def _is_indicator(self, array: Array, outputs: int) -> bool:
        """Whether these are rows of integers or bools with a single 1, the class; ValueError for other such rows."""
        if array.dtype.kind not in "iub" or array.shape[1] != outputs or outputs == 1:
            return False
        if not is_one_hot(array):
            raise ValueError(
                f"{self._who} expects targets of integers to be class indices (batch,), or rows with a single 1, got "
                "other rows; for several classes a row take binary_cross_entropy_with_logits"
            )
        return True


@guarded_record
@dataclass(frozen=True, kw_only=True)
class MSELoss(Loss):
    """Mean squared error; see `mse_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the number of elements.

    Examples
    --------
    >>> import fastbp
    >>> trainer = fastbp.Trainer(fastbp.mlp([4, 8, 1], rng=0), fastbp.MSELoss())
    """

    _who: ClassVar[str] = "mse_loss"
    _code: ClassVar[int] = kernels.MSE


@guarded_record
@dataclass(frozen=True, kw_only=True)
class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of logits; see `binary_cross_entropy_with_logits`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the number of elements.

    Examples
    --------
    >>> import fastbp
    >>> trainer = fastbp.Trainer(fastbp.mlp([4, 8, 1], rng=0), fastbp.BCEWithLogitsLoss())
    """

    _who: ClassVar[str] = "binary_cross_entropy_with_logits"
    _code: ClassVar[int] = kernels.BCE_LOGITS


@guarded_record
@dataclass(frozen=True, kw_only=True)
class GaussianNLLLoss(Loss):
    """Gaussian negative log-likelihood of a network that gives means and log-variances.

    The network has two outputs for each target column: first all means, then the logarithms of all variances, so that
    a variance is positive whatever the network says. For given variances see `gaussian_nll_loss`.

    Parameters
    ----------
    full : bool, default False
        Whether to add the constant ``log(2 pi) / 2``.
    eps : float, default 1e-6
        Smallest variance.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the number of targets.

    Examples
    --------
    >>> import fastbp
    >>> trainer = fastbp.Trainer(fastbp.mlp([4, 8, 2], rng=0), fastbp.GaussianNLLLoss())
    """

    full: bool = False
    eps: float = 1e-6

    _who: ClassVar[str] = "gaussian_nll"
    _code: ClassVar[int] = kernels.GAUSSIAN_NLL

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_eps(self.eps, self._who)

    def options(self, reduction: str | None = None) -> NDArray[np.float64]:  # noqa: D102
        options = super().options(reduction)
        options[kernels.VARIANCE_EPS] = self.eps
        options[kernels.CONSTANT] = 0.5 * math.log(2 * math.pi) if self.full else 0.0
        return options

    def outputs_for(self, target_width: int) -> int:  # noqa: D102
        return 2 * target_width


# The names that a `Trainer` knows
LOSSES: dict[str, type[Loss]] = {
    "softmax_cross_entropy": CrossEntropyLoss,
    "mse": MSELoss,
    "binary_cross_entropy_with_logits": BCEWithLogitsLoss,
    "gaussian_nll": GaussianNLLLoss,
}
# The same by the name of the class, as checkpoints have them
KINDS: dict[str, type[Loss]] = {kind.__name__: kind for kind in LOSSES.values()}
DIVIDES = ('reduction : {"mean", "sum", "none"}, default "mean"', '"mean" divides by the number of elements.')


def publish(entry: kernels.Loss) -> type[Loss]:
    """Make the class of a loss of the kernels' table, and make a `Trainer` and checkpoints know it by its name."""
    public = entry.public
    if public is None:
        raise ValueError(f"publish expects an entry with public names, got {entry.name!r} without")
    fields = [(number.name, float, number.default) for number in entry.numbers]
    said = {"Parameters": [*parameters_of(entry.numbers), DIVIDES]}
    example = f">>> trainer = fastbp.Trainer(fastbp.mlp([4, 8, 1], rng=0), fastbp.{public.name}())"
    body = {
        "__doc__": docstring(f"{public.text}; see `{public.function}`.", said, example),
        "__module__": __name__,
        "_who": public.function,
        "_code": entry.code,
        "_numbers": entry.numbers,
    }
    kind: type[Loss] = make_dataclass(public.name, fields, bases=(Loss,), namespace=body, frozen=True, kw_only=True)
    LOSSES[entry.name] = KINDS[public.name] = globals()[public.name] = guarded_record(kind)  # pickle looks there
    return kind


MADE = [publish(entry) for entry in kernels.LOSSES.values() if entry.public]


def named_loss(name: str) -> Loss:
    """Return the loss that a `Trainer` knows by this name."""
    kind: type[Loss] = check.choice(name, LOSSES, "Trainer", "loss")
    return kind()


def positive_eps(eps: float, who: str, dtype: DTypeLike = np.float64) -> float:
    """Return the smallest variance, checked: a normal number of `dtype`, as one over it has to be finite."""
    smallest = float(np.finfo(dtype).tiny)
    if check.number(eps, who, "eps") < smallest:
        raise ValueError(f"{who} expects eps of at least {smallest:.3g} in {np.dtype(dtype)}, got {eps!r}")
    return float(eps)
