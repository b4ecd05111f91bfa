"""Compiled training steps of one model: the arrays they need, and the calls."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp._base import check, memory
from fastbp._base.calls import Calls, OneOrMany
from fastbp._base.guard import Guarded, refuse_overrides
from fastbp._base.inputs import Input
from fastbp._base.interrupts import held_back
from fastbp._base.pace import Pace
from fastbp._base.schedule import Schedule
from fastbp._base.sparse import StoredRows, spoiled
from fastbp._base.threads import get_num_threads, tasks_for
from fastbp.kernels import entries, losses
from fastbp.kernels import optimizers as updates
from fastbp.kernels.code import Code
from fastbp.kernels.compile.expected import Needed, expect
from fastbp.kernels.losses.functions import op_of_loss, value_op_of_loss
from fastbp.kernels.ops.fill import CLIP, codes_of, fill, fill_loss, fill_update
from fastbp.kernels.optimizers.functions import update
from fastbp.kernels.run.frame import (
    CODES,
    COUNTER,
    LOSS,
    NUMBERED,
    NUMBERS,
    OPTIMIZER,
    RECORD_ROWS,
    RUN_LOSS,
    SEED,
    SETTINGS_SIZE,
    STORED,
    TARGETS_INPUT,
    TASKS,
    TERMS,
    X_INPUT,
    Frame,
)
from fastbp.kernels.run.plan import ATTRIBUTES, SECOND_ATTRIBUTE, SIZE, set_stored
from fastbp.nn.loss import Loss, Targets
from fastbp.nn.sequential import Sequential
from fastbp.train.alone import Alone
from fastbp.train.averages import evaluated
from fastbp.train.groups import group_table
from fastbp.train.numbers import StepNumbers, places_of_layers, places_of_optimizer
from fastbp.train.optimizers import Optimizer

Array = NDArray[Any]
INT64 = np.dtype(np.int64)


# Entries that make steps: one after another, and a first one, which others like it may follow
RUN, STEP = ("train_steps",), ("train_steps", "train_on_labels", "train_on_targets")
VALIDATED = (*RUN, "predict", "loss_of_rows")
_BY_HAND = ("forward_batch", "backward_batch", "update_parameters")  # for losses that the kernels have not


def needs_of(
    steps: "Steps", code: int, calls: tuple[str, ...], readers: tuple[Code, ...] = (), sparse: bool = False
) -> Needed:
    """Return what the first steps take, see `Steps._expect`."""
    model, loss = steps.model, losses.BY_CODE.get(code)
    rows = model._rows_for(sparse=sparse, train=True)
    codes = [*codes_of(rows, train=True), update(updates.BY_CODE[steps._code], steps.ema is not None), *readers]
    if loss is None:
        calls = (*_BY_HAND, "read_rows") if readers else _BY_HAND
    else:
        codes.append(op_of_loss(loss))
        with_labels, without = ("first_wrong_label", "train_on_labels"), ("train_on_targets",)
        others = without if loss.labelled else with_labels
        calls = tuple(name for name in (*with_labels[:1], *calls) if name not in others)
        if "loss_of_rows" in calls:
            codes.append(value_op_of_loss(loss))
    if "predict" in calls:
        codes += codes_of(model._rows_for(sparse=sparse, train=False), train=False)
        calls = tuple("predict_sparse" if sparse and name == "predict" else name for name in calls)
    if model._codes is not None:
        calls = (*calls, "first_wrong_code")
    if steps.clip_norm or steps.clip_value:
        codes.append(CLIP)
    return Needed(codes, calls, model.dtype, get_num_threads())


class Samples(NamedTuple):
    """What a trainer trains on, checked.

    x : (samples, in_features), an array, an input, or stored rows
    targets : of each
    weight : (samples,), how much each counts; empty where all count the same
    """

    x: Array | Input | StoredRows
    targets: Targets
    weight: Array


class Part(NamedTuple):
    """Some steps of an epoch.

    steps : their numbers in the epoch
    batch : rows of a step
    order : (samples,), the row numbers in their order; empty for that in which they stand
    record : (RECORD_ROWS, steps of the epoch), what is noted of each step
    finite : whether they end before one whose loss is not finite
    """

    steps: range
    batch: int
    order: Array
    record: Array
    finite: bool = False


class Steps(Guarded):
    """What a `Trainer` is below its public methods. All arguments are checked."""

    _fewest_rows: int = 1  # of a batch

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        optimizer: Optimizer,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema: float | None = None,
        rng: Any = None,
        total_steps: int | None = None,
    ) -> None:
        self._model, self._loss, self._optimizer = model, loss, optimizer
        self._fewest_rows = model._fewest_rows
        self._target_width = loss.target_width(model.out_features)
        self._code = optimizer.code
        dtype, size = model.dtype, model._params.size
        arrays = updates.STATE_ARRAYS[self._code]
        self._state = memory.zeros((arrays + (ema is not None)) * size, dtype)
        if begins := optimizer.numbers()[updates.INITIAL]:
            self._state[: arrays * size] = begins
        if ema is not None:  # the averages are the last array
            self._state[arrays * size :] = model._params
        self._hyper = np.zeros(updates.HYPER_SIZE)
        self._hyper[[updates.FIRST_POWER, updates.SECOND_POWER, updates.MOMENTUM_POWER]] = 1.0
        self._hyper[[updates.CLIP_VALUE, updates.CLIP_NORM]] = clip_value or 0.0, clip_norm or 0.0
        self._hyper[updates.AVERAGING] = ema or 0.0
        self._groups = group_table(optimizer.groups, model, type(optimizer).__name__)
        self._options = loss.options()
        self._class_weight = np.empty(0, dtype)
        self._settings = np.zeros(SETTINGS_SIZE, np.int64)
        generator = check.generator(rng, "Trainer")
        if model._drawing:
            self._draw_seed(generator)
        self._record = np.zeros((RECORD_ROWS, 1))
        self._numbers: dict[str, Any] = {}  # the optimizer's, as the kernels have them
        self._total_steps = total_steps
        self._varying: StepNumbers | None = None  # numbers that schedules say
        self._usual: np.dtype[Any] | None = None  # of the targets of the last `step`, if the settings are its own
        # Floating-point operations of a step for one row; the first layer's input needs no gradient.
        self._step_work = 3 * model._work - model.layers[0]._work
        self._alone = Alone()
        self._new_paces()
        # Rows of a batch that there is room for. Before the first step there is not even a plan: to make it, the CPU is
        # asked what it can do, and that takes Numba.
        self._room = -1
        self._sparse = False  # whether that plan is for a sparse x
        self._freezes = 0  # the model's, see `Stack`, when that plan was made

    @property
    def model(self) -> Sequential:
        """The model that is trained; another one needs a trainer of its own."""
        return self._model

    @property
    def loss(self) -> Loss:
        """The loss; another one needs a trainer of its own."""
        return self._loss

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer; one of the same kind may take its place between steps."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"Trainer expects optimizer to be an optimizer, got {type(optimizer).__name__}")
        refuse_overrides(optimizer, "Trainer", "an optimizer")
        self._optimizer = optimizer

    @property
    def clip_norm(self) -> float | None:
        """The largest norm of all gradients together that an update takes, or None."""
        return float(self._hyper[updates.CLIP_NORM]) or None

    @property
    def clip_value(self) -> float | None:
        """The largest gradient that an update takes, or None."""
        return float(self._hyper[updates.CLIP_VALUE]) or None

    @property
    def ema(self) -> float | None:
        """What the averages of the parameters keep of themselves in a step, or None where there are none."""
        return float(self._hyper[updates.AVERAGING]) or None

    @property
    def _averages(self) -> Array | None:
        """The averages of the parameters, once there are any."""
        if not self._hyper[updates.AVERAGING] or not self._hyper[updates.STEPS]:
            return None
        return self._state[-self._model._params.size :]

    def _kept(self) -> dict[str, Array]:
        """Return a copy of what is evaluated, by name: for `_bring_back`."""
        return self._model._kept() | {"params": evaluated(self._model, self._averages)}

    def _bring_back(self, kept: Mapping[str, Array]) -> None:
        """Set what `_kept` returned, the averages of the parameters to these where there are any."""
        self._model._bring_back(kept)
        if self._averages is not None:
            self._averages[...] = self._model._params

    @property
    def total_steps(self) -> int | None:
        """How many updates the schedules of this trainer span, or None: those of each `fit`."""
        return self._total_steps

    def _progress(self) -> tuple[int, int]:
        """Return how many steps the schedules have behind them, and of how many."""
        raise NotImplementedError

    def _reserve(self, batch: int, sparse: bool) -> None:
        """Make room for batches of this many rows, sparse or dense ones."""
        plan, layout = self.model._plan(batch, train=True, target_width=self._target_width, sparse=sparse)
        # All is made before any replaces the old: a MemoryError leaves the trainer as it was.
        buffers = memory.zeros(int(layout[SIZE]), self.model.dtype), np.zeros((3, batch)), np.empty(batch, np.int64)
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

    def _draw_seed(self, generator: np.random.Generator) -> None:
        """Take the seed of Dropout from a generator, if there is any in the model."""
        if self._model._drawing:
            self._settings[SEED] = generator.integers(np.iinfo(np.int64).max)

    def _set_draws(self, seed: int, steps: int) -> None:
        """Go on with random numbers of a seed, of which so many steps have used theirs."""
        self._settings[[SEED, COUNTER]] = seed, steps

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
            "_frame", "_addresses", "_plan", "_layout", "_settings", "_work", "_rows", "_labels", "_room", "_pace",
            "_calls", "_updates", "_table", "_plan_to_batch", "_layer_places",
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
        self._new_paces()
        self._settings = np.zeros(SETTINGS_SIZE, np.int64)
        self._room = -1

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
            fill_loss(self._settings, self._model.out_features, self._model.dtype)

    def _as_before(self, x: Any, y: Any) -> bool:
        """Whether a step on x and y needs nothing but the kernel: arrays like those of the step before."""
        try:
            return (
                type(x) is np.ndarray
                and type(y) is np.ndarray
                and y.dtype is self._usual
                and self._freezes == self._model._freezes[0]
                and x.dtype is self._model.dtype
                and x.ndim == 2
                and self._fewest_rows <= len(x) == len(y) <= self._rows.shape[1]
                and x.shape[1] == self._model.in_features
                and (y.ndim == 1 if y.dtype is INT64 else y.shape == (len(x), self._target_width))
                and x.flags.carray
                and y.flags.carray
                # y is read before anything is written
                and (x.base is None or not check.overlaps(x, self._model._params, self._model._grads))
                and vars(self._optimizer) == self._numbers
                and self._optimizer.code == self._code
            )
        except ValueError:  # an array among the attributes of an optimizer's subclass
            return False

    def _quick_step(self, x: Any, y: Any) -> bool:
        """Make a step in a call of few arguments; False, and nothing done, if a label or a code is wrong.

        x and y are `_as_before`.
        """
        tasks, began, kind = self._begin_step(len(x))
        self._settings[TASKS] = tasks
        if self._varying is not None:
            self._addresses[NUMBERS] = self._varying.address(*self._progress(), 1)
        make = entries.train_on_labels if y.dtype is INT64 else entries.train_on_targets
        if make(self._addresses, x, y) != -1:
            return False
        if kind is not None:
            kind.end(tasks, began, len(x))
        return True
