"""Sparse batches: the stored numbers alone, against the twin in float64 and to the bits of the dense layer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp.kernels import entries
from fastbp.kernels import optimizers as updates
from fastbp.kernels.ops.kinds import DENSE, SPARSE_DENSE
from fastbp.kernels.ops.sparse_dense import ABREAST, BLOCK
from fastbp.kernels.run import plan
from tests.kernels.graphs import Network, dense, dropout, layer_norm, residual
from tests.kernels.sparse import SparseNetwork, Stored, random_rows

UNIT = {np.dtype("f4"): 2.0**-24, np.dtype("f8"): 2.0**-53}
NETWORKS = {
    "one layer": [dense(20, 7)],
    "two layers": [dense(20, 33, "relu"), dense(33, 7)],
    "without bias": [dense(20, 130, "gelu", bias=False), dense(130, 7)],
    "one column": [dense(20, 1, "tanh"), dense(1, 7)],
    "two readers of the batch": [dense(20, 9, "tanh"), dense(20, 9, "relu", of=(-1,)), residual(9, 0, 1), dense(9, 7)],
    "other kinds after it": [dense(20, 40, "relu"), layer_norm(40), dropout(40), dense(40, 7)],
}
EACH_NETWORK = pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())
WAYS = pytest.mark.parametrize("by_rows", [True, False], ids=["by rows", "op after op"])


def both(layers, dtype, x, **more):
    """Return the same network for a dense batch and for its stored numbers."""
    one, other = Network(layers, dtype, batch=len(x), **more), SparseNetwork(layers, dtype, x, **more)
    one.x = x
    return one, other


def same(one, other):
    """Whether arrays are equal to the bit, but for the sign of zeros: a sum of stored numbers may be -0."""
    return (one + 0.0).tobytes() == (other + 0.0).tobytes()


@EACH_NETWORK
@WAYS
@pytest.mark.parametrize("batch", [5, 1500])
def test_steps_and_predictions_have_the_bits_of_the_dense_layer(layers, by_rows, batch, dtype):
    x = random_rows(np.random.default_rng(0), batch, 20, 0.3, dtype)
    one, other = both(layers, dtype, x, by_rows=by_rows, code=updates.ADAM, lr=1e-2)
    for tasks in (1, 2, 3):
        assert one.step() == other.step(tasks)
        assert same(one.grads, other.grads)
        assert same(one.params, other.params)
    assert same(one.predict(), other.predict(2))
    assert other.predict(3, first=2).tobytes() == other.predict()[2:].tobytes()


@settings(max_examples=40)
@given(
    st.integers(1, 40), st.integers(1, 90), st.integers(1, 300), st.sampled_from([0.0, 0.1, 1.0]), st.booleans(),
    st.sampled_from(["f4", "f8"]), st.booleans(), st.integers(1, 5), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_layer_is_its_twin_within_the_bound(rows, ins, outs, density, zeros, dtype, by_rows, tasks, seed):
    """Each of the K + 1 terms of an element is rounded once; dW has a term for each row. Zeros may be stored."""
    rng = np.random.default_rng(seed)
    x = random_rows(rng, rows, ins, density, dtype)
    network = SparseNetwork([dense(ins, outs)], dtype, x, also=zeros & (rng.random(x.shape) < 0.2), by_rows=by_rows)
    (w, b), unit = network.parameters()[0], UNIT[np.dtype(dtype)]
    exact = network.twin()
    bound = (ins + 2) * unit * (np.abs(x.astype(float)) @ np.abs(w) + np.abs(b))
    assert (np.abs(network.predict(tasks) - exact) <= bound).all()
    dout = rng.standard_normal((rows, outs)).astype(dtype)
    none = np.empty((rows, 0), dtype)
    out = np.full((rows, outs), np.nan, dtype)
    entries.forward_batch(network.addresses, none, out, tasks)
    assert (np.abs(out - exact) <= bound).all()
    entries.backward_batch(network.addresses, none, dout, tasks)
    dw, db = network.parameters(network.grads)[0]
    wide = x.astype(float).T, dout.astype(float)
    assert (np.abs(dw - wide[0] @ wide[1]) <= (rows + 2) * unit * (np.abs(wide[0]) @ np.abs(wide[1]))).all()
    assert (np.abs(db - wide[1].sum(axis=0)) <= (rows + 2) * unit * np.abs(wide[1]).sum(axis=0)).all()


def test_the_twin_of_the_sparse_layer_is_the_dense_layers():
    rng = np.random.default_rng(0)
    x, w, b = random_rows(rng, 9, 30, 0.2, float), rng.standard_normal((30, 4)), rng.standard_normal(4)
    np.testing.assert_allclose(SPARSE_DENSE.twin([x], w, b, (), None), DENSE.twin([x], w, b, (), None), rtol=1e-13)


@pytest.mark.parametrize(("batch", "ins", "outs"), [(2 * ABREAST + 3, 7, 3000), (3, 3 * BLOCK // 64 + 1, 64)])
def test_many_rows_and_many_columns_have_the_bits_of_the_dense_layer(batch, ins, outs):
    """More rows than are walked along at a time, and more of dW than a block."""
    x = random_rows(np.random.default_rng(0), batch, ins, 0.2, np.float32)
    one, other = both([dense(ins, outs), dense(outs, 3)], np.float32, x, by_rows=False)
    assert one.step(2) == other.step(3)
    assert same(one.grads, other.grads)


@WAYS
def test_bits_do_not_depend_on_tasks(by_rows):
    layers, results = [dense(300, 70, "relu"), dense(70, 7)], set()
    x = random_rows(np.random.default_rng(0), 900, 300, 0.05, np.float32)
    for tasks in (1, 2, 3, 7, 16):
        network = SparseNetwork(layers, np.float32, x, by_rows=by_rows, code=updates.ADAM, lr=1e-2)
        losses = [network.step(tasks) for _ in range(3)]
        results.add((network.params.tobytes(), network.grads.tobytes(), tuple(losses)))
    assert len(results) == 1


def test_what_is_not_stored_meets_no_weight(dtype):
    """0 times an infinity or NaN is NaN in a dense layer; here it is no term. A stored number is one as any."""
    x = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 0]], dtype)
    network = SparseNetwork([dense(3, 2, bias=False)], dtype, x)
    network.parameters()[0][0][...] = [[3, 4], [np.inf, np.nan], [1, 1]]
    np.testing.assert_array_equal(network.predict(), [[3, 4], [np.inf, np.nan], [0, 0]])
    network.give(np.array([[1, 0, 0], [0, 2, 0], [0, 0, np.nan]], dtype))
    assert np.isnan(network.predict()[2]).all()


def test_rows_whose_label_is_ignored_count_for_nothing(dtype):
    """A NaN in one would be 0 * NaN in dW."""
    x = random_rows(np.random.default_rng(0), 30, 20, 0.3, dtype)
    for by_rows in (True, False):
        one, other = both(NETWORKS["two layers"], dtype, x, by_rows=by_rows)
        one.y[[3, 8]] = other.y[[3, 8]] = -100
        one.x, spoilt = x.copy(), x.copy()
        spoilt[3], spoilt[8] = np.nan, np.inf
        other.give(spoilt)
        assert one.step() == other.step()
        assert same(one.params, other.params)


@pytest.mark.parametrize(
    ("spoil", "row"),
    [
        (lambda s: None, -1),
        (lambda s: s.indices.__setitem__(5, 4), 2),  # of 4 columns
        (lambda s: s.indices.__setitem__(2, -1), 1),
        (lambda s: s.indices.__setitem__([4, 5], s.indices[[5, 4]]), 2),
        (lambda s: s.indices.__setitem__(5, s.indices[4]), 2),
        (lambda s: s.indptr.__setitem__(1, -1), 0),
        (lambda s: s.indptr.__setitem__(3, 7), 2),
        (lambda s: s.indptr.__setitem__(2, 1), 1),
    ],
    ids=["sound", "past the last column", "negative", "falling", "twice", "before 0", "too many", "ends before"],
)
def test_the_first_wrong_row_is_found(spoil, row):
    stored = Stored(np.array([[1, 2, 0, 0], [0, 3, 0, 4], [0, 5, 6, 0]], np.float32))
    spoil(stored)
    assert entries.first_wrong_row(stored.table(), 3, 4, 6) == row


@pytest.mark.parametrize(
    "layers",
    [
        [dense(4, 4), residual(4, 0, -1)],
        [layer_norm(4), dense(4, 3)],
        [dropout(4), dense(4, 3)],
    ],
    ids=["residual", "layer norm", "dropout"],
)
def test_a_batch_that_others_read_is_no_sparse_one(layers):
    assert plan.on_sparse(layers) is None


def test_a_plan_is_for_sparse_batches_or_for_dense_ones():
    first, second = plan.on_sparse([dense(4, 4)])[0], dense(4, 4, of=(-1,))
    with pytest.raises(ValueError, match="sparse for all layers or none, got dense at row 1"):
        plan.make_plan([first, second, residual(4, 0, 1)], 4, 8, train=True)
    with pytest.raises(ValueError, match=r"sparse_dense expects to read the batch at row 1, got \(0,\)"):
        plan.make_plan([first, first._replace(sources=(0,))], 4, 8, train=True)
