"""Derivatives by the input: PyTorch's, the bits of the way back, and nothing else is touched."""

import copy
import threading

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Dropout, Embedding, LayerNorm, Periodic, Residual, Sequential, Trainer
from fastbp.kernels.run import plan
from tests.nn.test_embedding import run_in_torch


def example(dtype="float64", width=20, dropout=True):
    return Sequential(
        Embedding([4, 9], [3, 5], [1, 2], dtype=dtype, rng=0),
        Periodic(3, 4, 3, 0.5, in_features=11, dtype=dtype, rng=1),
        Dense(17, width, "gelu", dtype=dtype, rng=2),
        Residual(
            LayerNorm(width, dtype=dtype), Dense(width, width, "tanh", dtype=dtype, rng=3), *[Dropout(0.5)] * dropout
        ),
        Dense(width, width, "relu", dtype=dtype, rng=4),
        Dense(width, 6, "sigmoid", dtype=dtype, rng=5),
    )


def data(rows, dtype="float64"):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 5)).astype(dtype)
    x[:, 1], x[:, 2] = rng.integers(0, 4, rows), rng.integers(0, 9, rows)
    return x


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-6), ("float64", 1e-14)])
def test_they_are_those_of_pytorch(dtype, tolerance, torch):
    first = Embedding([4, 9], [3, 5], [1, 2], dtype=dtype, rng=0), Periodic(11, 4, 3, 0.5, dtype=dtype, rng=1)
    model, x = Sequential(*first, Dense(33, 20, "relu", dtype=dtype), Dense(20, 4, dtype=dtype)), data(30, dtype)
    out, _, leaf = run_in_torch(torch, model, x)
    exact = np.stack([torch.autograd.grad(out[:, k].sum(), leaf, retain_graph=True)[0].numpy() for k in range(4)], 1)
    scale = np.abs(exact).max()
    np.testing.assert_allclose(model.jacobian(x), exact, rtol=0, atol=tolerance * scale)
    dy = np.random.default_rng(1).standard_normal((30, 4))
    along = np.einsum("rk,rki->ri", dy, exact)
    np.testing.assert_allclose(model.input_gradient(x, dy), along, rtol=0, atol=10 * tolerance * scale)


@pytest.mark.parametrize("by_rows", [True, False], ids=["by rows", "op after op"])
@pytest.mark.parametrize("rows", [1, 37, 2500])
def test_they_have_the_bits_of_the_way_back_and_of_any_threads(by_rows, rows, request, monkeypatch):
    before, width = fastbp.get_num_threads(), 50
    monkeypatch.setattr(plan, "SMALL", 1 << 40 if by_rows else 0)
    request.addfinalizer(lambda: fastbp.set_num_threads(before))
    model, x = example("float32", width), data(rows, "float32")
    by_hand = example("float32", width, dropout=False)
    dy = np.random.default_rng(1).standard_normal((rows, 6)).astype("float32")
    by_hand.forward(x)
    exact = by_hand.backward(dy).tobytes()
    found = set()
    for threads in (1, min(2, before), min(5, before)):
        fastbp.set_num_threads(threads)
        assert model.input_gradient(x, dy).tobytes() == exact
        found.add(model.jacobian(x[:99]).tobytes())
    assert len(found) == 1
    by_hand.forward(x[:99])
    ones = np.zeros((len(x[:99]), 6), "float32")
    ones[:, 3] = 1
    assert model.jacobian(x[:99])[:, 3].tobytes() == by_hand.backward(ones).tobytes()


