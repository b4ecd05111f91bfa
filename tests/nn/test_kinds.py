"""LayerNorm, Dropout and Residual in models: as PyTorch's, in training, in files, and what is refused."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import Dense, Dropout, LayerNorm, Residual, Sequential, Trainer
from fastbp.kernels.ops.kinds import KINDS
from fastbp.kernels.registry import Public
from fastbp.nn.layers import MADE, publish
from tests.kernels import graphs
from tests.resumed import stopped


def example(dtype="float32", p=0.3):
    return Sequential(
        Dense(20, 32, "relu", rng=0, dtype=dtype),
        LayerNorm(32, dtype=dtype),
        Dropout(p),
        Residual(Dense(32, 32, "tanh", rng=1, dtype=dtype), LayerNorm(32, bias=False, dtype=dtype), Dropout(p)),
        Dense(32, 5, rng=2, dtype=dtype),
    )


def made(kind, width, dtype, bias=True):
    """A layer of a class that is made from its kind's entry, its own numbers as they are without a choice."""
    options = {"dtype": dtype} if "dtype" in kind._parameters else {}
    for name in {"affine", "bias"} & kind._parameters.keys():
        options[name] = bias
    return kind(*[width] * (len(options) > 0), **options)


def data(rows=500, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 20)).astype(np.float32), rng.integers(0, 5, rows)


def bits(trainer):
    return trainer.model._params.tobytes() + trainer._state.tobytes()


# PyTorch


def in_torch(torch, layer, dtype):
    """Return PyTorch's module of a layer, with its parameters."""
    nn = torch.nn
    if isinstance(layer, Dense):
        linear = nn.Linear(layer.in_features, layer.out_features, layer.has_bias, dtype=dtype)
        function = getattr(
            nn, {"relu": "ReLU", "tanh": "Tanh", "gelu": "GELU", "identity": "Identity"}[layer.activation]
        )
        made = nn.Sequential(linear, function())
    elif isinstance(layer, Residual):
        inner = nn.Sequential(*(in_torch(torch, each, dtype) for each in layer.layers))
        made = nn.Module()
        made.inner, made.forward = inner, lambda x: x + inner(x)
        return made
    else:
        bias = "bias" in layer._named()
        linear = made = graphs.in_torch(torch, layer._kind, layer.in_features, layer._attributes, bias)
    for name, (value, _) in layer._named().items():
        getattr(linear, name).data = torch.tensor(np.array(value), dtype=dtype)
    return made


def torch_gradients(module):
    return [p.grad.numpy().reshape(-1) for p in module.parameters()]


@st.composite
def stacks(draw, width=None, depth=2):
    """Stacks of all kinds of layers; a Dropout that drops nothing is among them."""
    width = width or draw(st.integers(1, 40))
    layers, last = [], width
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([*MADE, "dense", "residual"][: len(MADE) + 1 + (depth > 0)]))
        if kind == "dense":
            outs = draw(st.integers(1, 40))
            activation = draw(st.sampled_from(["relu", "tanh", "gelu", "identity"]))
            layers.append(Dense(last, outs, activation, rng=draw(st.integers(0, 99)), dtype="float64"))
            last = outs
        elif kind != "residual":
            layers.append(Dropout(0.0) if kind is Dropout else made(kind, last, "float64", draw(st.booleans())))
        else:
            inner = draw(stacks(last, depth - 1))
            back = Dense(inner[-1] if isinstance(inner[-1], int) else last, last, rng=3, dtype="float64")
            layers.append(Residual(*inner[:-1], back))
    return [*layers, last]


@settings(max_examples=25)
@given(stacks(), st.integers(2, 30))
def test_random_stacks_train_as_in_pytorch(torch, stack, batch):
    *layers, width = stack
    model = Sequential(*layers, Dense(width, 4, rng=5, dtype="float64"))
    rng = np.random.default_rng(0)
    model._params += 0.1 * rng.standard_normal(model._params.size)
    x, y = rng.standard_normal((batch, model.in_features)), rng.integers(0, 4, batch)
    module = torch.nn.Sequential(*(in_torch(torch, layer, torch.float64) for layer in model))
    out = module.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(model.predict(x), out, rtol=0, atol=1e-9 * (1 + np.abs(out).max()))
    loss = torch.nn.functional.cross_entropy(module.train()(torch.tensor(x)), torch.tensor(y))
    loss.backward()
    np.testing.assert_allclose(Trainer(model, optimizer=fastbp.SGD(0.1)).step(x, y), loss.item(), rtol=1e-9)
    found, exact = [g.reshape(-1) for g in model.gradients().values()], torch_gradients(module)
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-8 * (1 + max(np.abs(g).max() for g in exact)))


