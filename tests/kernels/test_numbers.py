"""Numbers of each step in one compiled call: of the optimizer, and of layers."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp
from fastbp.kernels.ops.kinds.dropout import kept
from fastbp.kernels.ops.registry import Draw
from fastbp.kernels.run.frame import NUMBERED, NUMBERS, PLACES, RECORD_ROWS, SEED
from fastbp.kernels.run.plan import ATTRIBUTES
from fastbp.train.samples import Part, Samples

BATCH = 20


def run_with(trainer, places, table, x, y, threads):
    """Make as many steps as the table has rows; its columns go to places, views of a number each."""
    addresses, record = np.array([place.ctypes.data for place in places]), np.zeros((RECORD_ROWS, len(table)))
    entries = [addresses.ctypes.data, len(places), table.ctypes.data]
    trainer._addresses[[PLACES, NUMBERED, NUMBERS]] = entries
    targets = trainer.loss.targets(y, len(y), trainer.model.out_features, trainer.model.dtype)
    samples = Samples(x, targets, np.empty(0, x.dtype))
    trainer._run(samples, Part(range(len(table)), BATCH, np.arange(len(y)), record), threads)


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
    table = rng.uniform(1e-3, 1e-1, (steps, 2))
    for step in range(steps):
        by_hand.optimizer.lr, by_hand.optimizer.weight_decay = table[step]
        rows = slice(step * BATCH, (step + 1) * BATCH)
        by_hand.step(x[rows], y[rows])
    at_once._prepare(BATCH)
    run_with(at_once, [at_once._hyper[0:1], at_once._hyper[1:2]], table, x, y, threads)
    assert_array_equal(at_once.model._params, by_hand.model._params)


@pytest.mark.parametrize("threads", [1, 3])
def test_each_step_drops_with_its_own_probability(threads):
    table = np.array([[0.0], [0.7], [1.0], [0.25]])
    x, y = np.ones((len(table) * BATCH, 9)), np.zeros((len(table) * BATCH, 9))
    # the weights are the identity and stay so; then the gradient of the bias counts what is kept
    model = fastbp.Sequential(
        fastbp.Dropout(0.5), fastbp.Dense(9, 9, dtype="float64", init=lambda rng, shape: np.eye(9))
    )
    seen = []
    for steps in range(1, len(table) + 1):
        trainer = fastbp.Trainer(model, "mse", fastbp.SGD(0.0), rng=5)
        trainer._prepare(BATCH)
        place = trainer._plan[0, ATTRIBUTES : ATTRIBUTES + 1].view(np.float64)
        run_with(trainer, [place], table[:steps], x[: steps * BATCH], y[: steps * BATCH], threads)
        seen.append(model[1].bias_grad.copy())
        seed = int(trainer._settings[SEED])
    for step, (p,) in enumerate(table):
        keep = kept((BATCH, 9), p, Draw(seed, step, 0)) if p < 1 else np.zeros((BATCH, 9))
        scale = 1 / (1 - round(p * 2**16) / 2**16) if p < 1 else 0.0
        np.testing.assert_allclose(seen[step], keep.sum(0) * scale * 2 / (BATCH * 9), rtol=1e-13)
