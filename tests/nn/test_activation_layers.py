"""Activations as layers of their own, those with a learned share, and the layers with a weight for each feature."""

import copy
import pickle

import numpy as np
import pytest

import fastbp
from fastbp import Activation, Dense, Dropout, LayerNorm, ParametricActivation, PReLU, Residual, RMSNorm, Sequential
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.run.fused import fused
from tests.kernels.graphs import activation, dense, dropout, residual


def data(rows=40, columns=6):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, columns)), rng.standard_normal((rows, 3))


def trained(*layers):
    x, y = data()
    model = Sequential(*layers)
    trainer = fastbp.Trainer(model, "mse", fastbp.Adam(1e-2), rng=0)
    losses = [trainer.step(x, y) for _ in range(3)]
    return losses, model._params.tobytes(), model.predict(x).tobytes()


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_after_a_dense_layer_it_is_that_layers_activation_to_the_bit(name, dtype):
    options = {"dtype": dtype, "init": "he_normal"}
    apart = [Dense(6, 9, rng=0, **options), Activation(name), Dense(9, 3, rng=1, **options), Activation(name)]
    assert trained(*apart) == trained(Dense(6, 9, name, rng=0, **options), Dense(9, 3, name, rng=1, **options))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_by_itself_it_computes_the_activation_and_its_gradient(name):
    x, y = data()
    x[:, 0] = np.abs(x[:, 0])  # a row of zeros after relu would be at its kink in all that follows
    before = Activation(name), Dense(6, 6, rng=0, dtype="float64"), LayerNorm(6, dtype="float64"), Activation(name)
    model = Sequential(*before, Residual(Activation(name)), Dense(6, 3, rng=1, dtype="float64"), Activation(name))
    g = ACTIVATIONS[name].value
    z = g(x) @ model[1].weight.T
    z = g((z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5))
    z = g((z + g(z)) @ model[5].weight.T)
    np.testing.assert_allclose(model.predict(x), z, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model.forward(x), z, rtol=1e-10, atol=1e-12)
    assert fastbp.gradcheck(model, "mse", x[:6], y[:6]).ok


def test_layers_become_one_only_where_nobody_else_reads_between():
    def rows(*layers):
        return [(layer.kind.name, layer.activation.name, layer.sources) for layer in fused(layers)]

    assert rows(dense(3, 4), activation(4, "tanh"), activation(4, "relu")) == [
        ("dense", "tanh", (-1,)), ("activation", "relu", (0,)),
    ]  # fmt: skip
    assert rows(dense(3, 4), activation(4, "relu"), residual(4, 1, 0)) == [
        ("dense", "identity", (-1,)), ("activation", "relu", (0,)), ("residual", "identity", (1, 0)),
    ]  # fmt: skip
    assert rows(activation(3, "relu"), dense(3, 3), dropout(3), activation(3, "elu"), residual(3, 3, 0)) == [
        ("activation", "relu", (-1,)), ("dense", "identity", (0,)), ("dropout", "identity", (1,)),
        ("activation", "elu", (2,)), ("residual", "identity", (3, 0)),
    ]  # fmt: skip
    assert rows(dense(3, 3), activation(3, "silu"), dense(3, 3), residual(3, 2, 1)) == [
        ("dense", "silu", (-1,)), ("dense", "identity", (0,)), ("residual", "identity", (1, 0)),
    ]  # fmt: skip


def test_one_of_a_users_own_trains_and_is_given_to_a_file_of_it(tmp_path):
    own = fastbp.activation("cubed", lambda v, z: (z * z * z, z * z * 3.0))
    x, y = data()
    inner = LayerNorm(4), Activation(own), ParametricActivation(4, own)
    model = Sequential(Dense(6, 4, rng=0), *inner, Dense(4, 3, rng=1))
    fastbp.Trainer(model, "mse").step(x, y)
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match="'cubed', which is none of fastbp's"):
        fastbp.load(tmp_path / "m")
    for twin in (fastbp.load(tmp_path / "m", activations=[own]), copy.deepcopy(model)):
        assert twin.predict(x).tobytes() == model.predict(x).tobytes()
    assert repr(model[2]) == "Activation('cubed')"


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh"])
def test_a_parametric_activation_is_a_share_of_each(name, tmp_path):
    x, y = data()
    layer = ParametricActivation(6, name, init=0.25, dtype="float64")
    model = Sequential(layer, Dense(6, 3, rng=0, dtype="float64"))
    np.testing.assert_array_equal(layer.weight, 0.25)
    layer.weight[...] = np.linspace(-1, 2, 6)
    a = layer.weight * ACTIVATIONS[name].value(x) + (1 - layer.weight) * x
    np.testing.assert_allclose(model.predict(x), a @ model[1].weight.T, rtol=1e-12, atol=1e-14)
    assert fastbp.gradcheck(model, "mse", x[:6], y[:6]).ok
    trainer = fastbp.Trainer(model, "mse", fastbp.Adam(1e-2))
    trainer.step(x, y)
    trainer.save_checkpoint(tmp_path / "c")
    for twin in (fastbp.Trainer.load_checkpoint(tmp_path / "c").model, pickle.loads(pickle.dumps(model))):
        assert repr(twin) == repr(model)
        assert twin.predict(x).tobytes() == model.predict(x).tobytes()


