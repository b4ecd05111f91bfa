"""How an epoch ends: with its figures, or with the error about a loss or parameters that are not finite."""

import math

import numpy as np
from numpy.typing import NDArray

from fastbp._base.sparse import StoredRows
from fastbp.nn.loss import Targets
from fastbp.train.listeners import Listeners
from fastbp.train.not_finite import NotFiniteError, nan_after, not_finite_before
from fastbp.train.resumable import Resumable
from fastbp.train.staging import Staged
from fastbp.train.state import RunState


def figures_of_epoch(trainer: Resumable, targets: Targets, run: RunState, listeners: Listeners) -> dict[str, float]:
    """Return loss and accuracy over an epoch whose steps are made; an error if they made parameters NaN."""
    if math.isnan(np.maximum.reduce(trainer.model._params)):  # the loss of the next step would tell too late
        raise nan_after(run.history.epochs + 1, run.done, trainer.model.parameters(), listeners.fallbacks())
    return run.figures(trainer.loss.reduction, targets.labelled) | trainer._rate_figure()


def not_finite(
    trainer: Resumable, now: Staged, rows: NDArray[np.int64], run: RunState, listeners: Listeners
) -> NotFiniteError:
    """Return the error about the step that was not made, on these rows, of which the kernel left each one's loss."""
    samples = now.samples
    with np.errstate(all="ignore"):
        losses = trainer._rows[0, : len(rows)] * trainer._rows[1, : len(rows)]
        total = float(losses.sum())
    read, rows = rows, rows[~np.isfinite(losses)]
    if not trainer.model._coupling:  # else ignored rows count in what those are made of
        read = rows
    x = np.where(samples.x.finite(), 0.0, np.nan) if isinstance(samples.x, StoredRows) else samples.x
    of_rows = {"x": (read, x), "y": (rows, samples.targets.values), "sample_weight": (rows, samples.weight)}
    return not_finite_before(
        run.history.epochs + 1,
        run.done + 1,
        total,
        now.names(rows),
        {
            name: (now.names(at), array[at])
            for name, (at, array) in of_rows.items()
            if array.dtype.kind == "f" and array.size
        },
        {f"parameter {name}": array for name, array in trainer.model.parameters().items()}
        | {"class weights": samples.targets.class_weight},
        listeners.fallbacks(),
    )
