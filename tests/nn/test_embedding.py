"""Embedding and Periodic in models: as PyTorch's, in training and files, codes looked at wherever x is taken."""

import copy
import fnmatch
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import Dense, Dropout, Embedding, Periodic, Residual, Sequential, Trainer
from tests.nn.test_kinds import bits
from tests.resumed import stopped

CARDINALITIES, DIMS, COLUMNS = (50, 3, 7), (6, 2, 9), (4, 0, 2)


def example(dtype="float32", cardinalities=CARDINALITIES):
    return Sequential(
        Embedding(cardinalities, DIMS, COLUMNS, dtype=dtype, rng=0),
        Periodic(2, 5, 3, 0.5, in_features=19, dtype=dtype, rng=1),
        Dense(23, 16, "relu", dtype=dtype, rng=2),
        Dropout(0.2),
        Dense(16, 3, dtype=dtype, rng=3),
    )


def data(rows=300, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 5)).astype(dtype)
    for column, cardinality in zip(COLUMNS, CARDINALITIES, strict=True):
        x[:, column] = rng.integers(0, cardinality, rows)
    return x, rng.integers(0, 3, rows)


# PyTorch


def run_in_torch(torch, model, x):
    """Return the output in float64, and the tensors of all parameters and of x."""
    leaf = torch.tensor(np.asarray(x, np.float64), requires_grad=True)
    tensors = {k: torch.tensor(np.array(v, np.float64), requires_grad=True) for k, v in model.parameters().items()}
    out = leaf
    for i, layer in enumerate(model):
        own = {name.split(".", 1)[1]: value for name, value in tensors.items() if name.split(".")[0] == str(i)}
        if isinstance(layer, Embedding):
            others = [j for j in range(layer.in_features) if j not in layer.columns]
            codes = [out[:, j].long() for j in layer.columns]
            rows = [torch.nn.functional.embedding(c, own[f"{k}.weight"]) for k, c in enumerate(codes)]
            out = torch.cat([out[:, others], *rows], dim=1)
        elif isinstance(layer, Periodic):
            out = waves(torch, layer, own, out)
        elif isinstance(layer, Dense):
            out = torch.nn.functional.linear(out, own["weight"], own["bias"])
            out = torch.relu(out) if layer.activation == "relu" else out
    return out, tensors, leaf


def waves(torch, layer, own, x):
    angles = 2 * torch.pi * own["frequency"] * x[:, : layer.features, None] + own["phase"]
    numbers = torch.einsum("rik,ijk->rij", torch.cos(angles), own["weight"]) + own["bias"]
    return torch.cat([x, numbers.transpose(1, 2).reshape(len(x), -1)], dim=1)


