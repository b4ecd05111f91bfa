"""A run of `Trainer.fit`: how it is set up, and how it goes on."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from fastbp._base.schedule import Schedule
from fastbp._base.sparse import StoredRows
from fastbp.train.batches import Batches
from fastbp.train.callbacks import Callback
from fastbp.train.evaluation import Evaluating, chosen_metrics
from fastbp.train.given import samples_of
from fastbp.train.history import History
from fastbp.train.listeners import Listeners
from fastbp.train.progress import Progress
from fastbp.train.rows import Rows
from fastbp.train.samples import Samples
from fastbp.train.state import RunState
from fastbp.train.validation import Validation


class Asked(NamedTuple):
    """What `fit` was asked for, checked; the names are those of its arguments."""

    given: Rows | Batches
    epochs: int
    batch_size: int
    rng: np.random.Generator
    validation: Validation
    callbacks: Sequence[Callback]
    resume: bool
    drop_last: bool


def make_run(trainer: Evaluating, asked: Asked, progress: Progress) -> History:
    """Make a run, or what is left of the last one; return the figures of its epochs."""
    run = _run_of(trainer, asked)
    listeners = Listeners(trainer, asked.callbacks, run)
    trainer._begin_run(run)
    try:
        trainer._run_steps = asked.epochs * run.steps if asked.given.has_length else 0
        listeners.begin()
        trainer._listeners = listeners
        _go_on(trainer, asked, run, listeners, progress)
        listeners.end()
    finally:
        trainer._end_run()
    return History(run.history)


def _run_of(trainer: Evaluating, asked: Asked) -> RunState:
    """Return the run that goes on, or one that begins; an error if it cannot."""
    given, validation = asked.given, asked.validation
    run = trainer._run_to_resume() if asked.resume else None
    seed = validation.draw(asked.rng) if run is None else run.split_seed
    chosen = validation.hold_out(given.first, trainer.loss, trainer.model._outputs, seed)
    rows = len(chosen) or given.rows
    if asked.drop_last and rows < asked.batch_size:
        raise ValueError(f"fit expects with drop_last a whole batch of {asked.batch_size} rows, got {rows} rows")
    batch_size = min(asked.batch_size, rows)
    given.check(trainer.model, rows - rows % batch_size if asked.drop_last else rows, batch_size)
    trainer._prepare(batch_size, isinstance(given.first.x, StoredRows))
    layout, batch_size, shuffle = given.begin(run, rows, batch_size)
    if not given.has_length and trainer._varying is not None and trainer.total_steps is None:
        raise ValueError(
            "fit expects steps_per_epoch, or x with a length, where a schedule spans its steps; or a Trainer with "
            "total_steps"
        )
    if run is None:
        trainer._draw_seed(asked.rng)
        run = RunState(
            layout.rows, batch_size, shuffle, asked.rng, validation.split, seed, drop_last=asked.drop_last,
            sizes=layout.sizes, window=layout.window,
        )  # fmt: skip
    run.check(layout, batch_size, shuffle, validation.split, asked.drop_last)
    run.chosen = chosen
    return run


def _go_on(trainer: Evaluating, asked: Asked, run: RunState, listeners: Listeners, progress: Progress) -> None:
    """Go on with a run from where it is to the end of its last epoch."""
    given, epochs, done = asked.given, asked.epochs, run.done
    with progress.fit(epochs, given.rows_of(run), trainer._step_work, run.history.epochs + done / run.steps):
        # Of an epoch or of a multiple of `every` whose end some callbacks were not told of before an interruption
        listeners.tell_of_steps(done, call=False)
        while True:
            listeners.tell_of_epoch()
            if run.stopped or run.history.epochs >= epochs:
                break
            figures = given.make_epoch(trainer, run, listeners, progress)
            figures |= asked.validation.figures(trainer.evaluate)
            trainer._end_epoch(figures)
            progress.epoch(run.history.epochs, figures)


def figure_names(trainer: Evaluating, samples: Samples, validation: Validation) -> tuple[list[str], bool]:
    """Return the names of what a run records of each epoch, and whether there may be more on other rows."""
    loss, outputs = trainer.loss, trainer.model._outputs
    names = ["loss", *(one.name for one in chosen_metrics((), loss, samples, outputs, "fit"))]
    names += ["lr"] if isinstance(trainer.optimizer.lr, Schedule) else []
    if validation:
        names += validation.names(samples, partial(samples_of, trainer), loss, outputs)
    own = type(trainer).evaluate is Evaluating.evaluate  # what that of a subclass adds is known after an epoch
    if not own:
        validation.check(trainer.evaluate)
    return names, not own