def test_a_row_is_differentiated_alike_in_any_batch():
    model, x = example("float32"), data(300, "float32")
    whole = model.jacobian(x)
    assert whole.flags.c_contiguous
    for rows in (slice(0, 1), slice(7, 90), slice(299, 300)):
        assert model.jacobian(x[rows]).tobytes() == whole[rows].tobytes()
    assert (whole[:, :, [1, 2]] == 0).all()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_norm_is_the_affine_map_of_its_running_statistics(affine, dtype, torch):
    own = [fastbp.BatchNorm(width, affine=affine, dtype=dtype) for width in (5, 20, 20, 4)]
    model = Sequential(
        own[0], Dense(5, 20, "tanh", dtype=dtype, rng=0), own[1],
        Residual(own[2], Dense(20, 20, "gelu", dtype=dtype, rng=1)), Dropout(0.3),
        Dense(20, 4, dtype=dtype, rng=2), own[3],
    )  # fmt: skip
    x, rng = data(90, dtype), np.random.default_rng(2)
    trainer = Trainer(model, "mse", fastbp.SGD(0.1), rng=0)
    for _ in range(3):
        trainer.step(x, rng.standard_normal((90, 4)))
    module, before = model.to_torch().double().eval(), model._buffers.tobytes()
    exact = (
        torch.func.vmap(torch.func.jacrev(lambda row: module(row[None])[0]))(torch.tensor(x, dtype=torch.float64))
        .detach()
        .numpy()
    )
    found = model.jacobian(x)
    np.testing.assert_allclose(found, exact, rtol=0, atol=(3e-6 if dtype == "float32" else 1e-13) * np.abs(exact).max())
    assert model.jacobian(x[7:9]).tobytes() == found[7:9].tobytes()
    along = model.input_gradient(x, np.tile(np.eye(4)[2], (90, 1)))
    np.testing.assert_allclose(along, found[:, 2], rtol=1e-5)
    assert model._buffers.tobytes() == before


def test_nothing_else_is_touched():
    model, x = example("float64", dropout=False), data(20)
    out = model.forward(x)
    model._grads[:] = 7
    before = model._params.tobytes()
    model.jacobian(x)
    model.input_gradient(x, out)
    assert model._params.tobytes() == before
    assert (model._grads == 7).all()
    twin = copy.deepcopy(model)
    twin.forward(x)
    assert model.backward(out).tobytes() == twin.backward(out).tobytes()


def test_parameters_that_have_changed_are_taken_as_they_are():
    model, x = example(), data(20)
    before = model.jacobian(x)
    Trainer(model, "mse", fastbp.SGD(0.1), rng=0).step(x, np.zeros((20, 6)))
    assert (model.jacobian(x) != before).any()


def test_threads_may_call_at_once():
    model, x = example(), data(200)
    exact, found = model.jacobian(x).tobytes(), []
    threads = [threading.Thread(target=lambda: found.append(model.jacobian(x).tobytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {exact}
    assert len(found) == 4


def test_any_real_numbers_are_taken(tmp_path):
    model, x = example("float32"), data(20_000, "float32")
    np.save(tmp_path / "x.npy", x.astype("float64"))
    exact, dy = model.input_gradient(x, np.ones((20_000, 6))), np.ones((20_000, 6), "int8")
    for given in (x.astype("float64"), np.asfortranarray(x), np.load(tmp_path / "x.npy", mmap_mode="r")):
        assert model.input_gradient(given, dy).tobytes() == exact.tobytes()


def test_what_cannot_be_is_refused():
    model, x = example(), data(20)
    with pytest.raises(ValueError, match=r"input_gradient expects dy of shape \(20, 6\), got \(20, 5\)"):
        model.input_gradient(x, np.ones((20, 5)))
    with pytest.raises(ValueError, match=r"jacobian expects x of shape \(batch, 5\), got \(20, 4\)"):
        model.jacobian(x[:, :4])
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(x)
    for call in (model.jacobian, lambda x: model.input_gradient(x, np.ones((20, 6)))):
        with pytest.raises(TypeError, match=r"expects x to be a dense array, got a sparse matrix; call .toarray"):
            call(sparse)
    x[13, 2] = 9
    with pytest.raises(ValueError, match=r"codes in 0\.\.8 in column 2 of x, got 9.0 in row 13"):
        model.jacobian(x)
