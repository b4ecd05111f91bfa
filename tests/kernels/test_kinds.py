"""Kinds of layers as ops: against PyTorch, their twins and differences; and the planner of graphs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp.kernels import optimizers as updates
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.ops.fill import codes_of
from fastbp.kernels.ops.kinds import KINDS
from fastbp.kernels.ops.kinds.dropout import bits_of, philox
from fastbp.kernels.ops.registry import Draw
from fastbp.kernels.run import frame, plan
from tests.kernels.graphs import (
    PUBLIC,
    Network,
    activation,
    batch_norm,
    blend,
    dense,
    dropout,
    embedding,
    layer_norm,
    member_dense,
    members,
    of_kind,
    periodic,
    prelu,
    residual,
)

NETWORKS = {
    "layer norm": [dense(20, 48, "relu"), layer_norm(48), dense(48, 33, "tanh"), layer_norm(33, False), dense(33, 7)],
    "dropout": [dense(20, 48, "relu"), dropout(48), dense(48, 133, "tanh"), dropout(133, 0.5), dense(133, 7)],
    "residuals": [
        dense(20, 40, "relu"), dense(40, 40, "tanh"), dense(40, 40), residual(40, 2, 0), layer_norm(40),
        dense(40, 40, "relu"), residual(40, 5, 3), dropout(40), dense(40, 7),
    ],
    "three readers": [
        dense(20, 40, "tanh"), dense(40, 40, "relu", of=(0,)), dense(40, 40, "gelu", of=(0,)), residual(40, 2, 1),
        residual(40, 3, 0), dense(40, 7),
    ],
    "the batch read again and again": [
        dense(20, 20, "relu"), residual(20, 0, -1), dropout(20), residual(20, 2, -1), layer_norm(20),
        residual(20, 4, -1), dense(20, 7),
    ],
    "embedding": [
        embedding(20, (3, 50, 1), (2, 9, 33), (1, 19, 7)), dense(61, 48, "relu"), residual(48, 1, 1), dense(48, 7),
    ],
    "embedding of all columns": [embedding(2, (900, 5), (40, 1), (0, 1)), layer_norm(41), dense(41, 7)],
    "periodic": [periodic(20, 20, 16, 3), dense(80, 48, "relu"), periodic(48, 33, 2, 1), dense(81, 7)],
    "periodic between readers": [
        dense(20, 9, "tanh"), periodic(9, 4, 3, 2, of=(0,)), dense(17, 9, of=(1,)), residual(9, 2, 0), dense(9, 7),
    ],
    "activations of their own": [
        activation(20, "tanh"), dense(20, 48), activation(48, "relu"), layer_norm(48), activation(48, "leaky_relu"),
        residual(48, 4, 1), activation(48, "identity"), dense(48, 7), activation(7, "gelu"), dense(7, 7),
    ],
    "blends": [
        activation(20, "mish"), blend(20, 0, -1), dense(20, 48), activation(48, "relu"), blend(48, 3, 2),
        blend(48, 4, 4), dense(48, 7),
    ],
    "slopes": [
        prelu(20, 1), prelu(20, 20), dense(20, 48, "tanh"), prelu(48, 48), prelu(48, 1), residual(48, 4, 2),
        dense(48, 7), prelu(7, 1),
    ],
    "members": [
        members(20, 3), dense(20, 48, "relu"), dropout(48), dense(48, 33, "tanh"), layer_norm(33),
        member_dense(33, 7, 3),
    ],
    "33 members between others": [
        dense(20, 9, "tanh"), layer_norm(9), members(9, 33), dense(9, 17, "relu"), periodic(17, 3, 2, 1), prelu(20, 1),
        dense(20, 17, "gelu"), residual(17, 6, 3), member_dense(17, 7, 33), activation(7, "tanh"),
    ],
    "members with two readers": [
        dense(20, 9, "tanh"), members(9, 5, of=(0,)), members(9, 5, of=(0,)), blend(9, 2, 1), activation(9, "mish"),
        member_dense(9, 9, 5, of=(4,)), member_dense(9, 9, 5, of=(4,)), residual(9, 6, 5), dense(9, 7),
    ],
    "one member": [members(20, 1), batch_norm(20), dense(20, 9, "relu"), member_dense(9, 7, 1)],
    "twice the same": [dense(20, 9, "tanh"), residual(9, 0, 0), dense(9, 7)],
} | {
    f"{kind.name} first, between and last": [
        of_kind(kind, 20), dense(20, 48, "relu"), of_kind(kind, 48), dense(48, 7, "gelu"), of_kind(kind, 7),
    ]
    for kind in PUBLIC
}  # fmt: skip
EACH_NETWORK = pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
WAYS = pytest.mark.parametrize("by_rows", [True, False], ids=["by rows", "op after op"])
# Largest error as a share of the largest value: sums of up to 133 terms, through up to nine ops forward and back
RTOL = {np.dtype("f4"): 2e-5, np.dtype("f8"): 2e-13}


def assert_close(found, exact, dtype):
    np.testing.assert_allclose(found, exact, rtol=0, atol=RTOL[np.dtype(dtype)] * max(1e-30, np.abs(exact).max()))


def at_step(network, step=5):
    network.settings[frame.COUNTER] = step
    return network


@EACH_NETWORK
@WAYS
@pytest.mark.parametrize("batch", [5, 37, 1500])
def test_loss_and_gradients_are_those_of_pytorch(layers, by_rows, batch, dtype, torch):
    network = at_step(Network(layers, dtype, batch=batch, by_rows=by_rows))
    loss, gradients, _ = network.torch_gradients(torch)
    assert_close(network.step(), loss, dtype)
    assert_close(network.grads, gradients, dtype)


@EACH_NETWORK
@WAYS
def test_phases_by_hand_leave_the_gradients_of_pytorch_and_that_of_the_batch(layers, by_rows, dtype, torch):
    network = at_step(Network(layers, dtype, batch=37, by_rows=by_rows))
    _, gradients, of_batch = network.torch_gradients(torch)
    logits = torch.tensor(network.twin(), requires_grad=True)
    each = logits.reshape(-1, layers[-1].out_features), torch.tensor(np.repeat(network.y, network.members))
    torch.nn.functional.cross_entropy(*each).backward()
    dx = np.full(network.x.shape, np.nan, dtype)
    assert_close(network.by_hand(logits.grad.numpy().astype(dtype), dx=dx), network.twin(), dtype)
    assert_close(network.grads, gradients, dtype)
    assert_close(dx, of_batch, dtype)


@EACH_NETWORK
def test_gradients_are_differences_of_the_loss(layers):
    network = at_step(Network(layers, np.float64, batch=6, lr=0.0))
    network.step()
    found, rng, h = network.grads.copy(), np.random.default_rng(1), 1e-5
    for _ in range(3):
        direction = rng.standard_normal(found.size)
        values = []
        for sign in (1, -1):
            network.params += sign * h * direction
            values.append(at_step(network).step())
            network.params -= sign * h * direction
        slope = (values[0] - values[1]) / (2 * h)
        # relu bends where few units are: not within h of these random numbers
        assert abs(slope - found @ direction) < 1e-6 * (1 + np.abs(found) @ np.abs(direction))


@EACH_NETWORK
def test_a_prediction_is_that_of_the_twins_without_dropout(layers, dtype):
    network = Network(layers, dtype)
    found = network.predict()
    assert_close(found, network.twin(training=False), dtype)
    assert network.predict(tasks=3).tobytes() == found.tobytes()


@EACH_NETWORK
@WAYS
def test_bits_do_not_depend_on_tasks(layers, by_rows):
    results = set()
    for tasks in (1, 2, 3, 7, 16):
        network = Network(layers, np.float32, batch=1500, by_rows=by_rows, code=updates.ADAM, lr=1e-2)
        losses = [network.step(tasks) for _ in range(3)]
        results.add((network.params.tobytes(), network.grads.tobytes(), tuple(losses)))
    assert len(results) == 1


@EACH_NETWORK
def test_phases_by_hand_keep_the_bits_of_a_step(layers):
    network, other = (Network(layers, np.float32, lr=0.0) for _ in range(2))
    network.step()
    out = other.by_hand(np.zeros((32, other.outs), np.float32)).reshape(-1, layers[-1].out_features)
    other.by_hand(fastbp.softmax_cross_entropy(out, np.repeat(other.y, other.members))[1].reshape(32, other.outs))
    assert other.grads.tobytes() == network.grads.tobytes()


LAYERS = st.sampled_from(["dense", "residual", "activation", "blend", "prelu", *PUBLIC])


@st.composite
def graphs(draw):
    """Random stacks: each op reads random rows above, and the last row reads what nobody has read yet."""
    width, layers, unread = draw(st.integers(1, 70)), [], []
    for i in range(draw(st.integers(1, 6))):
        kind, above = draw(LAYERS), st.integers(-1, i - 1)
        source = unread.pop() if unread else draw(above)
        if kind == "dense":
            layers.append(dense(width, width, draw(st.sampled_from(sorted(ACTIVATIONS))), of=(source,)))
        elif kind == "activation":
            layers.append(activation(width, draw(st.sampled_from(sorted(ACTIVATIONS))), of=(source,)))
        elif kind == "prelu":
            layers.append(prelu(width, draw(st.sampled_from([1, width])), of=(source,)))
        elif kind in ("residual", "blend"):
            layers.append((residual if kind == "residual" else blend)(width, source, draw(above)))
        else:
            layers.append(of_kind(kind, width, bias=kind.bias and draw(st.booleans()), of=(source,)))
        unread.append(i)
    return [*layers, dense(width, 5, of=(unread.pop(),))]


@settings(max_examples=25)
@given(graphs(), st.integers(2, 40), st.booleans(), st.integers(1, 3))
def test_random_graphs_have_the_gradients_of_pytorch(torch, layers, batch, by_rows, tasks):
    network = Network(layers, np.float64, batch=batch, by_rows=by_rows)
    loss, gradients, _ = network.torch_gradients(torch)
    np.testing.assert_allclose(network.step(tasks), loss, rtol=1e-9)
    # LayerNorm of a column alone divides rounding errors by the root of eps
    np.testing.assert_allclose(network.grads, gradients, rtol=0, atol=1e-9 * max(1e-3, np.abs(gradients).max()))


# Dropout


def test_philox_has_the_known_answers():
    """Of Random123's ``kat_vectors``, philox4x32 with 10 rounds."""
    for counter, key, words in [
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]:  # fmt: skip
        assert [int(word) for word in philox(counter, key)] == list(words)


