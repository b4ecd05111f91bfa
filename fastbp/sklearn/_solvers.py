"""Epochs of "sgd" and "adam": compiled steps, or layers by hand where units are dropped out.

scikit-learn's optimizer objects keep the learning rate and say when to stop; by hand they make the updates as well.
Their lists of moments are empty while a `CompiledSolver` has the moments, and full otherwise: by hand, and in a state
that is stored or moved.
"""

import time
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from fastbp._base.sparse import spoiled
from fastbp.kernels import entries
from fastbp.kernels import optimizers as updates
from fastbp.kernels.losses import REDUCTION
from fastbp.kernels.run.frame import RECORD_LOSS, RECORD_ROWS
from fastbp.kernels.run.penalty import DECAY, NUMBERS, SQUARES, STEP_EPS
from fastbp.nn.sequential import Sequential
from fastbp.sklearn._batches import Samples, epoch_of
from fastbp.sklearn._by_hand import with_dropout
from fastbp.sklearn._networks import parameters_of, split, sum_of_squares, weight_blocks
from fastbp.sklearn._objectives import Objective, subset
from fastbp.train import optimizers
from fastbp.train.samples import Part
from fastbp.train.samples import Samples as Given
from fastbp.train.staging import Staging
from fastbp.train.steps import Steps

Array = NDArray[Any]
Schedule: TypeAlias = Any  # SGDOptimizer or AdamOptimizer, which have no types
_GROUPS = {"*.bias": {"weight_decay": 0.0}}  # biases are not penalized
_POWERS = [updates.FIRST_POWER, updates.SECOND_POWER]


def schedule_of(estimator: Any, params: list[Array]) -> Schedule:
    """Return scikit-learn's optimizer with the estimator's numbers, its moments those of `params`."""
    e = estimator
    if e.solver == "sgd":
        nesterov = e.nesterovs_momentum
        return SGDOptimizer(params, e.learning_rate_init, e.learning_rate, e.momentum, nesterov, e.power_t)
    return AdamOptimizer(params, e.learning_rate_init, e.beta_1, e.beta_2, e.epsilon)


def _lists(schedule: Schedule) -> tuple[str, ...]:
    """Return where an optimizer keeps moments: lists of arrays like the network's weights, then biases."""
    return ("ms", "vs") if isinstance(schedule, AdamOptimizer) else ("velocities",)


def moments_fit(schedule: Schedule, model: Sequential) -> bool:
    """Whether an optimizer's moments, if it has any, are of a network of this shape."""
    moments = getattr(schedule, _lists(schedule)[0])
    return not moments or [m.shape for m in moments] == [p.shape for p in parameters_of(model)]


def _optimizer_of(schedule: Schedule) -> optimizers.Optimizer:
    """Return fastbp's optimizer of the same numbers."""
    if isinstance(schedule, AdamOptimizer):
        betas = float(schedule.beta_1), float(schedule.beta_2)
        return optimizers.Adam(schedule.learning_rate_init, betas, schedule.epsilon, groups=_GROUPS)
    momentum, nesterov = float(schedule.momentum), bool(schedule.nesterov and schedule.momentum > 0)
    return optimizers.SGD(schedule.learning_rate, momentum, nesterov, groups=_GROUPS)


