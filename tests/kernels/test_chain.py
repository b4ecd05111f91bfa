"""Chains in PyTorch's layout against their twins in float64, with bounds from the number of roundings."""

import numpy as np
import pytest

from fastbp.kernels import entries, reference
from fastbp.kernels.activations import CODES
from fastbp.kernels.run import chain_plan
from fastbp.kernels.run.plan import ABSENT
from tests.kernels.calls import layers_of

UNIT = 2.0**-24
RELU, TANH, IDENTITY = CODES["relu"], CODES["tanh"], CODES["identity"]


def run(module, layers, dtype, batch, *, tasks=1, seed=0, absent=(), with_dx=True):
    """Return the output, the gradients of all parameters, and dx; what is not written is NaN."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    table, passing, places, kept, turns = chain_plan.make_chain(layers_of(layers), dtype.itemsize)
    chain_plan.fill_chain(table, passing, dtype)
    plan_size = chain_plan.chain_room(len(layers), dtype.itemsize)
    count = sum((ins + bias) * outs for ins, outs, _, bias in layers)

    def drawn(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32).astype(dtype)

    def empty(*shape):
        return np.full(shape, np.nan, dtype)

    params, x, dout = drawn(count), drawn(batch, layers[0][0]), drawn(batch, layers[-1][1])
    out, grads, dx = empty(*dout.shape), empty(count), empty(*x.shape)
    work, partials = empty(plan_size + kept * batch), empty(chain_plan.chain_partials(table, batch) + 1)
    passed, room = empty(plan_size + turns * batch), empty(turns * batch)
    like, predicted = empty(1), empty(*dout.shape)
    wanted = places.copy()
    wanted[list(absent)] = ABSENT
    at = [a.ctypes.data for a in (params, x, work, out, dout, grads, dx, room, partials)]
    module.chain_forward(passing, like, at[0], places, at[1], batch, passed.ctypes.data, predicted.ctypes.data, tasks)
    module.chain_forward(table, like, at[0], places, at[1], batch, at[2], at[3], tasks)
    assert np.array_equal(predicted, out)
    module.chain_backward(
        table, like, at[0], places, at[1], batch, at[2], at[3], at[4], at[5], wanted, at[6] if with_dx else 0, at[7],
        at[8], tasks,
    )  # fmt: skip
    return out, grads, dx


@pytest.mark.parametrize("code", sorted(CODES.values()))
@pytest.mark.parametrize("batch", [1, 5, 64, 1500])
def test_chains_match_their_twins(code, batch):
    layers = [(17, 40, code, True), (40, 33, code, False), (33, 6, code, True)]
    found, exact = run(entries, layers, np.float32, batch), run(reference, layers, np.float64, batch)
    # Each of three layers rounds sums of at most 40 terms; values and slopes grow through them by less than 40 each.
    for a, b, terms in zip(found, exact, (40, batch + 40, 40), strict=True):
        assert np.abs(a - b).max() <= 3 * (terms + 20) * UNIT * max(1, np.abs(b).max()) * 4


def test_one_layer_is_within_the_bound_of_a_product(dtype):
    layers = [(70, 30, IDENTITY, True)]
    unit = np.finfo(dtype).eps / 2
    out, grads, dx = run(entries, layers, dtype, 90)
    exact = run(reference, layers, np.float64, 90)
    for a, b, terms in ((out, exact[0], 72), (grads, exact[1], 92), (dx, exact[2], 32)):
        assert np.abs(a - b).max() <= (terms + 2) * 2 * unit * terms  # |entries| <= 1


@pytest.mark.parametrize("batch", [3, 700, 2000])
def test_tasks_change_no_bit(dtype, batch):
    layers = [(64, 100, TANH, True), (100, 100, RELU, True), (100, 10, IDENTITY, True)]
    one, two = (run(entries, layers, dtype, batch, tasks=tasks) for tasks in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a, b)


def test_only_what_is_wanted_is_written(dtype):
    layers = [(9, 8, RELU, True), (8, 7, TANH, True), (7, 3, IDENTITY, True)]
    whole = run(entries, layers, dtype, 20)[1]
    absent = [0, 1, 2, 5]  # both of the first layer, W of the second, b of the third
    _, grads, dx = run(entries, layers, dtype, 20, absent=absent, with_dx=False)
    assert np.isnan(dx).all()
    written = np.zeros(grads.size, bool)
    written[80 + 56 : 80 + 63] = written[80 + 63 : 80 + 63 + 21] = True
    assert np.array_equal(grads[written], whole[written])
    assert np.isnan(grads[~written]).all()