def test_names_of_parameters_are_those_of_pytorch():
    assert list(example().parameters()) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "3.0.weight", "3.0.bias", "3.1.weight", "4.weight", "4.bias",
    ]  # fmt: skip
    assert example().parameters().keys() == example().gradients().keys()
    assert example().parameters()["1.weight"].shape == (32,)


# Training


def test_dropout_acts_in_training_alone():
    x, y = data(64)
    with_it, without = example("float64"), example("float64", p=0.0)
    np.testing.assert_array_equal(with_it.predict(x), without.predict(x))
    assert Trainer(with_it, rng=0).step(x, y) != Trainer(without, rng=0).step(x, y)


def test_a_seed_decides_what_is_dropped():
    x, y = data(64)
    steps = [[trainer.step(x, y) for _ in range(3)] for trainer in (Trainer(example(), rng=seed) for seed in (0, 0, 1))]
    assert steps[0] == steps[1] != steps[2]
    fits = [Trainer(example(), rng=9 * i).fit(x, y, rng=s, progress=False)["loss"] for i, s in enumerate((4, 4, 5))]
    assert fits[0] == fits[1] != fits[2]


def test_a_mean_over_many_steps_is_that_of_the_whole_network():
    model = Sequential(Dense(20, 5, rng=0), Dropout(0.5))
    trainer, x = Trainer(model, "mse", rng=0), data(64)[0]
    outputs = []
    for _ in range(400):
        outputs.append(trainer.forward(x))
        trainer._settings[trainer_counter()] += 1
    error = np.mean(outputs, axis=0) - model.predict(x)
    assert np.abs(error).max() < 6 * np.abs(model.predict(x)).max() / 400**0.5


def trainer_counter():
    from fastbp.kernels.run.frame import COUNTER

    return COUNTER


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("batch", [64, 1500])
def test_bits_do_not_depend_on_threads(threads, batch, request):
    x, y = data(1500)
    before = fastbp.get_num_threads()
    request.addfinalizer(lambda: fastbp.set_num_threads(before))
    fastbp.set_num_threads(1)
    one = Trainer(example(), rng=0)
    one.fit(x, y, epochs=1, batch_size=batch, rng=0, progress=False)
    fastbp.set_num_threads(min(threads, before))
    other = Trainer(example(), rng=0)
    other.fit(x, y, epochs=1, batch_size=batch, rng=0, progress=False)
    assert bits(one) == bits(other)


def test_a_run_that_is_stopped_within_an_epoch_goes_on_to_the_same_bits(tmp_path):
    x, y = data()
    whole, other = (Trainer(example(), optimizer=fastbp.Adam(1e-2)) for _ in range(2))
    run = {"epochs": 3, "batch_size": 64, "rng": 7, "progress": False}
    whole.fit(x, y, **run)
    for trainer in stopped(other, 11, tmp_path / "run.checkpoint", x, y, **run):
        trainer.fit(x, y, **run, resume=True)
        assert bits(trainer) == bits(whole)
        assert trainer.step(x[:64], y[:64]) == copy.deepcopy(whole).step(x[:64], y[:64])


def test_steps_by_hand_are_those_of_step():
    x, y = data(64)
    one, other = (Trainer(example("float32"), rng=3) for _ in range(2))
    for _ in range(3):
        one.step(x, y)
        _, gradient = fastbp.softmax_cross_entropy(other.forward(x), y)
        other.backward(gradient)
        other.update()
    assert bits(one) == bits(other)


def test_models_without_dropout_go_forward_and_back_by_hand():
    x, y = data(64)
    model = Sequential(
        Dense(20, 9, "relu", rng=0), Residual(LayerNorm(9), Dense(9, 9, "tanh", rng=1)), Dense(9, 5, rng=2)
    )
    assert fastbp.gradcheck(model, "softmax_cross_entropy", x[:6], y[:6]).ok
    twin = copy.deepcopy(model)
    Trainer(twin, optimizer=fastbp.SGD(1e-30)).step(x, y)
    _, gradient = fastbp.softmax_cross_entropy(model.forward(x), y)
    model.backward(gradient)
    assert model._grads.tobytes() == twin._grads.tobytes()
    with pytest.raises(RuntimeError, match="needs forward before it"):
        model.backward(gradient)


def test_evaluate_is_the_loss_of_predictions():
    x, y = data()
    trainer = Trainer(example())
    loss, _ = fastbp.softmax_cross_entropy(trainer.model.predict(x), y)
    assert trainer.evaluate(x, y)["loss"] == loss