class CompiledSolver(Steps):
    """Steps in compiled code, some milliseconds' worth a call.

    Parameters
    ----------
    model : Sequential
    objective : Objective
    schedule : SGDOptimizer or AdamOptimizer
    """

    def __init__(self, model: Sequential, objective: Objective, schedule: Schedule) -> None:
        super().__init__(model, objective.loss, _optimizer_of(schedule))
        self._schedule = schedule
        self._eps = schedule.epsilon if isinstance(schedule, AdamOptimizer) else 0.0
        self._moments = self._state.reshape(updates.STATE_ARRAYS[self._code], model._params.size)
        self._made = 0  # steps
        self._blocks = weight_blocks(model)
        self._take_moments()

    def has_moments_of(self, schedule: Schedule) -> bool:
        """Whether this solver keeps the moments of that optimizer."""
        return schedule is self._schedule

    def give_moments(self, schedule: Schedule) -> None:
        """Write the moments into the lists of an optimizer like this solver's.

        Rounding would change some on the way back. So the exact ones are beside the lists, and count for as long as the
        lists are these: scikit-learn makes new ones in each step.
        """
        adam = isinstance(schedule, AdamOptimizer)
        if adam:
            schedule.t = self._made
        moments = self._moments * (1.0 if adam else -self.optimizer.lr)
        if not len(moments):  # scikit-learn has velocities without momentum too
            moments = np.zeros((1, self.model._params.size), self.model.dtype)
        for name, flat in zip(_lists(schedule), moments, strict=True):
            setattr(schedule, name, split(flat, self.model))
        exact = self._moments[:0] if adam else self._moments.copy()
        lists = getattr(schedule, _lists(schedule)[0])
        schedule.exact_moments = lists, exact, self.optimizer.lr, self._hyper[_POWERS]

    def _take_moments(self) -> None:
        """Take the moments out of the schedule's lists, if it has any there."""
        schedule = self._schedule
        adam = isinstance(schedule, AdamOptimizer)
        lists = [getattr(schedule, name) for name in _lists(schedule)]
        for name in _lists(schedule):
            setattr(schedule, name, [])
        of, exact, lr, powers = schedule.__dict__.pop("exact_moments", (None,) * 4)
        if not lists[0]:
            return
        if adam:
            self._made = schedule.t
            self._hyper[_POWERS] = schedule.beta_1**schedule.t, schedule.beta_2**schedule.t
        for flat, arrays in zip(self._moments, lists, strict=False):  # none without momentum
            for part, array in zip(split(flat, self.model), arrays, strict=True):
                part[...] = array if adam else array / -schedule.learning_rate
        if of is lists[0]:
            self._moments[: len(exact)] = exact
            self._hyper[_POWERS] = powers
            self.optimizer.lr = lr

    def _follow_schedule(self) -> None:
        """Take the schedule's learning rate. scikit-learn's velocities hold the rates of their time."""
        schedule, before = self._schedule, self.optimizer.lr
        if isinstance(schedule, AdamOptimizer):
            self.optimizer.lr = float(schedule.learning_rate_init)
        elif before != schedule.learning_rate:
            self._moments *= before / schedule.learning_rate
            self.optimizer.lr = schedule.learning_rate

    def epoch(self, samples: Samples, objective: Objective, order: Array, batch: int, alpha: float) -> Array:
        """Make the steps of an epoch; return the loss of each batch before its update, penalty included."""
        self._objective = objective
        self._follow_schedule()
        self._expect(samples.targets.code, ("train_penalized",), samples.rows)
        self._prepare(batch, samples.sparse)
        epoch = epoch_of(samples, objective, order, batch, samples.targets.values.shape[1])
        self._options[:] = objective.options()  # its numbers may be others than in the call before
        self._options[REDUCTION] = epoch.reduction
        given = Given(samples.rows, samples.targets, epoch.weight)
        return self._steps(given, order, batch, epoch.totals, alpha)

    def _steps(
        self,
        samples: Given,
        order: Array,
        batch: int,
        totals: Array,
        alpha: float,
    ) -> Array:
        record, numbers = np.zeros((RECORD_ROWS, len(totals))), self._numbers_of_steps(totals, alpha)
        pace, done = self._paced(batch, self._most_tasks(batch)), 0
        staging = Staging(samples, order, batch)
        while done < len(totals):
            steps, given, places = staging.at(done)[:3]
            tasks, count = pace.choose(steps.stop - done)
            self._begin(given.targets, Part(range(done, done + count), batch, places, record), tasks)
            addresses, rows, values = self._given(given.x, given.targets.values, batch)
            began = time.perf_counter()
            wrong = entries.train_penalized(
                addresses, rows, given.targets.labels, values, given.weight, places, record, numbers, self._blocks
            )
            if wrong < -1:
                raise spoiled("MLP", "X")
            pace.note(tasks, count, time.perf_counter() - began)
            self._made += int(np.count_nonzero(totals[done : done + count] > 0))
            done += count
        # Both are 0 where a step was left out.
        penalty: Array = 0.5 * numbers[DECAY] * numbers[SQUARES]
        penalty += self._objective.value_scale * record[RECORD_LOSS]
        return penalty

    def _numbers_of_steps(self, totals: Array, alpha: float) -> Array:
        """Return what differs from step to step, as `train_penalized` takes it."""
        numbers = np.zeros((NUMBERS, len(totals)))
        counts = totals > 0
        numbers[DECAY] = -1.0  # a step that is left out
        np.divide(alpha, totals, out=numbers[DECAY], where=counts)
        if self._eps:  # scikit-learn adds it to the root of the second moment before that is corrected
            steps = np.maximum(np.cumsum(counts), 1)
            power = self._hyper[updates.SECOND_POWER] * self._hyper[updates.SECOND] ** steps
            numbers[STEP_EPS] = self._eps / np.sqrt(1.0 - power)
        return numbers


class ByHandSolver:
    """Steps layer by layer, for dropout. Slower, and as exact.

    Parameters
    ----------
    model : Sequential
    schedule : SGDOptimizer or AdamOptimizer
        With the model's parameters.
    dropout : float
        Probability with which a hidden unit is left out.
    random_state : RandomState
        Draws the units.
    """

    def __init__(
        self, model: Sequential, schedule: Schedule, dropout: float, random_state: np.random.RandomState
    ) -> None:
        self.model, self._schedule = model, schedule
        self._dropout, self._random_state = dropout, random_state

    def epoch(self, samples: Samples, objective: Objective, order: Array, batch: int, alpha: float) -> Array:
        """Make the steps of an epoch; return the loss of each batch before its update, penalty included."""
        model = self.model
        params = parameters_of(model)
        losses = []
        for start in range(0, len(order), batch):
            which = order[start : start + batch]
            weight = np.ones(len(which)) if samples.weight is None else samples.weight[which]
            total = float(weight.sum())
            if total <= 0.0:  # nothing counts
                losses.append(0.0)
                continue
            targets, weight = subset(samples.targets, which), weight / total
            masks = [self._mask(len(which), layer.out_features) for layer in model.layers[:-1]]
            value = with_dropout(model, objective, samples.dense(which), targets, weight, masks)
            losses.append(value + 0.5 * alpha / total * sum_of_squares(model))
            gradients = [layer._dw + alpha / total * layer._w for layer in model.layers]
            self._schedule.update_params(params, gradients + [layer._db for layer in model.layers])
        return np.array(losses)

    def _mask(self, rows: int, units: int) -> Array:
        """Draw what the outputs of a hidden layer are multiplied with."""
        keep = 1.0 - self._dropout
        mask: Array = (self._random_state.uniform(size=(rows, units)) < keep).astype(self.model.dtype) / keep
        return mask
