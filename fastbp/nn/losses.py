"""Losses as objects with options, for a `Trainer`. Each means what PyTorch's of that name means."""

import math
from dataclasses import dataclass, make_dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._base import check
from fastbp._base.guard import guarded_record
from fastbp._base.made import docstring
from fastbp.kernels import losses as kernels
from fastbp.nn.loss import NO_LABELS, Loss, Targets, is_one_hot
from fastbp.nn.made_losses import MadeLoss, by_output, options_of, set_by_output

__all__ = [
    "LOSSES",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "MSELoss",
    "named_loss",
    "positive_eps",
    "publish",
]

Array = NDArray[Any]


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
    _says: ClassVar[str] = "classes"

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

    def _looks_at_targets(self) -> bool:
        return self.weight is not None

    def targets(self, y: Any, batch: int, outputs: int, dtype: DTypeLike) -> Targets:  # noqa: D102
        dtype = np.dtype(dtype)
        class_weight = check.weights(self.weight, outputs, dtype, self._who, "weight", smallest=-np.inf)
        array = np.asarray(y)
        column = array.ndim == 2 and array.shape[1] == 1 and outputs > 1  # of class indices
        probabilities = (
            array.ndim == 2 and not column and (array.dtype.kind == "f" or self._is_indicator(array, outputs))
        )
        if not class_weight.size and (probabilities or self.label_smoothing > 0):
            class_weight = np.ones(outputs, dtype)
        if probabilities:
            values = check.exact_shape(
                check.read_later(y, dtype, self._who, "targets"), (batch, outputs), self._who, "targets"
            )
            return Targets(kernels.SOFTMAX_PROBABILITIES, NO_LABELS, values, class_weight)
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
    pos_weight : float or array_like of shape (outputs,), optional
        What a positive answer counts for beside a negative one: more than 1 finds more of them.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the number of elements.

    Examples
    --------
    >>> import fastbp
    >>> loss = fastbp.BCEWithLogitsLoss(pos_weight=9.0)
    >>> trainer = fastbp.Trainer(fastbp.mlp([4, 8, 1], rng=0), loss)
    """

    pos_weight: Any = None

    _who: ClassVar[str] = "binary_cross_entropy_with_logits"
    _says: ClassVar[str] = "labels"
    _code: ClassVar[int] = kernels.BCE_LOGITS
    _weighted: ClassVar[kernels.Loss] = kernels.LOSSES["bce_logits_weighted"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pos_weight is not None:
            set_by_output(self, self._weighted)

    def targets(self, y: Any, batch: int, outputs: int, dtype: DTypeLike) -> Targets:  # noqa: D102
        targets = super().targets(y, batch, outputs, dtype)
        if self.pos_weight is None:
            return targets
        weight = by_output(self, self._weighted, outputs, dtype)
        return targets._replace(code=self._weighted.code, class_weight=weight)


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
    _says: ClassVar[str] = "means and variances"
    _code: ClassVar[int] = kernels.GAUSSIAN_NLL

    def __post_init__(self) -> None:
        super().__post_init__()
        check.flag(self.full, self._who, "full")
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


def publish(entry: kernels.Loss) -> type[MadeLoss]:
    """Make the class of a loss of the kernels' table, and make a `Trainer` and checkpoints know it by its name."""
    public = entry.public
    if public is None:
        raise ValueError(f"publish expects an entry with public names, got {entry.name!r} without")
    fields: list[tuple[str, Any, Any]] = [(each.name, type(each.default), each.default) for each in entry.numbers]
    fields += [(number.name, Any, number.default) for number in [entry.by_output] if number]
    fields += [("ignore_index", int, -100)] * entry.labelled
    text = "\n\n".join([f"{public.text}; see `{public.function}`.", *[public.more] * bool(public.more)])
    what = "elements" if entry.outputs_per_term else "rows"
    divides = ('reduction : {"mean", "sum", "none"}, default "mean"', f'"mean" divides by the number of {what}.')
    outputs = 1 if entry.outputs_per_term else 3
    example = f">>> trainer = fastbp.Trainer(fastbp.mlp([4, 8, {outputs}], rng=0), fastbp.{public.name}())"
    body = {
        "__doc__": docstring(text, {"Parameters": [*options_of(entry), divides]}, example),
        "__module__": __name__,
        "_who": public.function,
        "_code": entry.code,
        "_says": entry.says,
        "_numbers": entry.numbers,
        "_entry": entry,
    }
    kind: type[MadeLoss] = make_dataclass(
        public.name, fields, bases=(MadeLoss,), namespace=body, frozen=True, kw_only=True
    )
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
