"""How an epoch ends: with its figures, or with the error about a loss or parameters that are not finite."""

import math

import numpy as np

from fastbp._base.sparse import StoredRows
from fastbp.nn.loss import Targets
from fastbp.train.listeners import Listeners
from fastbp.train.not_finite import NotFiniteError, nan_after, not_finite_before
from fastbp.train.order import Numbers
from fastbp.train.resumable import Resumable
from fastbp.train.samples import Samples
from fastbp.train.state import RunState


def figures_of_epoch(trainer: Resumable, targets: Targets, run: RunState, listeners: Listeners) -> dict[str, float]:
    """Return loss and accuracy over an epoch whose steps are made; an error if they made parameters NaN."""
    if math.isnan(np.maximum.reduce(trainer.model._params)):  # the loss of the next step would tell too late
        raise nan_after(run.history.epochs + 1, run.done, trainer.model.parameters(), listeners.fallbacks())
    return run.figures(trainer.loss.reduction, targets.labelled) | trainer._rate_figure()


def not_finite(
    trainer: Resumable, samples: Samples, rows: Numbers, names: Numbers, run: RunState, listeners: Listeners
) -> NotFiniteError:
    """Return the error about the step that was not made, on these rows, of which the kernel left each one's loss.

    rows, names : (batch,), which of the samples they are, and of the rows that the user gave
    """
    with np.errstate(all="ignore"):
        losses = trainer._rows[0, : len(rows)] * trainer._rows[1, : len(rows)]
        total = float(losses.sum())
    wrong = ~np.isfinite(losses)
    read = np.full_like(wrong, True) if trainer.model._coupling else wrong  # ignored rows count in what those have
    x = np.where(samples.x.finite(), 0.0, np.nan) if isinstance(samples.x, StoredRows) else samples.x
    of_rows = {"x": (read, x), "y": (wrong, samples.targets.values), "sample_weight": (wrong, samples.weight)}
    return not_finite_before(
        run.history.epochs + 1,
        run.done + 1,
        total,
        names[wrong],
        {name: (names[at], a[rows[at]]) for name, (at, a) in of_rows.items() if a.dtype.kind == "f" and a.size},
        {f"parameter {name}": array for name, array in trainer.model.parameters().items()}
        | {"class weights": samples.targets.class_weight},
        listeners.fallbacks(),
    )
