"""Steps with a penalty on the weights alone, and with numbers of their own: against the twin, step by step."""

import copy

import numpy as np
import pytest

from fastbp.kernels import entries, reference
from fastbp.kernels import optimizers as updates
from fastbp.kernels.activations import CODES
from fastbp.kernels.run import frame, penalty, plan

LAYERS = [(5, 17, CODES["tanh"], True), (17, 4, CODES["identity"], True)]
DECAYS, EPS = [0.3, -1.0, 0.1], [1e-3, np.nan, 2e-3]


def problem(training, code, dtype):
    p = training(LAYERS, dtype, optimizer=code)
    blocks = np.array([(row[plan.W] // p.params.itemsize, row[plan.IN] * row[plan.OUT]) for row in p.plan])
    is_bias = np.ones(p.params.size, bool)
    for start, count in blocks:
        is_bias[start : start + count] = False
    p.groups = np.zeros((2 * len(blocks), updates.GROUP_SIZE))
    p.groups[:, [updates.LR_FACTOR, updates.DECAY_FACTOR]] = 1.0
    p.groups[0::2, updates.START] = p.plan[:, plan.W]
    p.groups[1::2, updates.START] = p.plan[:, plan.B]
    p.groups[0::2, updates.DECAY] = -1.0  # that of all
    numbers = np.zeros((penalty.NUMBERS, 3))
    numbers[penalty.DECAY], numbers[penalty.STEP_EPS] = DECAYS, EPS
    return p, is_bias, blocks, numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("code", updates.STATE_ARRAYS)
def test_only_weights_decay_each_step_by_its_own_number(training, code, dtype):
    p, is_bias, blocks, numbers = problem(training, code, dtype)
    exact = copy.deepcopy(p)
    exact.plan[:, [plan.W, plan.B]] *= 8 // p.params.itemsize  # places are in bytes
    exact.groups[:, updates.START] *= 8 // p.params.itemsize
    for name in ("params", "grads", "state", "x", "work", "class_weight", "targets", "sample_weight"):
        setattr(exact, name, getattr(exact, name).astype(np.float64))
    entries.train_penalized(
        p.frame().addresses(), p.x, p.labels, p.targets, p.sample_weight, p.order, p.record, numbers, blocks
    )
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if dtype == np.float64 else {"rtol": 2e-4, "atol": 2e-6}
    for step in (0, 2):  # the one between is left out
        squares = (exact.params[~is_bias] ** 2).sum()
        np.testing.assert_allclose(numbers[penalty.SQUARES, step], squares, rtol=tolerance["rtol"])
        exact.hyper[[updates.WEIGHT_DECAY, updates.EPS]] = DECAYS[step], EPS[step]
        exact.settings[[frame.FIRST_STEP, frame.LAST_STEP]] = step, step + 1
        reference.train_steps(
            exact.frame(), exact.x, exact.labels, exact.targets, exact.sample_weight, exact.order, exact.record
        )
    np.testing.assert_allclose(p.params, exact.params, **tolerance)
    np.testing.assert_allclose(p.state, exact.state, **tolerance)
    assert numbers[penalty.SQUARES, 1] == 0
    np.testing.assert_allclose(p.record, exact.record, **tolerance)