# Files and copies


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_comes_back_from_a_file_a_pickle_and_a_copy(dtype, tmp_path):
    model, x = example(dtype), data(9)[0]
    Trainer(model, rng=0).step(x, data(9)[1])
    model.save(tmp_path / "m.safetensors")
    for twin in (fastbp.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert repr(twin) == repr(model)
        assert twin.predict(x).tobytes() == model.predict(x).tobytes()
    for layer in model:
        alone = pickle.loads(pickle.dumps(layer))
        assert repr(alone) == repr(layer)
        assert alone.owner is None


def test_a_state_dict_goes_to_another_model():
    one, other = example(), example()
    one.load_state_dict({name: value + np.float32(0.5) for name, value in one.state_dict().items()})
    other.load_state_dict(one.state_dict())
    assert other._params.tobytes() == one._params.tobytes()
    assert one[1].weight[0] == 1.5


def test_a_damaged_description_is_refused(tmp_path):
    from fastbp.nn.saving import parameter_shapes

    for layers in (
        [{"kind": "LayerNorm", "eps": 1e-5}], [{"kind": "Dropout"}], [{"kind": "Residual", "layers": 3}],
        [{"kind": "Nothing"}], [3],
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"describes no|to be one of"):
            parameter_shapes(layers)


def test_a_summary_has_a_line_for_each_layer():
    assert [line.split()[:2] for line in example().summary().splitlines()[2:8]] == [
        ["1", "LayerNorm"], ["2", "Dropout"], ["3.0", "tanh"], ["3.1", "LayerNorm"], ["3.2", "Dropout"],
        ["3", "Residual"],
    ]  # fmt: skip


def test_layers_show_what_makes_them():
    assert repr(LayerNorm((8,), 1e-3, bias=False)) == "LayerNorm(8, eps=0.001, bias=False)"
    assert repr(Residual(Dense(3, 3), Dropout(0.1))) == "Residual(Dense(3, 3, activation='identity'), Dropout(0.1))"


def test_parameters_of_a_layer_can_be_set_in_a_model_and_out_of_it():
    layer = LayerNorm(3)
    layer.weight = [1, 2, 3]
    model = Sequential(Dense(2, 3), Residual(layer))
    assert layer.owner is model
    layer.bias = [4, 5, 6]
    np.testing.assert_array_equal(model.parameters()["1.0.weight"], [1, 2, 3])
    np.testing.assert_array_equal(model.parameters()["1.0.bias"], [4, 5, 6])


# Classes that are made from the kernels' table, whatever there is in it

EACH_MADE = pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)


def made_model(kind, dtype="float64"):
    layers = [made(kind, 20, dtype), Dense(20, 16, "tanh", rng=0, dtype=dtype), made(kind, 16, dtype)]
    return Sequential(*layers, Residual(made(kind, 16, dtype)), Dense(16, 5, rng=1, dtype=dtype))


@EACH_MADE
def test_a_made_layer_is_public_and_documented(kind):
    assert kind.__name__ in fastbp.__all__
    assert getattr(fastbp, kind.__name__) is kind
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert kind.__name__ in Sequential.__doc__
    for name in kind._parameters:
        assert f"\n{name} : " in kind.__doc__


@EACH_MADE
def test_a_made_layer_predicts_as_pytorch_s(kind, torch):
    model, (x, _) = made_model(kind), data(30)
    model._params += 0.1 * np.random.default_rng(0).standard_normal(model._params.size)
    module = torch.nn.Sequential(*(in_torch(torch, layer, torch.float64) for layer in model)).eval()
    out = module(torch.tensor(x, dtype=torch.float64)).detach().numpy()
    np.testing.assert_allclose(model.predict(x), out, rtol=1e-10, atol=1e-12)


@EACH_MADE
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_made_layer_trains_stops_and_goes_on_to_the_same_bits_and_comes_back_from_a_file(kind, dtype, tmp_path):
    x, y = data()
    whole, other = (Trainer(made_model(kind, dtype), optimizer=fastbp.Adam(1e-2)) for _ in range(2))
    run = {"epochs": 3, "batch_size": 64, "rng": 7, "progress": False}
    whole.fit(x, y, **run)
    assert whole.history["loss"][-1] < whole.history["loss"][0]
    resumed, *_ = stopped(other, 11, tmp_path / "run.checkpoint", x, y, **run)
    resumed.fit(x, y, **run, resume=True)
    assert bits(resumed) == bits(whole)
    whole.model.save(tmp_path / "m")
    for twin in (fastbp.load(tmp_path / "m"), pickle.loads(pickle.dumps(whole.model)), copy.deepcopy(whole.model)):
        assert repr(twin) == repr(whole.model)
        assert twin.predict(x).tobytes() == whole.model.predict(x).tobytes()


