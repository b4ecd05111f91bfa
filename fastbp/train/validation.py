"""The rows that a run evaluates after each epoch, and what it records of them."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check
from fastbp.data.blocks import Blocks
from fastbp.data.split import split_rows
from fastbp.nn.loss import Loss
from fastbp.train.evaluation import MetricLike, chosen_metrics, listed
from fastbp.train.outputs import Classes, forms_of, true_of
from fastbp.train.samples import Array, Samples
from fastbp.train.streamed import Streamed

Evaluate = Callable[..., dict[str, float]]


class Validation:
    """What `fit` was asked to evaluate: rows of their own, or a part of those that it is given; with which metrics."""

    def __init__(self, data: Any, split: float | None, metrics: Iterable[MetricLike]) -> None:
        if split is not None:
            if data is not None:
                raise ValueError("fit expects validation_data or validation_split, got both")
            split = check.number(split, "fit", "validation_split")
            if not 0 < split < 1:
                raise ValueError(f"fit expects validation_split between 0 and 1, got {split}")
        elif isinstance(data, Blocks):
            data = (data,)
        elif data is not None and (not isinstance(data, (tuple, list)) or len(data) not in (2, 3)):
            what = type(data).__name__ + (f" of {len(data)}" if isinstance(data, (tuple, list)) else "")
            raise TypeError(f"fit expects validation_data to be (x, y), (x, y, sample_weight) or Blocks, got {what}")
        self.metrics = listed(metrics, "fit")
        self.data, self.split = data, split
        if self.metrics and not self:
            raise ValueError("fit expects validation_data or validation_split for metrics: they are of those rows")

    def __bool__(self) -> bool:
        return self.data is not None or self.split is not None

    def names(self, samples: Samples, inputs: Callable[..., Samples], loss: Loss, outputs: int) -> list[str]:
        """Return the names of the figures; an error if there cannot be one.

        samples : what the run is given
        inputs : checks what is evaluated
        """
        if self.data is not None:
            if len(self.data) == 1:
                samples = Streamed(self.data[0], False, inputs).first
            else:
                samples = inputs(*(*self.data, None)[:3])
                samples = samples._replace(targets=samples.targets.as_classes())
        chosen = chosen_metrics(self.metrics, loss, samples, outputs, "fit")
        return ["val_loss", *(f"val_{one.name}" for one in chosen)]

    def check(self, evaluate: Evaluate) -> None:
        """Raise TypeError if a subclass's own `evaluate` does not take what this one is asked with."""
        if self:
            given = 2 if self.data is None else len(self.data)
            inspect.signature(evaluate).bind(*range(given), **self._more())

    def _more(self) -> dict[str, Any]:
        return {"metrics": self.metrics} if self.metrics else {}

    def draw(self, generator: np.random.Generator) -> int:
        """Return a seed for `hold_out`; 0 where no rows are held out."""
        return 0 if self.split is None else int(generator.integers(2**63))

    def hold_out(self, samples: Samples, loss: Loss, outputs: int, seed: int) -> NDArray[np.int64]:
        """Hold out the part of the rows, of each class if there are classes; return the numbers of the others.

        Without such a part none are returned: then all rows are trained on.
        """
        if self.split is None:
            return np.empty(0, np.int64)
        rest, held = map(np.sort, split_rows(len(samples.x), self.split, seed, _classes(samples, loss, outputs)))
        x, targets, weight = samples
        y = targets.labels if targets.labels.size else targets.values
        self.data = (x[held], y[held], *([weight[held]] if weight.size else []))
        return rest.astype(np.int64, copy=False)

    def figures(self, evaluate: Evaluate) -> dict[str, float]:
        """Return the figures of now."""
        if not self:
            return {}
        return {f"val_{name}": value for name, value in evaluate(*self.data, **self._more()).items()}


def _classes(samples: Samples, loss: Loss, outputs: int) -> Array | None:
    """Return the class of each row, if the loss is one of classes and the targets are no probabilities."""
    if forms_of(loss, outputs) != (Classes,):
        return None
    try:
        return true_of(Classes, samples.targets, outputs)
    except ValueError:
        return None
