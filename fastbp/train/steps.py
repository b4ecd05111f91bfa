"""Compiled training steps of one model: how they are called, and into how many tasks each is cut."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base.calls import Calls, OneOrMany
from fastbp._base.inputs import Input
from fastbp._base.interrupts import held_back
from fastbp._base.pace import Pace
from fastbp._base.sparse import StoredRows, spoiled
from fastbp._base.threads import tasks_for
from fastbp.kernels import entries
from fastbp.kernels.ops.fill import fill_loss
from fastbp.kernels.run.frame import LOSS, NUMBERS, RUN_LOSS, TERMS
from fastbp.nn.loss import Targets
from fastbp.train.prepared import Prepared
from fastbp.train.samples import Part, Samples

Array = NDArray[Any]


class Steps(Prepared):
    """What a `Trainer` is below its public methods. All arguments are checked."""

    def __init__(self, *parts: Any, rng: Any = None) -> None:
        super().__init__(*parts, rng=rng)
        # Floating-point operations of a step for one row; the first layer's input needs no gradient.
        self._step_work = 3 * self._model._work - self._model.layers[0]._work
        self._new_paces()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_pace", "_calls", "_updates")
        return {name: value for name, value in super().__getstate__().items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._new_paces()

    def _progress(self) -> tuple[int, int]:
        """Return how many steps the schedules have behind them, and of how many."""
        raise NotImplementedError

    def _new_paces(self) -> None:
        """Forget what has been found out about threads: in long runs, in single steps, and in updates alone."""
        self._pace, self._calls, self._updates = Pace(0, 1), Calls(), Calls()

    def _most_tasks(self, rows: int) -> int:
        """Return into how many tasks to cut a step: each of its two parallel parts has to be worth its tasks."""
        return tasks_for(self._step_work * rows / 2)

    def _begin_step(self, rows: int) -> tuple[int, float, OneOrMany | None]:
        """Return what `Calls.begin` does, for a step that is made by itself."""
        return self._calls.begin(rows, self._step_work * rows / 2)

    def _paced(self, rows: int, tasks: int) -> Pace:
        """Return the pace of steps of this size: the one of the steps before, if they had it."""
        if self._pace.rows != rows or self._pace.tasks != tasks:
            self._pace = Pace(rows, tasks)
        return self._pace

    def _run(self, samples: Samples, part: Part, tasks: int) -> int:
        """Run compiled steps; the record says which were made.

        Return -1, or the row whose label is wrong, at which they end.
        """
        self._begin(samples.targets, part, tasks)
        targets, order = samples.targets, part.order
        addresses, x, values = self._given(samples.x, targets.values, part.batch)
        if addresses is not self._addresses and not order.size:  # what is read needs an order, even one in place
            order = np.arange(part.batch)
        wrong: int = entries.train_steps(addresses, x, targets.labels, values, samples.weight, order, part.record)
        if wrong < -1:
            raise self._wrong_x(samples.x, -2 - wrong)
        return wrong

    def _wrong_x(self, x: Array | Input | StoredRows, row: int) -> ValueError:
        """Return the error about a row of x that a step has found wrong."""
        if self._model._codes is None or isinstance(x, StoredRows):
            return spoiled("Trainer", "x")
        return self._model._codes.wrong_row(x, row, "Trainer")

    def _begin(self, targets: Targets, part: Part, tasks: int) -> None:
        """Write the settings of the next compiled steps; `step` takes its short way only after a whole one."""
        self._usual = None
        if not np.array_equal(targets.class_weight, self._class_weight):
            with held_back():
                self._class_weight = targets.class_weight
                self._bind()
        steps = part.steps
        if self._varying is not None:
            self._addresses[NUMBERS] = self._varying.address(*self._progress(), len(steps))
        if targets.code != self._settings[LOSS]:
            self._settings[RUN_LOSS] = 0  # until the other loss is there
        self._settings[:TERMS] = targets.code, self._code, part.batch, steps.start, steps.stop, tasks, part.finite
        if not self._settings[RUN_LOSS]:
            fill_loss(self._settings, self._model._outputs, self._model.dtype, members=self._model.members)