@pytest.mark.parametrize("width", [1, 15, 16, 17, 31, 64, 65, 100, 130, 200])
@pytest.mark.parametrize("seed", [0, 7, 0xFEDCBA9876543210 - (1 << 64)])
def test_dropout_keeps_what_its_twin_keeps(width, seed, dtype):
    network = at_step(Network([dense(3, width), dropout(width, 0.4)], dtype, batch=9, seed=seed), (1 << 32) - 1)
    network.step()
    row = network.plan[1]
    a = network.work[row[plan.A] // network.dtype.itemsize :][: 9 * row[plan.LD]].reshape(9, -1)[:, :width]
    draw = Draw(seed, (1 << 32) - 1, 1)
    p = round(0.4 * 65536)
    np.testing.assert_array_equal(a != 0, bits_of((9, width), draw) >= p)


def test_random_bits_differ_by_row_place_step_and_seed_and_are_even():
    one = bits_of((500, 64), Draw(1, 2, 3))
    assert abs(one.mean() - 32767.5) < 5 * 18918 / one.size**0.5
    others = [Draw(1, 2, 4), Draw(1, 3, 3), Draw(2, 2, 3), Draw(1 + (1 << 32), 2, 3), Draw(1, 2, 3, 1)]
    for other in [bits_of(one.shape, draw) for draw in others]:
        assert abs(np.corrcoef(one.reshape(-1), other.reshape(-1))[0, 1]) < 5 / one.size**0.5
    np.testing.assert_array_equal(bits_of((499, 64), Draw(1, 2, 3, 1)), one[1:])


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-6])
def test_dropout_of_nothing_and_of_all(p, dtype):
    network = Network([dense(3, 70), dropout(70, p), dense(70, 4)], dtype)
    network.step()
    w = network.parameters(network.grads)[0][0]
    assert not w.any() if p == 1 else w.any()
    assert np.isfinite(network.params).all()
    if p < 1:  # 1e-6 is taken to 0
        assert_close(network.twin(), network.twin(training=False), np.float64)


