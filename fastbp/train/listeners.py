"""The callbacks of a run: which are due when, and what each was told."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp._base.interrupts import held_back
from fastbp.train.callbacks import Callback
from fastbp.train.history import History
from fastbp.train.state import CallbackState, RunState
from fastbp.train.view import TrainerView


@dataclass(eq=False)
class Listener:
    """A callback, its `every` as it was when the run began, and its part of the run's state."""

    callback: Callback
    every: int | None
    state: CallbackState


class Listeners:
    """The callbacks of a run, each in the place of one of its class that the run had before.

    A run may go on with more callbacks or fewer, but the state of one that is missing would be lost: ValueError.
    """

    def __init__(self, trainer: TrainerView, callbacks: Iterable[Callback], run: RunState) -> None:
        self._trainer, self._run = trainer, run
        self._listeners: list[Listener] = []
        left = list(run.callbacks)
        step = run.step(run.done)
        for callback in callbacks:
            kind = type(callback).__name__
            before = next((state for state in left if state.kind == kind), None)
            if before is None:
                state = CallbackState(kind, step=step)
            else:
                left.remove(before)
                state = CallbackState(kind, before.values, before.told, before.step)
            every = None if callback.every is None else int(callback.every)  # NumPy's integers overflow
            self._listeners.append(Listener(callback, every, state))
        if lost := [state.kind for state in left if state.values]:
            raise ValueError(f"fit expects callbacks to have {', '.join(lost)} as in the run that it resumes")

    def begin(self) -> None:
        """Call `on_fit_begin` of all, load what an earlier part of the run kept, and enter all in the run."""
        for listener in self._listeners:
            listener.callback.on_fit_begin(self._trainer)
        for listener in self._listeners:
            if listener.state.values:
                listener.callback.load_state_dict(listener.state.values)
        self._run.callbacks = [listener.state for listener in self._listeners]

    def end(self) -> None:
        """Call `on_fit_end` of all."""
        for listener in self._listeners:
            listener.callback.on_fit_end(self._trainer)

    def collect(self) -> None:
        """Write what each callback remembers now into the run's state."""
        values: list[dict[str, Any]] = [listener.callback.state_dict() for listener in self._listeners]
        for listener, one in zip(self._listeners, values, strict=True):
            listener.state.values = one

    def steps_until_due(self, done: int) -> int:
        """Return how many steps a compiled call may make: to a multiple of some `every`, or the epoch's end."""
        step, left = self._run.step(done), self._run.steps - done
        waiting = [one.every - step % one.every for one in self._listeners if one.every is not None]
        return min(left, *waiting) if waiting else left

    def tell_of_steps(self, done: int, call: bool) -> None:
        """Tell callbacks with an `every` of its multiples, once, and the others of the end of a compiled `call`."""
        step = self._run.step(done)
        for listener in self._listeners:
            state = listener.state
            if call if listener.every is None else step % listener.every == 0 and step != state.step:
                before = state.step
                try:
                    state.step = step  # before the call, because the callback may save a checkpoint
                    listener.callback.on_steps_end(self._trainer)
                except BaseException:
                    state.step = before
                    raise

    def tell_of_epoch(self) -> None:
        """Tell the callbacks that were not told yet of the end of an epoch; one that raises will be told again."""
        run = self._run
        for listener in self._listeners:
            if not listener.state.told:
                figures = {name: column[-1] for name, column in run.history.items()}
                try:
                    listener.state.told = True  # before the call, because the callback may save a checkpoint
                    stop = bool(listener.callback.on_epoch_end(self._trainer, run.history.epochs, figures))
                    added = _added(figures, run.history, listener.state.kind)
                    with held_back():
                        run.stopped |= stop
                        for history in (run.history, self._trainer.history):
                            history._add(added)
                except BaseException:
                    listener.state.told = False
                    raise

    def fallbacks(self) -> list[str]:
        """Return what the callbacks have to go back to when the run fails, a sentence each."""
        return [text for listener in self._listeners for text in listener.callback._kept()]


def _added(figures: Mapping[str, Any], history: History, who: str) -> dict[str, float]:
    """Return the figures of the last epoch that a callback added: those that it does not have, or that are NaN."""
    added = {}
    for name, value in figures.items():
        if name not in history or math.isnan(history[name][-1]):
            if not isinstance(name, str) or np.ndim(value) or np.asarray(value).dtype.kind not in "fiub":
                raise TypeError(f"{who} should add figures that are numbers by name, got {name!r}: {value!r}")
            added[name] = float(value)
    return added
