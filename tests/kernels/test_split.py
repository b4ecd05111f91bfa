"""A step in phases, and the hook that clips: the bits of a step, and the clipped gradient of NumPy."""

import copy

import numpy as np
import pytest

from fastbp.kernels import entries as network
from fastbp.kernels import losses
from fastbp.kernels import optimizers as updates
from fastbp.kernels.activations import CODES, IDENTITY, RELU
from fastbp.kernels.ops.fill import fill_update
from fastbp.kernels.optimizers.registry import CLIP_NORM, FACTOR
from fastbp.kernels.run import frame, plan
from fastbp.kernels.run.chunks import CHUNK_ROWS

TWO_LAYERS = [(5, 17, CODES["tanh"], True), (17, 4, IDENTITY, True)]
THREE_LAYERS = [(300, 60, CODES["tanh"], True), (60, 50, RELU, False), (50, 4, IDENTITY, True)]
# A few rows, all sums in chunks, some of them, layer after layer; the batch, and whether it goes by rows
WAYS = {
    "small": (TWO_LAYERS, 8, True),
    "chunked": (TWO_LAYERS, 2 * CHUNK_ROWS + 9, True),
    "some chunked": (THREE_LAYERS, 2 * CHUNK_ROWS + 9, True),
    "large": (THREE_LAYERS, 40, False),
    "large, some chunked": (THREE_LAYERS, 2 * CHUNK_ROWS + 9, False),
}
EACH_WAY = pytest.mark.parametrize(("layers", "batch", "by_rows"), WAYS.values(), ids=WAYS.keys())


@pytest.fixture
def problem(training, monkeypatch):
    def make(layers, batch, by_rows, dtype, **options):
        if not by_rows:
            monkeypatch.setattr(plan, "SMALL", -1)
        made = training(layers, dtype, samples=2 * batch + 3, batch=batch, **options)
        assert (made.layout[plan.BY_ROWS] != 0) == by_rows
        return made

    return make


@EACH_WAY
@pytest.mark.parametrize("rule", updates.RULES.values(), ids=updates.RULES.keys())
def test_a_step_in_phases_has_the_bits_of_a_step(layers, batch, by_rows, rule, dtype, problem):
    whole = problem(layers, batch, by_rows, dtype, optimizer=rule.code)
    split = copy.deepcopy(whole)
    split.settings[frame.SPLIT] = 1
    expected = whole.run(network)
    assert expected.params.tobytes() != whole.params.tobytes()
    for tasks in (1, 3):
        found = split.run(network, tasks)
        for name in ("params", "grads", "state", "hyper", "record"):
            assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), (name, tasks)


def clipped(made, limit):
    made = copy.deepcopy(made)
    fill_update(made.settings, made.params.dtype, clips=True)
    made.hyper[[CLIP_NORM, updates.WEIGHT_DECAY]] = limit, 0.0
    made.settings[frame.LAST_STEP] = 1
    return made


@EACH_WAY
@pytest.mark.parametrize("share", [0.001, 0.01, 0.7, 1.5, np.inf])
def test_the_hook_clips_as_clip_grad_norm(layers, batch, by_rows, share, dtype, problem):
    """The factor is ``min(1, limit / (norm + 1e-6))``, and what is left of a gradient is its product with it."""
    made = problem(layers, batch, by_rows, dtype, optimizer=updates.SGD)
    plain = clipped(made, np.inf)
    plain.settings[frame.HOOK] = 0
    grads = plain.run(network).grads.astype(np.float64)
    norm = np.sqrt((grads**2).sum())
    limit = share * norm if np.isfinite(share) else np.inf
    made = clipped(made, limit)
    alone = made.run(network)
    factor = min(1.0, limit / (norm + 1e-6))
    # The squares are rounded once in the element type, their sums in float64: a relative error of one unit, and of a
    # half in the norm.
    unit = np.finfo(dtype).eps / 2
    assert abs(alone.hyper[FACTOR] - factor) <= 2 * unit * factor + 1e-12 * factor
    # and the factor is rounded, and the product
    assert (np.abs(alone.grads - grads * factor) <= 5 * unit * np.abs(grads * factor) + np.finfo(dtype).tiny).all()
    moved = made.params - alone.hyper[updates.LR] * alone.grads.astype(np.float64)
    assert (np.abs(alone.params - moved) <= 4 * unit * (np.abs(made.params) + np.abs(moved - made.params))).all()
    for tasks in (2, 3, 4):
        found = made.run(network, tasks)
        for name in ("params", "grads", "hyper"):
            assert getattr(found, name).tobytes() == getattr(alone, name).tobytes(), (name, tasks)


def test_the_norm_of_many_gradients_is_the_same_bits_for_any_number_of_tasks(dtype, training):
    """So many parameters that the sums of squares are shared out: several blocks of them for each task."""
    made = training([(700, 500, RELU, True), (500, 4, IDENTITY, True)], dtype, samples=9, batch=9)
    assert made.params.size > 16 * plan.NORM_BLOCK
    made = clipped(made, 1e-3)
    alone = made.run(network)
    assert 0 < alone.hyper[FACTOR] < 1
    for tasks in (2, 3, 4):
        found = made.run(network, tasks)
        assert found.params.tobytes() == alone.params.tobytes()
        assert found.hyper.tobytes() == alone.hyper.tobytes()


@pytest.mark.parametrize(("bad", "factor"), [(np.nan, np.nan), (np.inf, 0.0)])
def test_one_gradient_that_is_not_finite_clips_all_as_in_pytorch(bad, factor, dtype, training):
    made = clipped(training([(5, 3, IDENTITY, False)], dtype, loss=losses.MSE, samples=8, batch=8), 1.0)
    made.targets[made.order[0], 1] = bad  # shows in the gradients of one output
    plain = copy.deepcopy(made)
    plain.settings[frame.HOOK] = 0
    assert np.isfinite(plain.run(network).grads).sum() == 10
    found = made.run(network)
    np.testing.assert_array_equal(found.hyper[FACTOR], factor)
    assert np.isfinite(found.params).sum() == (10 if factor == 0 else 0)
