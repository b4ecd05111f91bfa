"""What every loss declares, for a `Trainer`: its options, its targets as the kernels take them, and its value."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._base import check
from fastbp._base.calls import Calls
from fastbp._base.guard import Guarded, guarded_record
from fastbp._base.inputs import Input
from fastbp._base.made import checked
from fastbp.kernels import losses as kernels
from fastbp.kernels.losses import by_hand
from fastbp.kernels.registry import Number

__all__ = ["REDUCTIONS", "Loss", "Targets"]

Array = NDArray[Any]
REDUCTIONS = {"mean": kernels.MEAN, "sum": kernels.SUM, "none": kernels.NONE}
# exp, a logarithm and the sums of one element cost about as much as this many multiplications and additions.
WORK_PER_ELEMENT = 30


class Targets(NamedTuple):
    """Targets as the kernels take them: class labels or numbers, which may be an input; the other one empty."""

    code: int
    labels: NDArray[np.int64]
    values: Array | Input
    class_weight: Array

    @property
    def labelled(self) -> bool:
        """Whether each row is of a class, so that there is an accuracy."""
        return self.code >= 0 and kernels.BY_CODE[self.code].hits

    def as_classes(self) -> "Targets":
        """Return the targets, as classes where they are probabilities with a single 1 in each row."""
        if self.code == kernels.SOFTMAX_PROBABILITIES and is_one_hot(self.values):
            return self._replace(code=kernels.SOFTMAX_ONE_HOT)
        return self


# The calls of each loss, by its code and whether there is a gradient
_calls: defaultdict[tuple[int, bool], Calls] = defaultdict(Calls)


def loss_and_gradient(
    z: Array,
    targets: Targets,
    options: NDArray[np.float64],
    weight: Array,
    rows: NDArray[np.float64],
    gradient: Array | None,
) -> float:
    """Return the loss of network outputs, and write its gradient, if any; see `fastbp.kernels.losses.by_hand`."""
    tasks, began, kind = _calls[targets.code, gradient is None].begin(z.size, WORK_PER_ELEMENT * z.size)
    value = by_hand.loss_and_gradient(
        targets.code, z, targets.labels, targets.values, targets.class_weight, options, weight, rows, tasks, gradient
    )
    if kind is not None:
        kind.end(tasks, began, z.size)
    return value


NO_LABELS = np.empty(0, np.int64)
# Rows that are looked at together: rows that are not one-hot are mostly seen to be so in the first of them.
ROWS_AT_ONCE = 1 << 12


def is_one_hot(values: Array | Input) -> bool:
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
    # What the outputs say, for metrics: "classes" (logits of one class a row), "labels" (logits of yes or no, each),
    # "numbers" (as many as targets), "means and variances", "any", or other words: no metric by name judges those
    _says: ClassVar[str] = "numbers"
    # Whether of a network with members it takes the outputs of each by themselves
    _of_members: ClassVar[bool] = True
    _numbers: ClassVar[tuple[Number, ...]] = ()  # its own, each a field of that name
    # "forward" and "backward" are PyTorch's names, "call" is Keras's.
    _compiled: ClassVar = (
        "options", "outputs_for", "target_width", "check_outputs", "targets", "evaluate", "value", "__call__", "call",
        "forward", "backward",
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

    def _looks_at_targets(self) -> bool:
        """Whether each step has to check more than the targets' shape, or class weights that are the caller's."""
        return False

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
        values = check.read_later(y, np.dtype(dtype), self._who, "targets")
        if width == 1 and not isinstance(values, Input) and values.shape == (batch,):
            values = values.reshape(batch, 1)
        check.exact_shape(values, (batch, width), self._who, "targets")
        return Targets(self._code, NO_LABELS, values, np.empty(0, dtype))

    def evaluate(
        self, z: Array, y: Any, sample_weight: Any = None, out: Array | None = None, reduction: str | None = None
    ) -> tuple[Any, Array]:
        """Return the loss of network outputs, (batch, outputs), and its gradient."""
        targets, values, weight = self._arrays(z, y, sample_weight)
        gradient = check.output(
            out, z.shape, z.dtype, self._who, z, values, targets.labels, targets.class_weight, weight
        )
        return self._computed(z, targets, weight, gradient, reduction or self.reduction), gradient

    def value(self, z: Array, y: Any, sample_weight: Any = None) -> Any:
        """Return the loss of network outputs, (batch, outputs), alone; the bits are those of `evaluate`."""
        targets, _, weight = self._arrays(z, y, sample_weight)
        return self._computed(z, targets, weight, None, self.reduction)

    def _arrays(self, z: Array, y: Any, sample_weight: Any) -> tuple[Targets, Array, Array]:
        """Return the targets, their values as an array, and what each row counts for, all checked."""
        batch, outputs = z.shape
        targets = self.targets(y, batch, outputs, z.dtype)
        values = targets.values
        if isinstance(values, Input):
            values = values[:]
            targets = targets._replace(values=values)
        return targets, values, check.weights(sample_weight, batch, z.dtype, self._who, "sample_weight")

    def _computed(self, z: Array, targets: Targets, weight: Array, gradient: Array | None, reduction: str) -> Any:
        """Return the loss, of each row without a reduction; write its gradient, if any."""
        rows = np.empty((3, len(z)))
        total = loss_and_gradient(z, targets, self.options(reduction), weight, rows, gradient)
        return (rows[0] * rows[1]).astype(z.dtype) if reduction == "none" else float(total)