@st.composite
def models(draw):
    """Random models that begin with an Embedding, a Periodic, or both; and x for them."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    width, layers = draw(st.integers(1, 20)), []
    x = rng.standard_normal((draw(st.integers(1, 40)), width))
    if draw(st.booleans()):
        columns = rng.permutation(width)[: draw(st.integers(1, min(width, 4)))].tolist()
        cardinalities, dims = ([draw(st.integers(1, 20)) for _ in columns] for _ in range(2))
        layers.append(Embedding(cardinalities, dims, columns, dtype="float64", rng=0))
        for column, cardinality in zip(columns, cardinalities, strict=True):
            x[:, column] = rng.integers(0, cardinality, len(x))
        width += sum(dims) - len(columns)
    if not layers or draw(st.booleans()):
        features, frequencies, dim = draw(st.integers(1, width)), draw(st.integers(1, 9)), draw(st.integers(2, 5))
        layers.append(Periodic(features, frequencies, dim, 0.5, in_features=width, dtype="float64", rng=1))
        width = layers[-1].out_features
    layers += [Dense(width, 9, "relu", dtype="float64", rng=2), Dense(9, 3, dtype="float64", rng=3)]
    return Sequential(*layers), x


@settings(max_examples=15)
@given(models())
def test_random_models_are_those_of_pytorch(torch, drawn):
    model, x = drawn
    y = np.arange(len(x)) % 3
    out, tensors, leaf = run_in_torch(torch, model, x)
    loss = torch.nn.functional.cross_entropy(out, torch.tensor(y))
    loss.backward()
    np.testing.assert_allclose(model.predict(x), out.detach().numpy(), rtol=0, atol=1e-11)
    _, gradient = fastbp.softmax_cross_entropy(model.forward(x), y)
    np.testing.assert_allclose(model.backward(gradient), leaf.grad.numpy(), rtol=0, atol=1e-11)
    assert Trainer(model, optimizer=fastbp.SGD(0.1)).step(x, y) == pytest.approx(loss.item(), rel=1e-11)
    for name, found in model.gradients().items():
        np.testing.assert_allclose(found, tensors[name].grad.numpy(), rtol=0, atol=1e-11, err_msg=name)


def test_float32_is_near_pytorch_s_float64(torch):
    model, (x, _) = example(), data()
    out, _, _ = run_in_torch(torch, model, x)
    np.testing.assert_allclose(model.predict(x), out.detach().numpy(), rtol=0, atol=3e-6)


def test_a_periodic_at_large_numbers_is_exact_to_the_rounding_of_its_turns():
    layer = Periodic(4, 1, 2, dtype="float64", rng=0)
    layer.frequency, layer.phase = np.ones((4, 1)), np.zeros((4, 1))
    layer.weight, layer.bias = np.ones((4, 1, 1)), np.zeros((4, 1))
    model = Sequential(layer, Dense(8, 8, init=lambda rng, shape: np.eye(8), dtype="float64"))
    found = model.predict([[2.0**51 + 0.5, 1e300, -(2.0**40) - 0.25, 1 / 3]])[0, 4:]
    np.testing.assert_allclose(found, [-1, 1, 0, -0.5], rtol=0, atol=1e-15)
    assert np.isnan(model.predict([[np.inf, 0, 0, 0]])[0, 4])


# Training


def test_gradients_are_differences():
    model, (x, y) = example("float64"), data(8)
    model = Sequential(*(copy.deepcopy(layer) for layer in model if not isinstance(layer, Dropout)))
    assert fastbp.gradcheck(model, "softmax_cross_entropy", x, y).ok


def test_a_code_that_comes_often_has_the_sum_of_its_rows():
    model = Sequential(Embedding([3], [2], [0], dtype="float64", rng=0), Dense(2, 2, init="zeros", dtype="float64"))
    model[1].weight = np.eye(2)
    model.forward([[2], [0], [2], [2]])
    model.backward([[1, 2], [10, 20], [100, 200], [1000, 2000]])
    np.testing.assert_array_equal(model[0].weight_grads[0], [[10, 20], [0, 0], [1101, 2202]])


@pytest.mark.parametrize("batch", [64, 3000])
@pytest.mark.parametrize("cardinalities", [CARDINALITIES, (60_000, 3, 7)], ids=["by rows", "op after op"])
def test_bits_do_not_depend_on_threads(batch, cardinalities, request):
    (x, y), before, found = data(3000), fastbp.get_num_threads(), set()
    request.addfinalizer(lambda: fastbp.set_num_threads(before))
    for threads in (1, 2, min(16, before)):
        fastbp.set_num_threads(threads)
        trainer = Trainer(example(cardinalities=cardinalities), rng=0)
        trainer.fit(x, y, batch_size=batch, rng=0, progress=False)
        found.add(bits(trainer))
    assert len(found) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_that_is_stopped_goes_on_to_the_same_bits_and_its_model_comes_back(dtype, tmp_path):
    x, y = data(500)
    whole, other = (Trainer(example(dtype), optimizer=fastbp.Adam(1e-2)) for _ in range(2))
    run = {"epochs": 3, "batch_size": 64, "rng": 7, "progress": False}
    whole.fit(x, y, **run)
    for trainer in stopped(other, 11, tmp_path / "run.checkpoint", x, y, **run):
        trainer.fit(x, y, **run, resume=True)
        assert bits(trainer) == bits(whole)
    whole.model.save(tmp_path / "m")
    for twin in (fastbp.load(tmp_path / "m"), pickle.loads(pickle.dumps(whole.model)), copy.deepcopy(whole.model)):
        assert repr(twin) == repr(whole.model)
        assert twin.predict(x).tobytes() == whole.model.predict(x).tobytes()


def test_steps_by_hand_are_those_of_step():
    x, y = data(64)
    one, other = (Trainer(example(), rng=3) for _ in range(2))
    for _ in range(3):
        one.step(x, y)
        _, gradient = fastbp.softmax_cross_entropy(other.forward(x), y)
        other.backward(gradient)
        other.update()
    assert bits(one) == bits(other)


GROUPS = {
    "0.0.weight": {"lr_factor": 2.0}, "0.2.*": {"lr_factor": 0.0}, "1.phase": {"lr_factor": 0.5},
    "1.weight": {"weight_decay": 0.1}, "*.bias": {"lr_factor": 3.0},
}  # fmt: skip


@pytest.mark.parametrize("batch", [64, 3000])
@pytest.mark.parametrize("cardinalities", [CARDINALITIES, (60_000, 3, 7)], ids=["by rows", "op after op"])
@pytest.mark.parametrize("clip_norm", [None, 1e9])
def test_each_parameter_has_the_numbers_of_its_group(batch, cardinalities, clip_norm):
    x, y = data(batch)
    trainer = Trainer(
        example(cardinalities=cardinalities), "softmax_cross_entropy", fastbp.SGD(0.5, groups=GROUPS), clip_norm
    )
    before = trainer.model.state_dict()
    trainer.step(x, y)
    for name, gradient in trainer.model.gradients().items():
        options = {
            key: value
            for pattern, group in GROUPS.items()
            if fnmatch.fnmatch(name, pattern)
            for key, value in group.items()
        }
        step = 0.5 * options.get("lr_factor", 1.0) * (gradient + options.get("weight_decay", 0.0) * before[name])
        found = trainer.model.parameters()[name]
        np.testing.assert_allclose(found, before[name] - step, rtol=1e-6, atol=1e-7, err_msg=name)
        assert gradient.any()


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_layer_that_is_not_trainable_stays(frozen, tmp_path):
    (x, y), model = data(64), example()
    model[frozen].trainable = False
    before = model.state_dict()
    Trainer(model, rng=0).fit(x, y, batch_size=16, rng=0, progress=False)
    changed = {name for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert changed == {name for name in before if not name.startswith(f"{frozen}.")}
    model.save(tmp_path / "m")
    assert [layer.trainable for layer in fastbp.load(tmp_path / "m")] == [i != frozen for i in range(5)]


def test_a_part_of_a_model_computes_what_it_has():
    model, (x, _) = example(), data(9)
    first, rest = model[:2], model[2:]
    np.testing.assert_array_equal(rest.predict(first.predict(x)), model.predict(x))
    along = np.einsum("rki,rij->rkj", rest.jacobian(first.predict(x)), first.jacobian(x))
    np.testing.assert_allclose(model.jacobian(x), along, rtol=0, atol=1e-5)
    x[0, 0] = 3
    with pytest.raises(ValueError, match=r"codes in 0\.\.2 in column 0 of x, got 3.0 in row 0"):
        first.predict(x)


# Codes


def mapped(x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


LARGE = 20_000  # rows: many enough to be read in place where they have to be converted
FORMS = {
    "array": (300, lambda x, tmp_path: x),
    "float64": (LARGE, lambda x, tmp_path: x.astype("float64")),
    "map": (300, mapped),
    "map of float64": (LARGE, lambda x, tmp_path: mapped(x.astype("float64"), tmp_path)),
}
WRONG = pytest.mark.parametrize("wrong", [-1, 7, 2.5, np.nan, np.inf, -np.inf, 1e30])


@WRONG
@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_code_is_refused_before_anything_changes(wrong, form, tmp_path):
    rows, made = FORMS[form]
    x, y = data(rows)
    x[-1, 2] = wrong
    given = made(x, tmp_path)
    trainer = Trainer(example(), rng=0)
    trainer.step(*data(10))  # the next step may take its short way
    before = bits(trainer), trainer.steps, trainer.model._grads.tobytes()
    message = rf"expects codes in 0\.\.6 in column 2 of x, got {np.float32(wrong)} in row {rows - 1}"
    for call in (
        lambda: trainer.step(given, y), lambda: trainer.fit(given, y, batch_size=rows, progress=False),
        lambda: trainer.evaluate(given, y), lambda: trainer.forward(given), lambda: trainer.model.predict(given),
        lambda: trainer.fit(*data(10), validation_data=(given, y), batch_size=10, progress=False),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message.replace("+", r"\+")):
            call()
        if form.startswith("map") and trainer.steps > before[1]:
            break  # of a map validation is read when it is due
        assert (bits(trainer), trainer.steps, trainer.model._grads.tobytes()) == before


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", lambda z, y: fastbp.softmax_cross_entropy(z, y.astype(int))])
def test_a_fit_of_a_map_ends_before_the_step_that_reads_a_wrong_code(loss, tmp_path):
    x, y = data(300)
    x[200, 4] = 50
    given, whole = mapped(x, tmp_path), Trainer(example(), loss, rng=0)
    whole.fit(x[:192], y[:192], batch_size=64, shuffle=False, rng=0, progress=False)
    trainer = Trainer(example(), loss, rng=0)
    with pytest.raises(ValueError, match=r"codes in 0\.\.49 in column 4 of x, got 50.0 in row 200"):
        trainer.fit(given, y, batch_size=64, shuffle=False, rng=0, progress=False)
    assert bits(trainer) == bits(whole)


def test_codes_that_a_callback_spoils_end_a_fit():
    x, y = data(300)

    class Spoil(fastbp.Callback):
        every = 1

        def on_steps_end(self, trainer):
            x[:, 0] = 3

    trainer = Trainer(example(), rng=0)
    with pytest.raises(ValueError, match=r"codes in 0\.\.2 in column 0 of x, got 3.0 in row"):
        trainer.fit(x, y, batch_size=64, rng=0, progress=False, callbacks=[Spoil()])
    assert trainer.steps == 1


def test_codes_may_be_integers_of_any_type():
    x = np.stack([np.arange(90) % 5, np.arange(90) % 2], axis=1)
    model = Sequential(Embedding([5, 2], [4, 4], [0, 1], rng=0), Dense(8, 3, rng=1))
    exact = model.predict(x.astype("float32"))
    for dtype in ("int8", "uint16", "int64", "float16", "float64"):
        assert model.predict(x.astype(dtype)).tobytes() == exact.tobytes()
    with pytest.raises(TypeError, match="expects x to be a dense array"):
        model.predict(pytest.importorskip("scipy.sparse").csr_matrix(x))


# What is refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Embedding([3], [2, 2], [0]), ValueError, "as many cardinalities, dims and columns, got 1, 2 and 1"),
        (lambda: Embedding([3, 3], 2, [1, 1]), ValueError, r"Embedding expects each column once, got columns \(1, 1\)"),
        (lambda: Embedding([0], 2, [1]), ValueError, r"Embedding expects cardinalities\[0\] of at least 1, got 0"),
        (lambda: Embedding([3], 2, [-1]), ValueError, r"Embedding expects columns\[0\] of at least 0, got -1"),
        (lambda: Embedding([2**24 + 1], 2, [0]), ValueError, r"cardinalities\[0\] of at most 16777216, got 16777217"),
        (lambda: Embedding(3, 2, [0]), TypeError, "Embedding expects cardinalities to be a sequence of ints, got 3"),
        (lambda: Embedding([], [], []), TypeError, "Embedding expects cardinalities to be a sequence of ints"),
        (lambda: Embedding([2.5], 2, [0]), TypeError, r"Embedding expects cardinalities\[0\] to be an int, got 2.5"),
        (
            lambda: Sequential(Embedding([3], 2, [4]), Dense(5, 2)), ValueError,
            r"Embedding expects columns below 4, which the layers after it leave for x; got \(4,\)",
        ),
        (
            lambda: Sequential(Dense(3, 3), Embedding([3], 2, [0]), Dense(4, 2)), ValueError,
            r"Sequential expects Embedding\(\[3\], \[2\], \[0\]\) to be the first layer, as it reads codes; got it at",
        ),
        (lambda: Sequential(Embedding([3], 2, [0])), ValueError, "a layer that has in_features of its own"),
        (
            lambda: Sequential(Embedding([3], 2, [0], dtype="float64"), Dense(4, 2)), TypeError,
            "Sequential expects dtype float64 at position 1 as before, got float32",
        ),
        (lambda: Residual(Embedding([3], 1, [0])), ValueError, "Residual expects layers whose input can be added to"),
        (lambda: Residual(Periodic(3)), ValueError, "give as many features as they take, 3; got 12"),
        (lambda: Periodic(3, dim=1), ValueError, "Periodic expects dim of at least 2, got 1"),
        (lambda: Periodic(3, 0), ValueError, "Periodic expects frequencies of at least 1, got 0"),
        (lambda: Periodic(3, sigma=-1), ValueError, "Periodic expects sigma at least 0, got -1"),
        (lambda: Periodic(3, in_features=2), ValueError, "Periodic expects in_features of at least 3, got 2"),
        (lambda: Sequential(Periodic(3), Dense(3, 2)), ValueError, "expects in_features 12 at position 1"),
        (lambda: setattr(Embedding([3], 2, [0]), "dims", (3,)), AttributeError, "dims stays as it was made"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_damaged_description_is_refused():
    from fastbp.nn.saving import parameter_shapes

    for config in ({"kind": "Embedding", "dims": [3]}, {"kind": "Periodic", "features": 3}):
        with pytest.raises(ValueError, match=f"describes no {config['kind']}"):
            parameter_shapes([config])


def test_they_begin_as_said():
    layer = Periodic(300, 20, 5, 0.3, rng=0)
    assert layer.frequency.std() == pytest.approx(0.3, rel=0.05)
    assert np.abs(layer.phase).max() == pytest.approx(np.pi, rel=0.01)
    assert np.abs(layer.weight).max() == pytest.approx(20**-0.5, rel=0.01)
    assert Embedding([300], 30, [0], rng=0).weights[0].std() == pytest.approx(1, rel=0.05)
    assert [v.shape for v in Sequential(layer).parameters().values()] == [(300, 20), (300, 20), (300, 4, 20), (300, 4)]


def test_parameters_are_live_views():
    model = example()
    assert list(model.parameters())[:7] == [
        "0.0.weight", "0.1.weight", "0.2.weight", "1.frequency", "1.phase", "1.weight", "1.bias",
    ]  # fmt: skip
    model[1].bias = np.full((2, 2), 7)
    model[0].weights[1][2] = 9
    assert (model.parameters()["1.bias"] == 7).all()
    assert (model._params == 9).sum() == DIMS[1]
    assert model[0].owner is model
