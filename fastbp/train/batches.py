"""Training on an iterable of batches: a step each, and nothing is known of those that have not come yet."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

import numpy as np

from fastbp._base import check
from fastbp._base.interrupts import held_back
from fastbp._base.sparse import StoredRows
from fastbp.kernels.run.frame import RECORD_DIVISOR, RECORD_LOSS, RECORD_ROWS
from fastbp.nn.sequential import Sequential
from fastbp.train.epoch import figures_of_epoch, not_finite
from fastbp.train.given import samples_like
from fastbp.train.listeners import Listeners
from fastbp.train.order import Layout
from fastbp.train.progress import Progress
from fastbp.train.resumable import Resumable
from fastbp.train.samples import Part, Samples
from fastbp.train.state import NOT_MADE, RunState

ONE, IN_PLACE = range(1), np.empty(0, np.int64)
END = object()  # in the place of a batch


class Batches:
    """An iterable of batches as the epochs of a run take them, one after another.

    Parameters
    ----------
    given : iterable
        Of ``(x, y)`` or ``(x, y, sample_weight)``.
    steps : int or None
        Batches of an epoch, whichever iteration they come from; None where an epoch is an iteration.
    inputs : callable
        Checks x, y and the weights of a batch and returns them as `Samples`.

    Attributes
    ----------
    steps : int or None
        Batches of an epoch; None as long as nobody knows.
    first : Samples
        The first batch that came.
    rows : int
        Of that batch.
    has_length : bool
        Whether it is known how many steps an epoch has.
    """

    first: Samples

    def __init__(self, given: Any, steps: int | None, inputs: Callable[..., Samples]) -> None:
        if isinstance(given, (str, bytes, Mapping, np.ndarray)) or not isinstance(given, Iterable):
            raise TypeError(
                "fit expects x and y, or x as an iterable of batches (x, y) or (x, y, sample_weight); got x of type "
                f"{type(given).__name__} without y"
            )
        self.steps = None if steps is None else check.integer(steps, "fit", "steps_per_epoch")
        self._joined = steps is not None
        if steps is None and isinstance(given, Sized):
            self.steps = len(given) or None
        self._given, self._inputs = given, inputs
        self._iterator: Iterator[Any] | None = iter(given)
        self._begins_anew = self._iterator is not given
        self._ahead: list[Any] = [next(self._iterator, END)]
        if self._ahead[0] is END:
            raise ValueError("fit expects x to give at least one batch, got none")
        self.first = self._checked(self._ahead[0])
        self.rows = len(self.first.x)

    @property
    def has_length(self) -> bool:  # noqa: D102
        return self.steps is not None

    def check(self, model: Sequential, rows: int, batch_size: int) -> None:
        """Raise ValueError if the first batch has too few rows for a layer that couples them."""
        model._check_batch(rows, "fit")

    def begin(self, run: RunState | None, rows: int, batch_size: int) -> tuple[Layout, int, bool]:
        """Go to the batch with which a run goes on, or one begins.

        Return rows, batch size and order as `RunState` has them: each batch counts as a row, as far as they are known.

        ValueError if that would be in the middle of an iteration that cannot begin anew.
        """
        if run is None:
            return Layout(self.steps or 1), 1, False
        if self.steps is None and run.history.epochs:
            self.steps = run.rows
        if self.steps not in (None, run.rows):
            said = f"{run.rows} batches in every epoch, as in the run that it resumes"
            raise ValueError(f"fit expects x to give {said}, got {self.steps}")
        if run.done and not self._begins_anew:
            raise ValueError(
                f"fit cannot go on after {run.done} batches of an epoch with an iterator, which does not begin anew: "
                "pass an iterable that does, such as a list or a DataLoader"
            )
        if self._begins_anew:
            for _ in range(run.step(run.done) if self._joined else run.done):
                self._next()
        return Layout(self.steps or run.rows), 1, False

    def rows_of(self, run: RunState) -> int:
        """Return how many rows an epoch has, as far as is known."""
        return run.steps * len(self.first.x)

    def _epoch(self, done: int) -> Iterator[Samples]:
        """Yield the batches of an epoch that are left after so many; ValueError if they are not as many as expected."""
        while done != self.steps and (batch := self._next()) is not END:
            yield self._checked(batch)
            done += 1
        more = not self._joined and done == self.steps and self._next() is not END
        if more or done < (self.steps or 1):
            raise ValueError(
                f"fit expects x to give {self.steps or 'some'} batches in every epoch, got {'more' if more else done}"
                + ("" if self._begins_anew else "; an iterator gives its batches once: pass steps_per_epoch")
            )
        self.steps = done

    def _next(self) -> Any:
        """Return the next batch as it comes; END where an epoch ends with its iteration."""
        if self._ahead:
            return self._ahead.pop()
        if self._iterator is None:
            self._iterator = iter(self._given)
        batch = next(self._iterator, END)
        if batch is END and self._begins_anew:
            self._iterator = iter(self._given) if self._joined else None
            batch = next(self._iterator, END) if self._iterator is not None else END
        return batch

    def _checked(self, batch: Any) -> Samples:
        """Return a batch as samples; an error if it is none, or has targets of another kind than the first."""
        return samples_like(batch, self._inputs, getattr(self, "first", None), "fit expects x to give batches")

    def make_epoch(
        self, trainer: Resumable, run: RunState, listeners: Listeners, progress: Progress
    ) -> dict[str, float]:
        """Make the steps that are left of an epoch, one a batch; return loss and accuracy over all of it."""
        run.begin_epoch()
        done, rows = run.done, run.done * len(self.first.x)
        for samples in self._epoch(done):
            if done == run.steps:
                run.add_step()
            batch, record = len(samples.x), np.full((RECORD_ROWS, 1), NOT_MADE)
            trainer.model._check_batch(batch, "fit")
            trainer._prepare(batch, isinstance(samples.x, StoredRows))
            tasks, began, kind = trainer._begin_step(batch)
            with held_back():  # a step that is made is one of the run
                wrong = trainer._run(samples, Part(ONE, batch, IN_PLACE, record, finite=True), tasks)
                run.record[:, done] = record[:, 0]
            if kind is not None:
                kind.end(tasks, began, batch)
            if wrong >= 0:
                raise ValueError(
                    f"fit expects targets as they were: row {wrong} is {samples.targets.labels[wrong]} now"
                )
            if math.isnan(record[RECORD_DIVISOR, 0]):
                all_rows = np.arange(batch)
                raise not_finite(trainer, samples, all_rows, all_rows, run, listeners)
            done, rows = done + 1, rows + batch
            progress.advance(min(rows, self.rows_of(run)), float(record[RECORD_LOSS, 0]))
            listeners.tell_of_steps(done, call=True)
        return figures_of_epoch(trainer, self.first.targets, run, listeners)


def refuse(what: str, **given: Any) -> None:
    """Raise ValueError for arguments of `fit` that an iterable of batches, or blocks, leave nothing to."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"fit expects no {name} with {what}, got {value!r}")
