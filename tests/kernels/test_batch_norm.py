"""Batch normalization: how exact it is, its running statistics, and which steps leave them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp.kernels import optimizers as updates
from fastbp.kernels.ops.kinds.batch_norm import BLOCK_ROWS, CUMULATIVE
from fastbp.kernels.run import frame, plan
from tests.kernels.graphs import Network, batch_norm, dense, dropout, residual

UNIT = {"f4": 2.0**-24, "f8": 2.0**-53}


def found(network):
    """Return the running mean and variance, and the number of batches, of the first layer."""
    return [value.copy() for value, _ in network.buffers_of_layers()[0]]


@st.composite
def columns(draw):
    """Batches of some columns, each around a number that may be far from 0; of whole blocks of rows or not."""
    rows = draw(st.sampled_from([2, 3, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 200, 1500]))
    width, rng = draw(st.sampled_from([1, 7, 16, 33, 70])), np.random.default_rng(draw(st.integers(0, 99)))
    place, spread = 10.0 ** draw(st.integers(-3, 6)), 10.0 ** draw(st.integers(-3, 2))
    return place * rng.standard_normal(width) + spread * rng.standard_normal((rows, width))


def bound(x, exact, unit):
    """Return how far an output may be from the exact one.

    It is rounded once. The numbers of a column are sums of n terms in float64, half of them in a chain: a mean is off
    by at most ``n / 2 + 4`` units of the largest number, and so is what is normalized, in deviations of the column.
    """
    n, wide = len(x), UNIT["f8"]
    deviation = np.sqrt(x.var(axis=0) + 1e-5)
    off = 4 * (n / 2 + 4) * wide * (np.abs(x).max(axis=0) / deviation + 1)
    return unit * np.abs(exact) + off * (1 + np.abs(exact))


@settings(max_examples=30)
@given(columns(), st.sampled_from(["f4", "f8"]))
def test_numbers_far_from_zero_lose_no_digits(x, name):
    network = Network([batch_norm(x.shape[1], bias=False)], name, batch=len(x))
    network.params[:] = 1
    network.x[:] = x
    x = network.x.astype(np.longdouble)
    exact = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + np.longdouble(1e-5))
    out = network.by_hand(np.zeros_like(network.x))
    assert (np.abs(out - exact) <= bound(x, exact, UNIT[name])).all()


@settings(max_examples=20)
@given(columns(), st.sampled_from(["f4", "f8"]), st.sampled_from([0.1, 0.0, 1.0, CUMULATIVE]))
def test_running_statistics_are_those_of_pytorch_in_float64(torch, x, name, momentum):
    network = Network([batch_norm(x.shape[1], 1e-5, momentum)], name, batch=len(x))
    module = torch.nn.BatchNorm1d(x.shape[1], momentum=None if momentum < 0 else momentum, dtype=torch.float64)
    network.x[:] = x
    for value, of_module in zip(found(network), (module.running_mean, module.running_var), strict=False):
        of_module[:] = torch.tensor(value)
    for turn in range(3):
        network.x[:] += np.asarray(turn, name)
        module(torch.tensor(network.x, dtype=torch.float64))
        network.by_hand(np.zeros_like(network.x))
    mean, variance, batches = found(network)
    size = np.abs(network.x).max(axis=0).astype(float)
    # three times a mean of float64, rounded
    np.testing.assert_allclose(mean, module.running_mean, rtol=0, atol=(8 * UNIT[name] + 1e-13) * size.max())
    exact = module.running_var.numpy()
    assert (np.abs(variance - exact) <= 8 * UNIT[name] * exact + 1e-12 * (1 + size**2)).all()
    assert batches == 3


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("batch", [2, BLOCK_ROWS + 1, 1500])
def test_it_may_be_without_parameters(affine, batch, dtype, torch):
    layer = batch_norm(48, bias=affine)._replace(affine=affine)
    network = Network([dense(20, 48, "tanh"), layer, dense(48, 7)], dtype, batch=batch)
    assert layer.parameters == 96 * affine
    x, (w, b), (w2, b2) = (network.x, *(network.parameters()[i] for i in (0, 2)))
    leaf = torch.tensor(w, dtype=torch.float64, requires_grad=True)
    hidden = torch.tanh(torch.tensor(x, dtype=torch.float64) @ leaf + torch.tensor(b, dtype=torch.float64))
    module = torch.nn.BatchNorm1d(48, affine=affine, dtype=torch.float64)
    if affine:
        module.load_state_dict(
            {"weight": torch.tensor(network.parameters()[1][0][0]), "bias": torch.tensor(network.parameters()[1][1])},
            strict=False,
        )
    logits = module(hidden) @ torch.tensor(w2, dtype=torch.float64) + torch.tensor(b2, dtype=torch.float64)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(network.y))
    loss.backward()
    rtol = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(network.step(), loss.item(), rtol=rtol)
    gradient = network.parameters(network.grads)[0][0]
    np.testing.assert_allclose(gradient, leaf.grad, rtol=0, atol=rtol * leaf.grad.abs().max().item())


def test_running_statistics_have_the_same_bits_on_any_number_of_tasks(dtype):
    results = set()
    for tasks in (1, 2, 3, 7, 16):
        network = Network([batch_norm(200), dense(200, 4)], dtype, batch=1500)
        network.step(tasks)
        results.add(network.buffers.tobytes())
    assert len(results) == 1


def joined(ins):
    """A network of many segments: joints first, last, next to each other, and within what a skip goes around."""
    return [
        batch_norm(ins), dense(ins, 48, "tanh"), batch_norm(48), batch_norm(48), dense(48, 48, "relu"),
        batch_norm(48, bias=False), residual(48, 5, 1), dropout(48), dense(48, 7), batch_norm(7),
    ]  # fmt: skip


# A batch of rows whose gradients are summed at once, chunk after chunk, and for small weights each chunk apart
@pytest.mark.parametrize(("ins", "batch"), [(20, 2), (20, 130), (20, 700), (20, 1500), (400, 1500)])
def test_segments_keep_the_bits_of_op_after_op_for_any_tasks(ins, batch):
    results, gradients = set(), set()
    for by_rows in (True, False):
        for tasks in (1, 2, 3, 16):
            network = Network(joined(ins), np.float32, batch=batch, by_rows=by_rows, code=updates.ADAM, lr=1e-2)
            assert network.layout[plan.BY_ROWS] == by_rows
            losses = [network.step(tasks) for _ in range(2)]
            assert np.isfinite(losses).all()
            results.add((network.params.tobytes(), network.buffers.tobytes(), tuple(losses)))
            out = network.by_hand(np.ones((batch, 7), np.float32), tasks, dx := np.zeros_like(network.x))
            gradients.add((out.tobytes(), network.grads.tobytes(), dx.tobytes(), network.buffers.tobytes()))
    assert len(results) == len(gradients) == 1


def test_a_step_that_is_not_made_leaves_running_statistics(dtype):
    network = Network([batch_norm(20), dense(20, 4)], dtype, batch=32)
    network.settings[frame.FINITE] = 1
    network.step()
    before, y = network.buffers.tobytes(), network.y.copy()
    network.y[3] = 99
    network.step()
    assert network.buffers.tobytes() == before
    network.x[5, 2] = np.inf
    network.step(y=y)
    assert network.buffers.tobytes() == before
    network.x[5, 2] = 1
    network.step(y=y)
    assert network.buffers.tobytes() != before


def test_rows_that_count_for_nothing_count_in_the_statistics(dtype):
    one, other = (Network([batch_norm(20), dense(20, 4)], dtype, batch=32) for _ in range(2))
    one.step()
    other.y[:16] = -100  # the label to ignore
    other.step()
    assert other.buffers.tobytes() == one.buffers.tobytes()


def test_nan_in_a_row_is_seen_in_its_column_alone():
    network = Network([batch_norm(20)], np.float32, batch=40)
    network.x[7, 3], network.x[9, 5] = np.nan, np.inf
    out = network.by_hand(np.zeros_like(network.x))
    assert np.isnan(out).any(axis=0).nonzero()[0].tolist() == [3, 5]
    assert np.isnan(out[:, 3]).all()
