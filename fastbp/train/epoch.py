"""One epoch of `Trainer.fit`: compiled calls of some steps each, with callbacks between them."""

import math
import time

import numpy as np
from numpy.typing import NDArray

from fastbp._base.sparse import StoredRows
from fastbp.kernels.run.frame import RECORD_DIVISOR, RECORD_LOSS
from fastbp.nn.loss import Targets
from fastbp.train.listeners import Listeners
from fastbp.train.not_finite import NotFiniteError, nan_after, not_finite_before
from fastbp.train.progress import Progress
from fastbp.train.resumable import Resumable
from fastbp.train.samples import Part, Samples
from fastbp.train.staging import Staging
from fastbp.train.state import RunState


def make_epoch(
    trainer: Resumable, samples: Samples, run: RunState, listeners: Listeners, progress: Progress
) -> dict[str, float]:
    """Make the steps that are left of an epoch; return loss and accuracy over all of it."""
    run.begin_epoch()
    order, record, batch = run.data_order(), run.record, run.batch_size
    staging = Staging(samples, order, batch, run.shuffle)
    done, pace = run.done, None
    while done < run.steps:
        # Callbacks may have changed the optimizer's numbers, class weights, the threads, or made other steps.
        trainer._prepare(batch, isinstance(samples.x, StoredRows))
        now = staging.at(done)
        taken = now.samples
        if taken.targets.class_weight.size and trainer.loss._looks_at_targets():
            taken = taken._replace(targets=_with_class_weight(trainer, taken.targets))
        most = trainer._most_tasks(batch)
        if pace is None or pace.tasks != most:
            pace = trainer._paced(batch, most)
        tasks, count = pace.choose(min(now.steps.stop - done, listeners.steps_until_due(done)))
        began = time.perf_counter()
        wrong = trainer._run(taken, Part(range(done, done + count), batch, now.order, record, finite=True), tasks)
        pace.note(tasks, count, time.perf_counter() - began)
        if wrong >= 0:
            label = taken.targets.labels[wrong]
            raise ValueError(f"fit expects targets as they were: row {now.row(wrong)} is {label} now")
        done += count
        if math.isnan(record[RECORD_DIVISOR, done - 1]):
            used = samples.targets._replace(class_weight=taken.targets.class_weight)
            rows = order[run.done * batch : (run.done + 1) * batch]
            raise not_finite(trainer, samples._replace(targets=used), rows, run, listeners)
        progress.advance(min(len(order), done * batch), float(record[RECORD_LOSS, done - 1]))
        listeners.tell_of_steps(done, call=True)
    return figures_of_epoch(trainer, samples.targets, run, listeners)


def figures_of_epoch(trainer: Resumable, targets: Targets, run: RunState, listeners: Listeners) -> dict[str, float]:
    """Return loss and accuracy over an epoch whose steps are made; an error if they made parameters NaN."""
    if math.isnan(np.maximum.reduce(trainer.model._params)):  # the loss of the next step would tell too late
        raise nan_after(run.history.epochs + 1, run.done, trainer.model.parameters(), listeners.fallbacks())
    return run.figures(trainer.loss.reduction, targets.labelled) | trainer._rate_figure()


def _with_class_weight(trainer: Resumable, targets: Targets) -> Targets:
    """Return targets with the class weights of now, as they are the caller's."""
    y = targets.labels if targets.labels.size else targets.values
    return targets._replace(
        class_weight=trainer.loss.targets(y[:1], 1, trainer.model.out_features, trainer.model.dtype).class_weight
    )


def not_finite(
    trainer: Resumable, samples: Samples, rows: NDArray[np.int64], run: RunState, listeners: Listeners
) -> NotFiniteError:
    """Return the error about the step that was not made, on these rows, of which the kernel left each one's loss."""
    with np.errstate(all="ignore"):
        losses = trainer._rows[0, : len(rows)] * trainer._rows[1, : len(rows)]
        total = float(losses.sum())
    rows = rows[~np.isfinite(losses)]
    x = np.where(samples.x.finite(), 0.0, np.nan) if isinstance(samples.x, StoredRows) else samples.x
    of_rows = {"x": x, "y": samples.targets.values, "sample_weight": samples.weight}
    return not_finite_before(
        run.history.epochs + 1,
        run.done + 1,
        total,
        rows,
        {name: array[rows] for name, array in of_rows.items() if array.dtype.kind == "f" and array.size},
        {f"parameter {name}": array for name, array in trainer.model.parameters().items()}
        | {"class weights": samples.targets.class_weight},
        listeners.fallbacks(),
    )
