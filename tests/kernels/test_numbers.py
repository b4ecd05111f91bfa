"""The optimizer's numbers, an array of them for the steps of one compiled call."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp
from fastbp.kernels.run.frame import NUMBERS, RECORD_ROWS
from fastbp.train.steps import Part, Samples

BATCH = 20


@pytest.mark.parametrize(
    "make",
    [
        fastbp.Adam,
        fastbp.AdamW,
        fastbp.RMSprop,
        lambda: fastbp.SGD(momentum=0.9),
        fastbp.NAdam,
        lambda: fastbp.AdamW(groups={"*.bias": {"weight_decay": 0.5}, "0.*": {"lr_factor": 3}}),
    ],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_steps_with_numbers_of_their_own_are_steps_between_which_they_were_set(make, threads):
    rng = np.random.default_rng(threads)
    steps = int(rng.integers(2, 7))
    x, y = rng.standard_normal((steps * BATCH, 5)).astype(np.float32), rng.integers(0, 3, steps * BATCH)
    by_hand, at_once = (fastbp.Trainer(fastbp.mlp([5, 8, 3], rng=0), optimizer=make()) for _ in range(2))
    numbers = []
    for step in range(steps):
        by_hand.optimizer.lr, by_hand.optimizer.weight_decay = rng.uniform(1e-3, 1e-1), rng.uniform(0, 0.1)
        numbers.append(by_hand.optimizer.numbers())
        rows = slice(step * BATCH, (step + 1) * BATCH)
        by_hand.step(x[rows], y[rows])
    table, record = np.array(numbers), np.zeros((RECORD_ROWS, steps))
    at_once._prepare(BATCH)
    at_once._addresses[NUMBERS] = table.ctypes.data
    targets = at_once.loss.targets(y, len(y), 3, at_once.model.dtype)
    samples = Samples(x, targets, np.empty(0, np.float32))
    at_once._run(samples, Part(range(steps), BATCH, np.arange(len(y)), record), threads)
    assert_array_equal(at_once.model._params, by_hand.model._params)