@EACH_MADE
def test_gradients_of_a_made_layer_are_differences(kind):
    x, y = data(6)
    model = made_model(kind)
    if kind._draws:
        with pytest.raises(ValueError, match=f"expects a model without {kind.__name__}, whose random numbers"):
            model.forward(x)
    else:
        assert fastbp.gradcheck(model, "softmax_cross_entropy", x, y).ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"public": None}, "publish expects an entry with public names, got 'dropout' without"),
        ({}, "publish expects a class with a name of its own, got 'Dropout'"),
        ({"public": Public("Any", "")}, "publish expects a class with a name of its own, got 'Any'"),
        ({"sources": 2}, "publish expects a kind that reads one row, .* got 'dropout'"),
        ({"bias": True}, "publish expects a kind that reads one row, .* got 'dropout'"),
        ({"depth": lambda n: n}, "publish expects a kind that reads one row, .* got 'dropout'"),
    ],
)
def test_an_entry_that_makes_no_class_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        publish(replace(KINDS["dropout"], **change))


# What is refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LayerNorm((3, 4)), ValueError, r"LayerNorm expects normalized_shape to be one number, got \(3, 4\)"),
        (lambda: LayerNorm(0), ValueError, "LayerNorm expects normalized_shape of at least 1, got 0"),
        (lambda: LayerNorm(3, eps=-1), ValueError, "LayerNorm expects eps at least 0, got -1"),
        (lambda: LayerNorm(3, dtype="int8"), TypeError, "LayerNorm expects dtype"),
        (lambda: LayerNorm(3, bias="a"), TypeError, "LayerNorm expects bias to be True or False, got 'a'"),
        (lambda: Dense(3, 4, bias=2), TypeError, "Dense expects bias to be True or False, got 2"),
        (lambda: LayerNorm(), TypeError, r"LayerNorm expects \(normalized_shape, .*: missing a required argument"),
        (lambda: Dropout(p=0.5, inplace=True), TypeError, "got an unexpected keyword argument 'inplace'"),
        (lambda: Dropout(1.5), ValueError, r"Dropout expects p in \[0, 1\], got 1.5"),
        (lambda: Dropout("0.5"), TypeError, "Dropout expects p to be a number"),
        (lambda: Residual(), ValueError, "Residual expects at least one layer, got none"),
        (lambda: Residual(Dense(3, 4)), ValueError, "give as many features as they take, 3; got 4"),
        (lambda: Residual(np.tanh), TypeError, "Residual expects layers, got ufunc at position 0"),
        (lambda: Sequential(Dropout(0.5)), ValueError, "Sequential expects a layer that has in_features of its own"),
        (
            lambda: Sequential(Dense(3, 4), LayerNorm(3)), ValueError,
            "Sequential expects in_features 4 at position 1, the out_features before it; got 3",
        ),
        (
            lambda: Sequential(Dense(3, 4), LayerNorm(4, dtype="float64")), TypeError,
            "Sequential expects dtype float32 at position 1 as before, got float64",
        ),
        (lambda: setattr(Dropout(0.5), "p", 0.1), AttributeError, "p stays as it was made"),
        (lambda: setattr(LayerNorm(3, bias=False), "bias", [1, 2, 3]), ValueError, "made with bias=False"),
        (
            lambda: example().forward(np.zeros((2, 20))), ValueError,
            "Sequential.forward expects a model without Dropout, whose random numbers are a Trainer's",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_layer_is_in_one_model():
    layer = LayerNorm(4)
    model = Sequential(Dense(3, 4), Residual(layer))
    with pytest.raises(ValueError, match="Residual expects layers that belong to no model"):
        Residual(layer)
    assert layer.owner is model


def test_a_subclass_that_overrides_what_is_compiled_is_refused():
    class Mine(LayerNorm):
        def forward(self, x):
            return x

    with pytest.raises(TypeError, match="Mine overrides forward"):
        Sequential(Dense(3, 4), Residual(Mine(4)))


@pytest.mark.parametrize("draws", [True, False])
def test_a_trainer_refuses_a_seed_that_is_none_whether_its_model_draws_or_not(draws):
    layers = [fastbp.Dense(3, 2, rng=0)] + [fastbp.Dropout(0.5)] * draws
    with pytest.raises(TypeError, match="Trainer expects rng"):
        fastbp.Trainer(fastbp.Sequential(*layers), "mse", rng="a")
