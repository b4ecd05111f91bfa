"""What compiled steps find prepared: plan, workspace and numbers, in arrays whose addresses kernels are given."""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check, memory
from fastbp._base.inputs import Input
from fastbp._base.interrupts import held_back
from fastbp._base.schedule import Schedule
from fastbp._base.sparse import StoredRows
from fastbp.kernels import optimizers as updates
from fastbp.kernels.compile.expected import expect
from fastbp.kernels.ops.fill import fill, fill_update
from fastbp.kernels.run.frame import (
    CODES,
    COUNTER,
    NUMBERED,
    OPTIMIZER,
    RECORD_ROWS,
    ROWS_OF_LOSS,
    SEED,
    SETTINGS_SIZE,
    STORED,
    TARGETS_INPUT,
    X_INPUT,
    Frame,
)
from fastbp.kernels.run.plan import ATTRIBUTES, SECOND_ATTRIBUTE, SIZE, set_stored
from fastbp.train.groups import group_table
from fastbp.train.needs import needs_of
from fastbp.train.numbers import StepNumbers, places_of_layers, places_of_optimizer
from fastbp.train.optimizers import Optimizer
from fastbp.train.trained import Trained

Array = NDArray[Any]


class Prepared(Trained):
    """A trainer's arrays as the kernels read them. They are made when they are needed, and are in no copy."""

    def __init__(self, *parts: Any, rng: Any = None) -> None:
        super().__init__(*parts)
        self._class_weight = np.empty(0, self._model.dtype)
        self._settings = np.zeros(SETTINGS_SIZE, np.int64)
        self._draw_seed(check.generator(rng, "Trainer"))
        self._record = np.zeros((RECORD_ROWS, 1))
        self._numbers: dict[str, Any] = {}  # the optimizer's, as the kernels have them
        self._varying: StepNumbers | None = None  # numbers that schedules say
        self._usual: np.dtype[Any] | None = None  # of the targets of the last `step`, if the settings are its own
        # Rows of a batch that there is room for. Before the first step there is not even a plan: to make it, the CPU is
        # asked what it can do, and that takes Numba.
        self._room = -1
        self._sparse = False  # whether that plan is for a sparse x
        self._freezes = 0  # the model's, see `Stack`, when that plan was made

    def _draw_seed(self, generator: np.random.Generator) -> None:
        """Take the seed of Dropout from a generator, if there is any in the model."""
        if self._model._drawing:
            self._settings[SEED] = generator.integers(np.iinfo(np.int64).max)

    def _set_draws(self, seed: int, steps: int) -> None:
        """Go on with random numbers of a seed, of which so many steps have used theirs."""
        self._settings[[SEED, COUNTER]] = seed, steps

    def _reserve(self, batch: int, sparse: bool) -> None:
        """Make room for batches of this many rows, sparse or dense ones."""
        plan, layout = self.model._plan(batch, train=True, target_width=self._target_width, sparse=sparse)
        # All is made before any replaces the old: a MemoryError leaves the trainer as it was.
        buffers = (
            memory.zeros(int(layout[SIZE]), self.model.dtype),
            np.zeros((ROWS_OF_LOSS, batch)),
            np.empty(batch, np.int64),
        )
        places = places_of_layers(self.model._rows(), plan)
        with held_back():
            self._plan, self._layout = plan, layout
            self._work, self._rows, self._labels = buffers
            self._layer_places = places
            self._filled = False
            self._plan_to_batch: Array | None = None
            self._room, self._sparse, self._usual = batch, sparse, None
            self._freezes = self._model._freezes[0]
            self._bind()

    def _bind(self) -> None:
        """Give the kernels the addresses of all that stays from step to step."""
        self._frame = Frame(
            self._plan,
            self._layout,
            self._settings,
            self._hyper,
            self._options,
            self.model._params,
            self.model._grads,
            self._state,
            self._work,
            self._rows,
            self._class_weight,
            self._labels,
            self._record,
            self._groups,
        )
        self._addresses = self._frame.addresses()
        if self._model._codes is not None:
            self._addresses[CODES] = self._model._codes.table.ctypes.data
        self._enter_numbers()

    def __getstate__(self) -> dict[str, Any]:
        # Workspace, plan and addresses are not part of the state: a copy makes its own.
        own = (
            "_frame", "_addresses", "_plan", "_layout", "_settings", "_work", "_rows", "_labels", "_room", "_table",
            "_plan_to_batch", "_layer_places",
        )  # fmt: skip
        # A copy that does not know the optimizer's numbers writes them, and finds where its schedules do.
        state = {name: value for name, value in vars(self).items() if name not in own}
        return state | {"_varying": None, "_numbers": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Kernels write to these arrays without a check; a state's may be read-only (joblib's) or another trainer's.
        arrays = {name: np.array(value) for name, value in state.items() if isinstance(value, np.ndarray)}
        vars(self).update(state | arrays)
        self._state = memory.zeros(self._state.size, self._state.dtype)
        self._state[:] = state["_state"]
        self._settings = np.zeros(SETTINGS_SIZE, np.int64)
        self._room = -1

    def _expect(self, loss: int, calls: tuple[str, ...], *given: Array | Input | StoredRows) -> None:
        """Say before the first steps which entries they will call, for the loss of this code: all is compiled at once.

        Of entries that are for labels or for other targets alone, those that do not suit the loss are left out.
        """
        if self._room < 0:
            readers = tuple({each.code for each in given if isinstance(each, Input)})
            expect(needs_of, self, loss, calls, readers, isinstance(given[0], StoredRows))

    def _prepare(self, batch: int, sparse: bool | None = None) -> None:
        """Be ready for batches of so many rows; None: of those that the plan is for already, sparse or dense ones."""
        sparse = self._sparse if sparse is None else sparse
        if batch > self._room or sparse != self._sparse or self._freezes != self._model._freezes[0]:
            self._reserve(max(batch, self._room), sparse)
        if not self._filled:
            fill(self._plan, self._model.dtype, train=True, to_batch=False)
            self._settings[OPTIMIZER] = self._code
            clips = self._hyper[[updates.CLIP_VALUE, updates.CLIP_NORM]].any()
            averages = self.ema is not None
            fill_update(self._settings, self._model.dtype, clips=bool(clips), averages=averages)
            self._filled, self._numbers = True, {}
        optimizer = self._optimizer
        if optimizer.code != self._code or not self._known(optimizer):
            self._check_optimizer()
            if optimizer.groups != self._numbers.get("groups"):
                self._group(optimizer)
            self._set_numbers(optimizer)
            # A list may change without becoming another: it is never taken for the one before. So may groups.
            known = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(optimizer).items()}
            self._numbers = known | {"groups": copy.deepcopy(optimizer.groups)}

    def _group(self, optimizer: Optimizer) -> None:
        """Take the optimizer's groups of parameters."""
        table = group_table(optimizer.groups, self._model, type(optimizer).__name__)
        with held_back():
            self._groups = table
            self._bind()

    def _set_numbers(self, optimizer: Optimizer) -> None:
        """Write the optimizer's numbers for the kernels, and say to them where those go that schedules say."""
        numbers: Any = optimizer.numbers()
        places = self._layer_places
        if any([isinstance(number, Schedule) for number in numbers]):  # a list is quicker
            places = [*places_of_optimizer(optimizer, numbers, self._hyper), *places]
            numbers = tuple(0.0 if isinstance(number, Schedule) else number for number in numbers)
        self._numbers = {}
        self._hyper[: len(numbers)] = numbers
        self._varying = StepNumbers(places) if places else None
        self._enter_numbers()

    def _enter_numbers(self) -> None:
        """Say to the kernels where numbers go that schedules say."""
        if self._varying is None:
            self._addresses[NUMBERED] = 0
        else:
            self._varying.enter(self._addresses)

    def _known(self, optimizer: Optimizer) -> bool:
        """Whether the kernels have the optimizer's numbers."""
        try:
            return vars(optimizer) == self._numbers
        except ValueError:  # an array among a subclass's own attributes
            return False

    def _check_optimizer(self) -> None:
        """Raise an error if the optimizer is of another kind than before, or a number is out of range."""
        if self._optimizer.code != self._code:
            raise ValueError("Trainer expects the kind of optimizer that it began with; make a new Trainer for another")
        self._optimizer.check()

    def _to_batch(self) -> Array:
        """Return the plan with all of the way back, down to the gradient of x."""
        if self._plan_to_batch is None:
            self._plan_to_batch = self._plan.copy()
            fill(self._plan_to_batch, self._model.dtype, train=True)
        if self._layer_places:
            own = [ATTRIBUTES, SECOND_ATTRIBUTE]
            self._plan_to_batch[:, own] = self._plan[:, own]
        return self._plan_to_batch

    def _given_x(self, x: Array | Input | StoredRows, batch: int) -> tuple[Array, Array]:
        """Return what a call takes of x: the frame's addresses, with that of an input, and an array.

        The table of stored rows stays until the next call of this.
        """
        addresses = self._addresses
        if isinstance(x, StoredRows):
            set_stored(self._plan, x.stored, len(x), batch)
            self._table, addresses = x.table(), addresses.copy()
            addresses[STORED], x = self._table.ctypes.data, x.stand_in
        elif isinstance(x, Input):
            addresses = addresses.copy()
            addresses[X_INPUT], x = x.address, x.stand_in
        return addresses, x

    def _given(self, x: Array | Input | StoredRows, values: Array | Input, batch: int) -> tuple[Array, Array, Array]:
        """Return `_given_x`, with the address of targets that are an input, and an array for them."""
        addresses, x = self._given_x(x, batch)
        if isinstance(values, Input):
            addresses = addresses.copy()
            addresses[TARGETS_INPUT], values = values.address, values.stand_in
        return addresses, x, values