def test_a_step_that_is_not_made_leaves_the_counter():
    network = Network(NETWORKS["dropout"], np.float32)
    network.settings[frame.FINITE] = 1
    network.step()
    assert network.settings[frame.COUNTER] == 1
    network.x[3] = np.inf
    network.step()
    assert network.settings[frame.COUNTER] == 1


# LayerNorm


def test_layer_norm_of_large_numbers_close_to_each_other_is_near_pytorch(torch):
    network = Network([layer_norm(50), dense(50, 4)], np.float32, lr=0.0)
    network.x += np.float32(1000)
    loss, gradients, _ = network.torch_gradients(torch)
    # the mean is rounded to float32: 3e-5 of a deviation
    assert abs(network.step() - loss) < 2e-4
    np.testing.assert_allclose(network.grads, gradients, rtol=0, atol=1e-3 * np.abs(gradients).max())


# The planner


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "got none"),
        ([dropout(4)], "got none"),
        ([dense(4, 3), dense(4, 2)], r"dense expects sources of 4 columns at row 1, got \[3\]"),
        ([dense(4, 4), dense(4, 4, of=(-1,))], r"got none that reads \[0\]"),
        ([dense(4, 4, of=(0,))], r"dense expects 1 sources above row 0, got \(0,\)"),
        ([dense(4, 4), residual(4, 0, 1)], r"residual expects 2 sources above row 1"),
        ([layer_norm(4)._replace(attributes=())], "layer_norm expects 1 numbers and no activation"),
        ([layer_norm(4)._replace(activation=ACTIVATIONS["relu"])], "layer_norm expects 1 numbers and no activation"),
        ([members(4, 3), members(4, 3), dense(4, 2)], "members expects rows of 1 member at row 1, got 3"),
        ([members(4, 3), batch_norm(4), dense(4, 2)], "batch_norm expects rows of 1 member at row 1, got 3"),
        ([members(4, 3), member_dense(4, 2, 5)], "member_dense expects rows of 5 members at row 1, got 3"),
        ([members(4, 3), residual(4, 0, -1)], "residual expects rows of 1 member at row 1, got 1 and 3"),
        ([dropout(4)._replace(bias=True), dense(4, 3)], "dropout expects no bias at row 0"),
    ],
)
def test_what_is_no_network_is_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        plan.make_plan(layers, 4, 8, train=False)


def test_a_kind_that_couples_rows_has_another_in_predictions():
    kind = replace(KINDS["batch_norm"], prediction=None)
    with pytest.raises(ValueError, match="batch_norm expects a kind in its place in predictions"):
        codes_of([batch_norm(4)._replace(kind=kind)], train=False)


def test_kinds_have_names_and_codes_of_their_own_and_stand_in_order():
    assert [kind.code for kind in KINDS.values()] == list(range(len(KINDS)))


def test_a_gradient_takes_the_place_of_an_output_only_where_nobody_reads_it_later():
    table, _ = plan.make_plan(NETWORKS["residuals"], 4, 64, train=True)
    small, plan.SMALL = plan.SMALL, 0
    table, _ = plan.make_plan(NETWORKS["residuals"], 4, 64, train=True)
    plan.SMALL = small
    outputs = set(table[:, plan.A])
    own = [i for i, row in enumerate(table) if row[plan.D] not in outputs]
    assert {0, 3} <= set(own)  # both have a reader that is not the next row
    assert table[1, plan.D] == table[2, plan.A]
