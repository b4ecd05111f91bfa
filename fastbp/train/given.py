"""What users give for steps and evaluations, checked: rows, targets and weights."""

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike

from fastbp._base import check
from fastbp._base.inputs import is_mapped
from fastbp._base.sparse import StoredRows
from fastbp.kernels.losses import SOFTMAX_LABELS
from fastbp.nn.own_losses import FunctionLoss
from fastbp.train.samples import Samples
from fastbp.train.steps import Steps


def samples_of(
    trainer: Steps, x: Any, y: ArrayLike, sample_weight: ArrayLike | None, calls: tuple[str, ...] = ()
) -> Samples:
    """Check what a user gives for steps, or for an evaluation.

    calls : the entries that the steps will call; none for an evaluation
    """
    model, loss, dtype = trainer.model, trainer.loss, trainer.model.dtype
    if isinstance(loss, FunctionLoss):
        loss.check_call(sample_weight)
    rows = check.inputs(x, model.in_features, dtype, "Trainer")
    if isinstance(rows, StoredRows):
        model._rows_for(sparse=True, train=bool(calls))  # refuses where the layers cannot take it
    if calls:  # the labels are looked at by an entry
        trainer._expect(getattr(loss, "_code", SOFTMAX_LABELS), calls, rows)
    if model._codes is not None and not isinstance(rows, StoredRows) and not is_mapped(rows):
        model._codes.expect(rows, "Trainer")  # of a map a step looks at what it reads
    targets = loss.targets(y, len(rows), model._outputs, dtype)
    if calls:
        trainer._expect(targets.code, calls, rows, targets.values)
    weight = check.weights(sample_weight, len(rows), dtype, "Trainer", "sample_weight")
    if not calls:
        return Samples(rows, targets, weight)
    written = model._params, model._grads
    targets = targets._replace(values=check.apart(targets.values, *written))
    return Samples(check.apart(rows, *written), targets, check.apart(weight, *written))


def samples_like(given: Any, inputs: Callable[..., Samples], first: Samples | None, who: str) -> Samples:
    """Return ``(x, y)`` or ``(x, y, sample_weight)`` as samples; an error if it is neither, or not like the first.

    inputs : checks x, y and the weights
    first : such samples of before, if there are any
    who : expects what of its giver
    """
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        size = f" of {len(given)}" if isinstance(given, (tuple, list)) else ""
        raise TypeError(f"{who} (x, y) or (x, y, sample_weight), got {type(given).__name__}{size}")
    samples = inputs(*(*given, None)[:3])
    targets = samples.targets.as_classes()
    if first is not None and targets.code != first.targets.code:
        targets = samples.targets  # probabilities may all be 0 or 1 by chance
        if targets.code != first.targets.code:
            raise ValueError(f"{who} with targets of one kind, got others than in the first")
    return samples._replace(targets=targets)
