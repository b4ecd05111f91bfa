"""One epoch of `Trainer.fit`: compiled calls of some steps each, with callbacks between them."""

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.kernels.run.frame import RECORD_DIVISOR, RECORD_LOSS
from fastbp.nn.losses import Targets
from fastbp.train.not_finite import NotFiniteError, nan_after, not_finite_before
from fastbp.train.position import Position
from fastbp.train.progress import Progress

if TYPE_CHECKING:
    from fastbp.train.trainer import Trainer

Array = NDArray[Any]


def make_epoch(
    trainer: "Trainer", x: Array, targets: Targets, weight: Array, position: Position, progress: Progress
) -> dict[str, float]:
    """Make the steps that are left of an epoch."""
    position.begin_epoch()
    order, record = position.order, position.record
    batch, steps = position.batch_size, position.steps
    done, pace = position.done, None
    while done < steps:
        # Callbacks may have changed the optimizer's numbers, class weights, the threads, or made other steps.
        trainer._prepare(batch)
        if getattr(trainer.loss, "weight", None) is not None:
            targets = _with_class_weight(trainer, targets)
        most = trainer._most_tasks(batch)
        if pace is None or pace.tasks != most:
            pace = trainer._paced(batch, most)
        tasks, count = pace.choose(position.left(done))
        began = time.perf_counter()
        wrong = trainer._run(x, targets, weight, order, batch, range(done, done + count), tasks, record, finite=True)
        pace.note(tasks, count, time.perf_counter() - began)
        if wrong >= 0:
            raise ValueError(f"fit expects targets as they were: row {wrong} is {targets.labels[wrong]} now")
        done += count
        if math.isnan(record[RECORD_DIVISOR, done - 1]):
            raise _not_finite(trainer, x, targets, weight, position)
        progress.advance(min(len(order), done * batch), float(record[RECORD_LOSS, done - 1]))
        position.tell_of_steps(trainer, done, call=True)
    if math.isnan(np.maximum.reduce(trainer.model._params)):  # the loss of the next step would tell too late
        raise nan_after(position.history.epochs + 1, done, trainer.model.parameters(), position.kept())
    return position.figures(trainer.loss.reduction, targets.labelled)


def _with_class_weight(trainer: "Trainer", targets: Targets) -> Targets:
    """Return targets with the class weights of now, as they are the caller's."""
    y = targets.labels if targets.labels.size else targets.values
    return targets._replace(
        class_weight=trainer.loss.targets(y[:1], 1, trainer.model.out_features, trainer.model.dtype).class_weight
    )


def _not_finite(trainer: "Trainer", x: Array, targets: Targets, weight: Array, position: Position) -> NotFiniteError:
    """Return the error about the step that was not made, of which the kernel left each row's loss."""
    step, batch = position.done, position.batch_size
    rows = position.order[step * batch : (step + 1) * batch]
    with np.errstate(all="ignore"):
        losses = trainer._rows[0, : len(rows)] * trainer._rows[1, : len(rows)]
        total = float(losses.sum())
    rows = rows[~np.isfinite(losses)]
    of_rows = {"x": x, "y": targets.values, "sample_weight": weight}
    return not_finite_before(
        position.history.epochs + 1,
        step + 1,
        total,
        rows,
        {name: array[rows] for name, array in of_rows.items() if array.size},
        {f"parameter {name}": array for name, array in trainer.model.parameters().items()}
        | {"class weights": targets.class_weight},
        position.kept(),
    )
