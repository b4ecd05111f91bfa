"""A trainer's state as data: what a checkpoint writes and reads, and what a run needs to go on to the same bits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base.interrupts import held_back
from fastbp.kernels.run.frame import RECORD_COUNTED, RECORD_DIVISOR, RECORD_HITS, RECORD_LOSS, RECORD_ROWS
from fastbp.nn.loss import Loss
from fastbp.nn.sequential import Sequential
from fastbp.train.history import History
from fastbp.train.optimizers import Optimizer
from fastbp.train.order import NONE, Layout, Order, draw

Array = NDArray[Any]
# The divisor, in the record, of a step that is not made yet. The kernels write finite divisors only, so the record
# itself says how far an epoch is, at whatever moment an exception came.
NOT_MADE = math.nan
_NO_STEPS = np.empty((RECORD_ROWS, 0))


@dataclass(eq=False)
class CallbackState:
    """What a run keeps of one callback.

    kind : name of its class
    values : its `state_dict`, as of the last time it was asked
    told : whether it was told of the end of the last epoch
    step : the last step it was told of, if it has an `every`, counted from the run's first
    """

    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    told: bool = True
    step: int = 0


@dataclass(eq=False)
class RunState:
    """How far a run of `Trainer.fit` is.

    rows, batch_size, shuffle : arguments of the run, which a resumed one has to repeat; on an iterable of batches each
        of them counts as one row
    generator : draws the order of each epoch
    split, split_seed : the part of the rows that is held out, if any, and what drew them
    history : the figures of its epochs
    stopped : whether a callback stopped it
    order : (units,), the rows or blocks of the running epoch in their order, see `order.py`; empty between epochs
    record : (RECORD_ROWS, steps), what the kernels note of each step of that epoch
    callbacks : what is kept of each callback
    chosen : (rows,), their numbers in the data where others are held out, else empty; no checkpoint has it
    drop_last : whether an epoch leaves out the rows after its last whole batch; an argument like those above
    sizes, window : of blocks, as in `Layout`; the data of a resumed run has to have the same
    order_seed : of the running epoch's windows, as in `Order`
    """

    rows: int
    batch_size: int
    shuffle: bool
    generator: np.random.Generator
    split: float | None = None
    split_seed: int = 0
    history: History = field(default_factory=History)
    stopped: bool = False
    order: Array = field(default_factory=lambda: NONE)
    record: Array = field(default_factory=lambda: _NO_STEPS)
    callbacks: list[CallbackState] = field(default_factory=list)
    chosen: Array = field(default_factory=lambda: NONE)
    drop_last: bool = False
    sizes: Array = field(default_factory=lambda: NONE)
    window: int = 0
    order_seed: int = -1

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # Kernels take arrays that may be written to, and those of a pickle may be read-only.
        self.order, self.record = np.array(self.order), np.array(self.record)

    @property
    def layout(self) -> Layout:
        """How the rows stand."""
        return Layout(self.rows, self.sizes, self.window)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.rows // self.batch_size if self.drop_last else -(-self.rows // self.batch_size)

    @property
    def done(self) -> int:
        """Steps of the running epoch that are made."""
        divisors = self.record[RECORD_DIVISOR]
        return int(np.count_nonzero(~np.isnan(divisors))) if divisors.size else 0

    def step(self, done: int) -> int:
        """Return how many steps of the run are made, with `done` in the running epoch."""
        return self.history.epochs * self.steps + done

    def check(self, layout: Layout, batch_size: int, shuffle: bool, split: float | None, drop_last: bool) -> None:
        """Raise ValueError if these are not the arguments of the run."""
        names = ("validation_split", "rows", "batch_size", "shuffle", "drop_last", "blocks", "window")
        run = self.split, self.rows, self.batch_size, self.shuffle, self.drop_last, len(self.sizes), self.window
        asked = split, layout.rows, batch_size, shuffle, drop_last, len(layout.sizes), layout.window
        if run != asked:
            name, was, given = next(each for each in zip(names, run, asked, strict=True) if each[1] != each[2])
            raise ValueError(f"fit expects {name} {was} as in the run that it resumes, got {given}")
        if layout.sizes.size and (others := np.flatnonzero(self.sizes != layout.sizes)).size:
            block = others[0]
            raise ValueError(
                f"fit expects block {block} of {self.sizes[block]} rows as in the run that it resumes, got "
                f"{layout.sizes[block]}"
            )

    def begin_epoch(self) -> None:
        """Draw the order of the next epoch, if none is running."""
        if not self.order.size:
            with held_back():
                self.order, self.order_seed = draw(self.layout, self.generator if self.shuffle else None)
                self.record = np.full((RECORD_ROWS, self.steps), NOT_MADE)

    def add_step(self) -> None:
        """Make the running epoch longer by a step of one row, where nobody knows how long it will be."""
        with held_back():
            self.rows += 1
            self.order = np.arange(self.rows)
            self.record = np.column_stack([self.record, np.full(RECORD_ROWS, NOT_MADE)])

    def drawn(self) -> Order:
        """Return what was drawn of the running epoch's order."""
        return Order(self.order, self.order_seed)

    def data_order(self) -> Array:
        """Return the rows of the running epoch in their order, by their numbers among those of the data."""
        return self.chosen[self.order] if self.chosen.size else self.order

    def end_epoch(self, figures: Mapping[str, float]) -> None:
        """Add the figures of the epoch to the history; no callback has been told of them yet."""
        self.history.append(figures)
        self.order, self.record = self.order[:0], self.record[:, :0]
        for callback in self.callbacks:
            callback.told = False

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


@dataclass(eq=False)
class TrainerState:
    """All of a trainer that a checkpoint holds.

    model, loss, optimizer : as in `Trainer`
    clips, ema : its `clip_norm` and `clip_value`, and its `ema`
    optimizer_state : the optimizer's arrays, as long as the parameters each, one after the other, and their averages
    powers : what the steps have made of the optimizer's numbers, for the next one (CARRIED of ``hyper``)
    seed : of Dropout
    steps : updates made, without those of an epoch that has not ended
    history : of all epochs
    run : the last run of `fit`, if there was one
    total_steps : as in `Trainer`
    """

    model: Sequential
    loss: Loss
    optimizer: Optimizer
    clips: tuple[float | None, float | None]
    ema: float | None
    optimizer_state: Array
    powers: Array
    seed: int
    steps: int
    history: History
    run: RunState | None
    total_steps: int | None
