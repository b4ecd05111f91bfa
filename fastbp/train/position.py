"""Where a run of `Trainer.fit` is: all that it takes to go on from there, to the same bits."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base.interrupts import held_back
from fastbp.kernels.run.frame import RECORD_COUNTED, RECORD_DIVISOR, RECORD_HITS, RECORD_LOSS, RECORD_ROWS
from fastbp.train.callbacks import Callback
from fastbp.train.history import History

if TYPE_CHECKING:
    from fastbp.train.trainer import Trainer

Array = NDArray[Any]
# The divisor of a step that is not made yet, NaN. Kernels write none, as weights are finite, so the record itself says
# how far an epoch is, whenever an exception came.
NOT_MADE = math.nan


@dataclass(eq=False)
class Listener:
    """A callback of a run; between two calls of `fit`, what it left: its class and its state."""

    kind: str
    callback: Callback | None = None
    state: dict[str, Any] = field(default_factory=dict)
    told: bool = True  # of the end of the last epoch
    step: int = 0  # of which it was told last, counted from the run's first
    every: int | None = None

    def current_state(self) -> dict[str, Any]:
        """Return the callback's state, now or as it was left."""
        return self.state if self.callback is None else self.callback.state_dict()

    def left_behind(self) -> "Listener":
        """Return what is left when the callback goes back to the caller."""
        return Listener(self.kind, None, self.current_state(), self.told, self.step)

    def __reduce__(self) -> Any:
        one = self.left_behind()  # a copy of the run has no callbacks: a resumed one brings them
        return Listener, (one.kind, None, one.state, one.told, one.step)


@dataclass(eq=False)
class Position:
    """Where a run is."""

    rows: int
    batch_size: int
    shuffle: bool
    generator: np.random.Generator
    history: History = field(default_factory=History)
    stopped: bool = False  # by a callback
    order: Array = field(default_factory=lambda: np.empty(0, np.int64))  # of the running epoch; empty between epochs
    record: Array = field(default_factory=lambda: np.empty((RECORD_ROWS, 0)))  # of its steps
    listeners: list[Listener] = field(default_factory=list)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.record = np.array(self.record)  # kernels write to it, and that of a state may be read-only

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.rows // self.batch_size)

    @property
    def step(self) -> int:
        """Steps of the run that are made."""
        return self.history.epochs * self.steps + self.done

    @property
    def done(self) -> int:
        """Steps of the running epoch that are made."""
        return int(np.count_nonzero(~np.isnan(self.record[RECORD_DIVISOR])))

    def check(self, rows: int, batch_size: int, shuffle: bool) -> None:
        """Raise ValueError if these are not the arguments of the run."""
        for name, was, given in (
            ("rows", self.rows, rows),
            ("batch_size", self.batch_size, batch_size),
            ("shuffle", self.shuffle, shuffle),
        ):
            if was != given:
                raise ValueError(f"fit expects {name} {was} as in the run that it resumes, got {given}")

    def begin_epoch(self) -> None:
        """Draw the order of the next epoch, if none is running."""
        if not self.order.size:
            with held_back():
                order = self.generator.permutation(self.rows) if self.shuffle else np.arange(self.rows)
                self.order = order.astype(np.int64, copy=False)
                self.record = np.full((RECORD_ROWS, self.steps), NOT_MADE)

    def end_epoch(self, figures: Mapping[str, float]) -> None:
        """Note the figures of the epoch, of which callbacks are to be told."""
        self.history.append(figures)
        self.order, self.record = self.order[:0], self.record[:, :0]
        for listener in self.listeners:
            listener.told = False

    def figures(self, reduction: str, labelled: bool) -> dict[str, float]:
        """Return loss and accuracy over the running epoch."""
        value, divisor = self.record[RECORD_LOSS], self.record[RECORD_DIVISOR]
        counted = divisor != 0  # a batch in which no row counts has no mean
        if reduction == "mean":
            with np.errstate(divide="ignore", invalid="ignore"):  # no row counts, or class weights cancel
                figures = {"loss": float((value * divisor)[counted].sum() / divisor.sum())}
        else:
            figures = {"loss": float(value.sum())}
        if labelled:
            right, rows = self.record[RECORD_HITS].sum(), self.record[RECORD_COUNTED].sum()
            figures["accuracy"] = float(right / rows) if rows else math.nan
        return figures

    def successors(self, callbacks: Iterable[Callback]) -> list[Listener]:
        """Return a listener for each callback, in the place of one of its class that the run had.

        A run may go on with more callbacks or fewer, but the state of one that is missing would be lost: ValueError.
        """
        left = list(self.listeners)
        result = []
        for callback in callbacks:
            every = None if callback.every is None else int(callback.every)  # NumPy's integers overflow
            new = Listener(type(callback).__name__, callback, step=self.step, every=every)
            before = next((listener for listener in left if listener.kind == new.kind), None)
            if before is not None:
                left.remove(before)
                new.state, new.told, new.step = before.current_state(), before.told, before.step
            result.append(new)
        if lost := [listener.kind for listener in left if listener.current_state()]:
            raise ValueError(f"fit expects callbacks to have {', '.join(lost)} as in the run that it resumes")
        return result

    def left(self, done: int) -> int:
        """Return how many steps a compiled call may make: to a multiple of some `every`, or the epoch's end."""
        step = self.history.epochs * self.steps + done
        waiting = [one.every - step % one.every for one in self.listeners if one.every is not None]
        return min(self.steps - done, *waiting) if waiting else self.steps - done

    def tell_of_steps(self, trainer: "Trainer", done: int, call: bool) -> None:
        """Tell callbacks with an `every` of its multiples, once, and the others of the end of a compiled `call`."""
        step = self.history.epochs * self.steps + done
        for listener in self.listeners:
            due = call if listener.every is None else step % listener.every == 0 and step != listener.step
            if due and listener.callback is not None:
                before = listener.step
                try:
                    listener.step = step  # before, because a callback may save a checkpoint
                    listener.callback.on_steps_end(trainer)
                except BaseException:
                    listener.step = before
                    raise

    def tell_of_epoch(self, trainer: "Trainer") -> None:
        """Tell the callbacks that were not told yet of the end of an epoch; one that raises will be told again."""
        epoch = self.history.epochs
        for listener in self.listeners:
            if not listener.told and listener.callback is not None:
                figures = {name: column[-1] for name, column in self.history.items()}
                try:
                    listener.told = True  # before, because a callback may save a checkpoint
                    self.stopped |= bool(listener.callback.on_epoch_end(trainer, epoch, figures))
                except BaseException:
                    listener.told = False
                    raise

    def kept(self) -> list[str]:
        """Return what the callbacks have to go back to, a sentence each."""
        return [text for one in self.listeners if one.callback is not None for text in one.callback._kept()]

    def freeze(self) -> None:
        """Keep the callbacks' states instead of the callbacks, which belong to the caller."""
        self.listeners = [one.left_behind() for one in self.listeners]
