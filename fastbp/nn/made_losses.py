"""What the losses have in common whose classes are made from the kernels' table."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._base import check
from fastbp._base.guard import set_unguarded
from fastbp._base.inputs import Input
from fastbp._base.made import checked_each, parameters_of
from fastbp.kernels import losses as kernels
from fastbp.nn.loss import Loss, Targets

__all__ = ["MadeLoss", "by_output", "options_of", "set_by_output"]

Array = NDArray[Any]


def set_by_output(loss: Loss, entry: kernels.Loss) -> None:
    """Check a loss's number for each output, and keep it as one float or a tuple: nobody can change that later."""
    number = entry.by_output
    assert number is not None
    set_unguarded(loss, number.name, checked_each(number, getattr(loss, number.name), loss._who))


def by_output(loss: Loss, entry: kernels.Loss, outputs: int, dtype: DTypeLike) -> Array:
    """Return a loss's number for each output, as kernels have it; an empty array for labels that all weigh 1."""
    assert entry.by_output is not None
    name = entry.by_output.name
    chosen = getattr(loss, name)
    if entry.repeats:
        each = chosen if isinstance(chosen, tuple) else (chosen,)
        return np.repeat(np.array(each, dtype), outputs // len(each))
    if isinstance(chosen, tuple):
        return check.exact_shape(np.array(chosen, dtype), (outputs,), loss._who, name)
    return np.full(0 if entry.labelled and chosen == 1.0 else outputs, chosen, dtype)


def options_of(entry: kernels.Loss) -> list[tuple[str, str]]:
    """Return what users choose for a loss of the table, reduction aside, as `docstring` takes parameters."""
    found = parameters_of(entry.numbers)
    if entry.by_output is not None:
        ((line, text),) = parameters_of([entry.by_output])
        found.append((line.replace("float,", "float or array_like,"), text))
    if entry.labelled:
        found.append(("ignore_index : int, default -100", "Rows with this label count for nothing."))
    return found


class MadeLoss(Loss):
    """A loss of the kernels' table, whose entry says what its targets are; see `fastbp.kernels.losses.registry`."""

    _entry: ClassVar[kernels.Loss]

    ignore_index: int  # of a loss of class labels

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._entry.by_output is not None:
            set_by_output(self, self._entry)
        if self._entry.labelled:
            check.integer(self.ignore_index, self._who, "ignore_index", smallest=-(2**53))

    def options(self, reduction: str | None = None) -> NDArray[np.float64]:  # noqa: D102
        options = super().options(reduction)
        if self._entry.labelled:
            options[kernels.IGNORE_INDEX] = self.ignore_index
            if options[kernels.REDUCTION] == kernels.MEAN:
                options[kernels.REDUCTION] = kernels.MEAN_OF_ROWS
        return options

    def _extra(self) -> int:
        """Return how many columns the targets have beside one for each output."""
        return self._entry.extra(*self._own()) if self._entry.extra else 0

    def _looks_at_targets(self) -> bool:
        return self._extra() > 0

    def outputs_for(self, target_width: int) -> int:  # noqa: D102
        chosen = getattr(self, self._entry.by_output.name) if self._entry.by_output and self._entry.repeats else 1.0
        return target_width * (len(chosen) if isinstance(chosen, tuple) else 1)

    def target_width(self, outputs: int) -> int:  # noqa: D102
        return super().target_width(outputs) + self._extra()

    def check_outputs(self, outputs: int) -> None:  # noqa: D102
        if outputs < 2 and (self._entry.labelled or self._entry.extra):
            raise ValueError(
                f"{type(self).__name__} expects a model with an output for each class, 2 or more, got out_features "
                f"{outputs}"
            )
        super().check_outputs(outputs)

    def targets(self, y: Any, batch: int, outputs: int, dtype: DTypeLike) -> Targets:  # noqa: D102
        if self._entry.labelled:
            labels = check.labels(y, batch, outputs, self._who, self.ignore_index)
            targets = Targets(self._code, labels, np.empty((0, 0), dtype), np.empty(0, dtype))
        else:
            targets = super().targets(y, batch, outputs, dtype)
        if self._extra():
            self._check_last_column(targets.values, outputs)
        if self._entry.by_output is not None:
            targets = targets._replace(class_weight=by_output(self, self._entry, outputs, dtype))
        return targets

    def _check_last_column(self, values: Array | Input, outputs: int) -> None:
        """Raise ValueError if the labels behind the numbers of the targets are no classes."""
        rows = 1 << 12
        for start in range(0, len(values), rows):
            labels = values[start : start + rows][:, -1]
            wrong = ~((labels >= 0) & (labels < outputs) & (labels == np.rint(labels)))
            if wrong.any():
                at = int(np.argmax(wrong))
                raise ValueError(
                    f"{self._who} expects labels in 0..{outputs - 1} in the last column of targets, got {labels[at]} "
                    f"in row {start + at}"
                )
