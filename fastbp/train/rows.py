"""Training on rows that are all at hand: compiled calls of some steps each, with callbacks between them."""

import math
import time
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from fastbp._base.inputs import gathered
from fastbp._base.interrupts import held_back
from fastbp._base.sparse import StoredRows
from fastbp.kernels.run.frame import RECORD_DIVISOR, RECORD_LOSS, RECORD_ROWS
from fastbp.nn.loss import Targets
from fastbp.nn.sequential import Sequential
from fastbp.train.epoch import figures_of_epoch, not_finite
from fastbp.train.listeners import Listeners
from fastbp.train.order import Layout, Numbers
from fastbp.train.progress import Progress
from fastbp.train.resumable import Resumable
from fastbp.train.samples import Part, Samples
from fastbp.train.staging import Stage, Staged, Staging
from fastbp.train.state import NOT_MADE, RunState


def check_last_batch(model: Sequential, rows: int, batch_size: int) -> None:
    """Raise ValueError if a batch of an epoch has too few rows for a layer that couples them."""
    last = rows % batch_size or batch_size
    if last >= model._fewest_rows:
        return
    fits = next((size for size in range(batch_size - 1, 1, -1) if rows % size != 1), None)
    hint = "" if fits is None else f": choose another batch_size, such as {fits}, or leave a row out"
    names = ", ".join(model._coupling)
    raise ValueError(
        f"fit expects batches of at least 2 rows for {names}, and {rows} rows in batches of {batch_size} end with "
        f"one of {last}{hint}"
    )


class Rows:
    """All rows of a run, as its epochs take them: batch after batch, in an order.

    Parameters
    ----------
    samples : Samples
    shuffle : bool
        Whether each epoch has an order of its own.

    Attributes
    ----------
    first : Samples
        The rows; of a subclass that has not all of them at hand, some.
    rows : int
        How many there are.
    has_length : bool
        Whether it is known how many steps an epoch has.
    """

    has_length = True

    def __init__(self, samples: Samples, shuffle: bool) -> None:
        samples = samples._replace(targets=samples.targets.as_classes())
        if shuffle:
            values = gathered(samples.targets.values)
            samples = samples._replace(x=gathered(samples.x), targets=samples.targets._replace(values=values))
        self.first, self.rows, self._shuffle = samples, len(samples.x), shuffle

    def check(self, model: Sequential, rows: int, batch_size: int) -> None:
        """Raise ValueError if a batch of an epoch has too few rows for a layer that couples them."""
        check_last_batch(model, rows, batch_size)

    def begin(self, run: RunState | None, rows: int, batch_size: int) -> tuple[Layout, int, bool]:
        """Return rows, batch size and order as `RunState` has them."""
        return Layout(rows), batch_size, bool(self._shuffle)

    def rows_of(self, run: RunState) -> int:
        """Return how many rows an epoch has."""
        return min(run.rows, run.steps * run.batch_size)

    def staged(self, run: RunState) -> AbstractContextManager[Stage]:
        """Surround the steps that are left of an epoch: what they read."""
        return nullcontext(Staging(self.first, run.data_order(), run.batch_size, run.shuffle))

    def names(self, run: RunState, places: range) -> Numbers:
        """Return which rows of all the running epoch takes at some places."""
        return run.data_order()[places.start : places.stop]

    def make_epoch(
        self, trainer: Resumable, run: RunState, listeners: Listeners, progress: Progress
    ) -> dict[str, float]:
        """Make the steps that are left of an epoch; return loss and accuracy over all of it."""
        run.begin_epoch()
        record, batch, steps = run.record, run.batch_size, run.steps
        done, pace = run.done, None
        with self.staged(run) as stage:
            while done < steps:
                # Callbacks may have changed the optimizer's numbers, class weights, the threads, or made other steps.
                trainer._prepare(batch, isinstance(self.first.x, StoredRows))
                now = stage.at(done)
                targets = now.samples.targets
                if targets.class_weight.size and trainer.loss._looks_at_targets():
                    now = now._replace(samples=now.samples._replace(targets=_with_class_weight(trainer, targets)))
                most = trainer._most_tasks(batch)
                if pace is None or pace.tasks != most:
                    pace = trainer._paced(batch, most)
                tasks, count = pace.choose(min(now.steps.stop - done, listeners.steps_until_due(done)))
                began = time.perf_counter()
                wrong = _run(trainer, run, now, range(done, done + count), tasks)
                pace.note(tasks, count, time.perf_counter() - began)
                if wrong >= 0:
                    label = now.samples.targets.labels[wrong]
                    raise ValueError(f"fit expects targets as they were: row {now.row(wrong)} is {label} now")
                done += count
                if math.isnan(record[RECORD_DIVISOR, done - 1]):
                    place = run.done * batch
                    names = self.names(run, range(place, min(place + batch, run.rows)))
                    rows = now.order[place - now.first * batch :][: len(names)]
                    raise not_finite(trainer, now.samples, rows, names, run, listeners)
                progress.advance(min(run.rows, done * batch), float(record[RECORD_LOSS, done - 1]))
                listeners.tell_of_steps(done, call=True)
        return figures_of_epoch(trainer, self.first.targets, run, listeners)


def _run(trainer: Resumable, run: RunState, now: Staged, steps: range, tasks: int) -> int:
    """Run steps of an epoch on what is staged for them; return what `Steps._run` does."""
    batch, count = run.batch_size, len(steps)
    if now.first == 0:
        return trainer._run(now.samples, Part(steps, batch, now.order, run.record, finite=True), tasks)
    order, record = now.order[(steps.start - now.first) * batch :], np.full((RECORD_ROWS, count), NOT_MADE)
    with held_back():  # steps that are made are those of the run
        try:
            return trainer._run(now.samples, Part(range(count), batch, order, record, finite=True), tasks)
        finally:
            run.record[:, steps.start : steps.stop] = record


def _with_class_weight(trainer: Resumable, targets: Targets) -> Targets:
    """Return targets with the class weights of now, as they are the caller's."""
    y = targets.labels if targets.labels.size else targets.values
    return targets._replace(
        class_weight=trainer.loss.targets(y[:1], 1, trainer.model._outputs, trainer.model.dtype).class_weight
    )