def test_with_all_of_its_share_it_is_the_activation_exactly():
    x, _ = data()
    model = Sequential(ParametricActivation(6, "silu", dtype="float64"))
    alone = Sequential(fastbp.Scale(6, dtype="float64"), Activation("silu"))
    assert model.predict(x).tobytes() == alone.predict(x).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rms_norm_takes_the_epsilon_of_its_dtype_or_one_that_is_given(dtype):
    layer = RMSNorm(3, dtype=dtype)
    assert layer.eps is None
    assert layer._attributes == (np.finfo(dtype).eps,)
    x = np.full((1, 3), 1e-10, dtype)
    found = Sequential(layer).predict(x)
    np.testing.assert_allclose(found, x / np.sqrt(x**2 + np.finfo(dtype).eps), rtol=1e-5)
    assert repr(RMSNorm(3, 1e-6)) == "RMSNorm(3, eps=1e-06)"
    assert RMSNorm(3, 0.0)._attributes == (0.0,)


@pytest.mark.parametrize("slopes", [1, 6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_prelu_has_one_slope_or_one_of_each_feature(slopes, dtype, tmp_path):
    x, y = data()
    model = Sequential(
        Dense(6, 6, rng=0, dtype=dtype), PReLU(slopes, 0.5, dtype=dtype), Dense(6, 3, rng=1, dtype=dtype)
    )
    assert model.parameters()["1.weight"].shape == (slopes,)
    assert model[1].in_features == 6
    z = x.astype(dtype) @ model[0].weight.T
    np.testing.assert_allclose(model.predict(x), np.where(z > 0, z, z / 2) @ model[2].weight.T, rtol=1e-4, atol=1e-6)
    assert fastbp.gradcheck(model, "mse", x[:6], y[:6]).ok
    trainer = fastbp.Trainer(model, "mse", fastbp.Adam(1e-2))
    trainer.step(x, y)
    assert (model[1].weight != 0.5).all()
    trainer.save_checkpoint(tmp_path / "c")
    model.save(tmp_path / "m")
    for twin in (
        fastbp.load(tmp_path / "m"), fastbp.Trainer.load_checkpoint(tmp_path / "c").model,
        pickle.loads(pickle.dumps(model)), copy.deepcopy(model),
    ):  # fmt: skip
        assert repr(twin) == repr(model)
        assert twin.predict(x).tobytes() == model.predict(x).tobytes()
    assert repr(pickle.loads(pickle.dumps(model[1]))) == repr(PReLU(slopes, 0.5, dtype=dtype))


@pytest.mark.parametrize("batch", [5, 300, 5000])
def test_bits_of_one_slope_do_not_depend_on_threads(batch, request):
    before = fastbp.get_num_threads()
    request.addfinalizer(lambda: fastbp.set_num_threads(before))
    x, y = data(batch)
    found = set()
    for threads in (1, 2, 3, 16):
        fastbp.set_num_threads(min(threads, before))
        model = Sequential(Dense(6, 200, rng=0), PReLU(), Dense(200, 3, rng=1))
        fastbp.Trainer(model, "mse", fastbp.Adam(1e-2)).fit(x, y, epochs=2, batch_size=batch, rng=0, progress=False)
        found.add(model._params.tobytes())
    assert len(found) == 1


def test_prelu_is_pytorchs_at_special_values(torch):
    x = np.array([[np.inf, -np.inf, 0.0, -0.0, np.nan, -2.0]])
    weight = np.array([0.5, -0.5, 0.5, 0.5, 0.5, np.inf])
    layer = PReLU(6, init=-1.5, dtype="float64")
    np.testing.assert_array_equal(layer.weight, -1.5)
    layer.weight[...] = weight
    module = torch.nn.PReLU(6, dtype=torch.float64)
    module.weight.data = torch.tensor(weight)
    np.testing.assert_array_equal(Sequential(layer).predict(x), module(torch.tensor(x)).detach().numpy())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Activation("none"), ValueError, "Activation expects activation to be one of identity, relu"),
        (lambda: Activation(3), ValueError, "Activation expects activation to be one of"),
        (lambda: Sequential(Activation("relu")), ValueError, "a layer that has in_features of its own"),
        (lambda: ParametricActivation(0, "relu"), ValueError, "ParametricActivation expects features of at least 1"),
        (lambda: ParametricActivation(3, "relu", np.nan), ValueError, "ParametricActivation expects init"),
        (lambda: ParametricActivation(3, "relu", dtype="f2"), TypeError, "ParametricActivation expects dtype"),
        (lambda: PReLU(3, init=np.inf), ValueError, "PReLU expects init"),
        (lambda: PReLU(0), ValueError, "PReLU expects num_parameters of at least 1"),
        (lambda: Sequential(Dense(3, 4), PReLU(3)), ValueError, "expects in_features 4 at position 1"),
        (lambda: Sequential(Dense(3, 4), PReLU(dtype="float64")), TypeError, "expects dtype float32 at position 1"),
        (lambda: RMSNorm(3, eps=-1), ValueError, "RMSNorm expects eps at least 0"),
        (lambda: LayerNorm(3, eps=None), TypeError, "LayerNorm expects eps to be a number, got None"),
        (lambda: setattr(Activation("relu"), "activation", "tanh"), AttributeError, "activation stays as it was made"),
        (lambda: Sequential(Dense(3, 3), Dropout(0.1), Activation("x")), ValueError, "to be one of"),
    ],
)
def test_what_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
