"""Epochs of "sgd" and "adam": compiled steps, or layers by hand where a step has what the kernels have not.

scikit-learn's optimizer objects keep the learning rate and say when to stop; by hand they make the updates as well.
"""

import time
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from fastbp import _memory, optimizers
from fastbp._steps import Steps
from fastbp.kernels import penalized, updates
from fastbp.kernels.frame import RECORD_LOSS, RECORD_ROWS
from fastbp.kernels.losses import REDUCTION
from fastbp.losses import Targets
from fastbp.sequential import Sequential
from fastbp.sklearn._batches import Samples, epoch_of, piece_of, pieces
from fastbp.sklearn._by_hand import loss_and_gradients
from fastbp.sklearn._networks import biases_of, sum_of_squares, weight_blocks, weights_of
from fastbp.sklearn._objectives import Objective

Array = NDArray[Any]
Schedule: TypeAlias = Any  # SGDOptimizer or AdamOptimizer, which have no types


def schedule_of(estimator: Any, params: list[Array]) -> Schedule:
    """Return scikit-learn's optimizer with the estimator's numbers; it keeps moments for `params` alone."""
    e = estimator
    if e.solver == "sgd":
        nesterov = e.nesterovs_momentum
        return SGDOptimizer(params, e.learning_rate_init, e.learning_rate, e.momentum, nesterov, e.power_t)
    return AdamOptimizer(params, e.learning_rate_init, e.beta_1, e.beta_2, e.epsilon)


def _optimizer_of(schedule: Schedule) -> optimizers.Optimizer:
    """Return fastbp's optimizer of the same numbers."""
    if isinstance(schedule, AdamOptimizer):
        betas = float(schedule.beta_1), float(schedule.beta_2)
        return optimizers.Adam(schedule.learning_rate_init, betas, schedule.epsilon)
    momentum = float(schedule.momentum)
    return optimizers.SGD(schedule.learning_rate, momentum, bool(schedule.nesterov and momentum > 0))


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
        arrays = updates.STATE_ARRAYS[self._code]
        exempt = np.zeros(model._params.size, model.dtype)
        start = 0
        for layer in model.layers:
            start += layer._params.size
            exempt[start - layer.out_features : start] = 1  # biases are not penalized
        moments = self._state
        self._state = _memory.zeros(moments.size + exempt.size, model.dtype)
        self._state[: moments.size], self._state[moments.size :] = moments, exempt
        self._hyper[updates.EXEMPT] = arrays + 1
        self._moments = arrays * model._params.size
        self._blocks = weight_blocks(model)
        self._bind()

    def moments(self) -> tuple[Array, Array]:
        """Return what has to be kept beside the model to go on: the moments, and how many steps they are of."""
        return self._state[: self._moments].copy(), self._hyper[: updates.EXEMPT].copy()

    def go_on_from(self, moments: tuple[Array, Array]) -> None:
        """Take the moments of another solver of the same kind, for a network of the same shape."""
        self._state[: self._moments], self._hyper[: updates.EXEMPT] = moments
        self.optimizer.lr = float(moments[1][updates.LR])

    def _follow_schedule(self) -> None:
        """Take the schedule's learning rate. scikit-learn's velocities hold the rates of their time."""
        if isinstance(self._schedule, SGDOptimizer) and self.optimizer.lr != self._schedule.learning_rate:
            self._state[: self._moments] *= self.optimizer.lr / self._schedule.learning_rate
            self.optimizer.lr = self._schedule.learning_rate

    def epoch(self, samples: Samples, objective: Objective, order: Array, batch: int, alpha: float) -> Array:
        """Make the steps of an epoch; return the loss of each batch before its update, penalty included."""
        self._objective = objective
        self._follow_schedule()
        self._prepare(batch)
        epoch = epoch_of(samples, objective, order, batch, samples.targets.values.shape[1])
        self._options[:] = objective.loss.options()  # its numbers may be others than in the call before
        self._options[REDUCTION] = epoch.reduction
        if not samples.sparse:
            return self._steps(samples.x, samples.targets, epoch.weight, order, batch, epoch.totals, alpha)
        losses = []
        for part in pieces(samples.x, samples.dtype, batch):
            x, targets = piece_of(samples, order[part])
            weight = epoch.weight[order[part]] if epoch.weight.size else epoch.weight
            totals = epoch.totals[part.start // batch : -(-part.stop // batch)]
            losses.append(self._steps(x, targets, weight, np.arange(len(x)), batch, totals, alpha))
        return np.concatenate(losses)

    def _steps(
        self, x: Array, targets: Targets, weight: Array, order: Array, batch: int, totals: Array, alpha: float
    ) -> Array:
        record, numbers = np.zeros((RECORD_ROWS, len(totals))), self._numbers_of_steps(totals, alpha)
        pace, done = self._paced(batch, self._most_tasks(batch)), 0
        while done < len(totals):
            tasks, count = pace.choose(len(totals) - done)
            self._begin(targets, batch, range(done, done + count), tasks)
            began = time.perf_counter()
            penalized.train_penalized(
                self._addresses, x, targets.labels, targets.values, weight, order, record, numbers, self._blocks
            )
            pace.note(tasks, count, time.perf_counter() - began)
            done += count
        # Both are 0 where a step was left out.
        penalty: Array = 0.5 * numbers[penalized.DECAY] * numbers[penalized.SQUARES]
        penalty += self._objective.value_scale * record[RECORD_LOSS]
        return penalty

    def _numbers_of_steps(self, totals: Array, alpha: float) -> Array:
        """Return what differs from step to step, as `train_penalized` takes it."""
        numbers = np.zeros((penalized.NUMBERS, len(totals)))
        counts = totals > 0
        numbers[penalized.DECAY] = -1.0  # a step that is left out
        np.divide(alpha, totals, out=numbers[penalized.DECAY], where=counts)
        if self._eps:  # scikit-learn adds it to the root of the second moment before that is corrected
            steps = np.maximum(np.cumsum(counts), 1)
            power = self._hyper[updates.SECOND_POWER] * self._hyper[updates.SECOND] ** steps
            numbers[penalized.STEP_EPS] = self._eps / np.sqrt(1.0 - power)
        return numbers


class ByHandSolver:
    """Steps layer by layer, for dropout and for losses that the kernels have not. Slower, and as exact.

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
        params = weights_of(model) + biases_of(model)
        losses = []
        for start in range(0, len(order), batch):
            which = order[start : start + batch]
            weight = np.ones(len(which)) if samples.weight is None else samples.weight[which]
            total = float(weight.sum())
            if total <= 0.0:  # nothing counts
                losses.append(0.0)
                continue
            x, targets = piece_of(samples, which)
            keep = 1.0 - self._dropout
            masks = [
                (self._random_state.uniform(size=(len(x), layer.out_features)) < keep).astype(model.dtype) / keep
                for layer in model.layers[:-1]
                if self._dropout
            ]
            value = loss_and_gradients(model, objective, x, targets, weight / total, masks)
            losses.append(value + 0.5 * alpha / total * sum_of_squares(model))
            gradients = [layer._dw + alpha / total * layer._w for layer in model.layers]
            self._schedule.update_params(params, gradients + [layer._db for layer in model.layers])
        return np.array(losses)
