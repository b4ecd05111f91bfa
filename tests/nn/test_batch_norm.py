"""BatchNorm in models: as PyTorch's, its buffers in files, copies and runs that go on; which batches are refused."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import BatchNorm, Dense, Dropout, LayerNorm, Residual, Sequential, Trainer
from tests.resumed import stopped


def example(dtype="float32", dropout=None):
    return Sequential(
        Dense(20, 32, rng=0, dtype=dtype),
        BatchNorm(32, dtype=dtype),
        Residual(Dense(32, 32, "relu", rng=1, dtype=dtype), BatchNorm(32, momentum=None, affine=False, dtype=dtype)),
        LayerNorm(32, dtype=dtype),
        *([] if dropout is None else [Dropout(dropout)]),
        Dense(32, 5, rng=2, dtype=dtype),
    )


def data(rows=320, seed=0):
    rng = np.random.default_rng(seed)
    return 2 + rng.standard_normal((rows, 20)).astype(np.float32), rng.integers(0, 5, rows)


def bits(trainer):
    model = trainer.model
    return model._params.tobytes() + model._buffers.tobytes() + trainer._state.tobytes()


def in_torch(torch, layer, dtype):
    """Return PyTorch's module of a layer, with its parameters and buffers."""
    nn = torch.nn
    if isinstance(layer, Residual):
        made = nn.Module()
        inner = made.inner = nn.Sequential(*(in_torch(torch, each, dtype) for each in layer.layers))
        made.forward = lambda x: x + inner(x)
        return made
    if isinstance(layer, Dense):
        linear = nn.Linear(layer.in_features, layer.out_features, dtype=dtype)
        made = nn.Sequential(linear, nn.ReLU() if layer.activation == "relu" else nn.Identity())
    elif isinstance(layer, LayerNorm):
        linear = made = nn.LayerNorm(layer.in_features, layer.eps, dtype=dtype)
    else:
        affine = layer.weight is not None
        linear = made = nn.BatchNorm1d(layer.in_features, layer.eps, layer.momentum, affine, dtype=dtype)
    linear.load_state_dict({name: torch.tensor(np.array(value)) for name, value in layer._tensors().items()})
    return made


# PyTorch


@st.composite
def networks(draw):
    """Stacks of dense layers with BatchNorm between, before or behind, alone or in a Residual; rows; a batch."""
    width, layers = draw(st.integers(1, 40)), []
    for i in range(draw(st.integers(1, 3))):
        if i > 0 or draw(st.booleans()):
            momentum = draw(st.sampled_from([0.1, 0.5, 1.0, None]))
            norm = BatchNorm(width, draw(st.sampled_from([1e-5, 1e-2])), momentum, draw(st.booleans()), dtype="float64")
            layers.append(Residual(norm, Dense(width, width, rng=i, dtype="float64")) if draw(st.booleans()) else norm)
        outs = draw(st.integers(1, 40))
        layers.append(Dense(width, outs, draw(st.sampled_from(["relu", "identity"])), rng=9 + i, dtype="float64"))
        width = outs
    return [*layers, BatchNorm(width, dtype="float64"), Dense(width, 4, rng=5, dtype="float64")]


@settings(max_examples=12)
@given(networks(), st.sampled_from([2, 3, 31, 64, 65, 200]), st.booleans())
def test_random_networks_train_as_in_pytorch(torch, layers, batch, by_hand):
    model = Sequential(*layers)
    module = torch.nn.Sequential(*(in_torch(torch, layer, torch.float64) for layer in model))
    trainer, theirs = Trainer(model, optimizer=fastbp.SGD(0.1)), torch.optim.SGD(module.parameters(), 0.1)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, y = rng.standard_normal((batch, model.in_features)), rng.integers(0, 4, batch)
        loss = torch.nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(y))
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        if by_hand:
            value, gradient = fastbp.softmax_cross_entropy(trainer.forward(x), y)
            trainer.backward(gradient)
            trainer.update()
        else:
            value = trainer.step(x, y)
        np.testing.assert_allclose(value, loss.item(), rtol=1e-6)
    # two rows of nearly the same number are divided by the root of eps
    for one, other in zip(model.gradients().values(), module.parameters(), strict=True):
        np.testing.assert_allclose(one, other.grad, rtol=0, atol=1e-6 * (1 + other.grad.abs().max().item()))
    for one, other in zip(model.buffers().values(), module.buffers(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    out = module.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(model.predict(x), out, rtol=0, atol=1e-6 * (1 + np.abs(out).max()))


def test_names_and_files_are_those_of_pytorch(torch, tmp_path):
    from safetensors.torch import load_file

    model = Sequential(Dense(4, 3, rng=0), BatchNorm(3), Dense(3, 2, rng=1))
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    assert list(model.state_dict()) == list(module.state_dict())
    Trainer(model, "mse").step(np.eye(4), np.ones((4, 2)))
    model.save(tmp_path / "m.safetensors")
    module.load_state_dict(load_file(tmp_path / "m.safetensors"))
    assert module[1].num_batches_tracked == 1
    model.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(model[1].running_var, module[1].running_var)


def test_replace_leaves_pytorch_s_own_alone(torch):
    from fastbp.torch import replace_

    module = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
    )
    twin = copy.deepcopy(module)
    replace_(module)
    assert type(module[1]) is torch.nn.BatchNorm1d
    x = torch.randn(30, 8)
    torch.testing.assert_close(module(x), twin(x))
    torch.testing.assert_close(module[1].running_var, twin[1].running_var)


# What training does


def test_a_prediction_of_a_row_does_not_depend_on_its_batch():
    x, y = data()
    trainer = Trainer(example())
    trainer.fit(x, y, epochs=1, batch_size=64, rng=0, progress=False)
    whole = trainer.model.predict(x)
    assert whole[7:8].tobytes() == trainer.model.predict(x[7:8]).tobytes()
    assert whole.tobytes() == trainer.model.predict(x, batch_size=33).tobytes()


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("batch", [64, 1500])
def test_bits_do_not_depend_on_threads(threads, batch, request):
    before = fastbp.get_num_threads()
    request.addfinalizer(lambda: fastbp.set_num_threads(before))
    x, y = data(1500)
    found = set()
    for n in (1, min(threads, before)):
        fastbp.set_num_threads(n)
        trainer = Trainer(example(dropout=0.2), rng=0)
        trainer.fit(x, y, epochs=1, batch_size=batch, rng=0, progress=False)
        found.add(bits(trainer))
    assert len(found) == 1


def test_steps_of_fit_by_hand_and_with_a_loss_in_numpy_are_those_of_step():
    x, y = data(192)
    trainers = [Trainer(example("float64"), loss) for loss in ["softmax_cross_entropy"] * 3]
    trainers.append(Trainer(example("float64"), lambda out, y: fastbp.softmax_cross_entropy(out, y)))
    stepped, by_hand, fitted, of_function = trainers
    for i in (0, 64, 128):
        rows = slice(i, i + 64)
        stepped.step(x[rows], y[rows])
        _, gradient = fastbp.softmax_cross_entropy(by_hand.forward(x[rows]), y[rows])
        by_hand.backward(gradient)
        by_hand.update()
    for trainer in (fitted, of_function):
        trainer.fit(x, y, batch_size=64, shuffle=False, progress=False)
    assert bits(stepped) == bits(by_hand) == bits(fitted) == bits(of_function)


def test_running_statistics_move_with_backward_by_hand():
    x, y = data(64)
    model, twin = example("float64"), example("float64")
    before = model._buffers.tobytes()
    out = model.forward(x)
    assert model._buffers.tobytes() == before
    model.backward(fastbp.softmax_cross_entropy(out, y)[1])
    Trainer(twin, optimizer=fastbp.SGD(1e-30)).step(x, y)
    assert model._buffers.tobytes() == twin._buffers.tobytes() != before
    assert model._grads.tobytes() == twin._grads.tobytes()


def test_a_step_that_is_not_made_leaves_running_statistics():
    x, y = data(64)
    trainer = Trainer(example())
    trainer.step(x, y)
    before = bits(trainer)
    with pytest.raises(ValueError, match="fit expects batches"):
        trainer.fit(x, y, batch_size=63, progress=False)
    for wrong in (np.where(np.arange(64) == 9, 5, y), y[:5]):
        with pytest.raises(ValueError, match="expects targets"):
            trainer.step(x, wrong)
    x[3, 4] = np.nan
    with pytest.raises(fastbp.NotFiniteError):
        trainer.fit(x, y, batch_size=64, progress=False)
    of_function = Trainer(trainer.model, lambda out, y: fastbp.softmax_cross_entropy(out, y))
    with pytest.raises(fastbp.NotFiniteError):
        of_function.fit(x, y, batch_size=64, progress=False)
    assert bits(trainer) == before


def test_ignored_rows_and_rows_of_no_weight_count_in_the_statistics():
    x, y = data(64)
    ignored, weight = np.where(np.arange(64) < 20, -100, y), (np.arange(64) >= 20).astype(float)
    models = [example() for _ in range(4)]
    Trainer(models[0]).step(x, y)
    Trainer(models[1]).step(x, ignored)
    Trainer(models[2]).step(x, y, weight)
    Trainer(models[3]).fit(x, ignored, batch_size=64, shuffle=False, progress=False)
    statistics = {model[1].running_mean.tobytes() + model[1].running_var.tobytes() for model in models}
    assert len(statistics) == 1


def test_a_sparse_batch_and_a_memory_map_train_as_the_array(tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    x, y = data(130)
    x *= np.random.default_rng(1).random(x.shape) < 0.3
    np.save(tmp_path / "x.npy", x)
    ignored = np.where(np.arange(130) % 5 == 0, -100, y)
    found = []
    for rows in (x, sparse.csr_matrix(x), np.load(tmp_path / "x.npy", mmap_mode="r"), x.astype(np.float64)):
        trainer = Trainer(example())
        trainer.fit(rows, ignored, epochs=2, batch_size=65, rng=0, progress=False)
        found.append(np.concatenate([trainer.model._params, *map(np.ravel, trainer.model.buffers().values())]))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_gradients_are_differences():
    x, y = data(7)
    model = example()
    before = model._buffers.tobytes()
    assert fastbp.gradcheck(model, "softmax_cross_entropy", x, y, most=300).ok
    assert model._buffers.tobytes() == before


# Buffers


def trained():
    x, y = data()
    trainer = Trainer(example(dropout=0.2), optimizer=fastbp.Adam(1e-2), rng=0)
    trainer.fit(x, y, epochs=1, batch_size=64, rng=0, progress=False)
    return trainer


def test_buffers_come_back_from_files_pickles_and_copies(tmp_path):
    trainer, x = trained(), data()[0]
    model = trainer.model
    model.save(tmp_path / "m")
    other = example(dropout=0.2)
    other.load_state_dict(model.state_dict())
    twins = [fastbp.load(tmp_path / "m"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model), other]
    for twin in twins:
        assert twin._buffers.tobytes() == model._buffers.tobytes()
        assert twin.predict(x).tobytes() == model.predict(x).tobytes()
    alone = pickle.loads(pickle.dumps(model[1]))
    np.testing.assert_array_equal(alone.running_var, model[1].running_var)
    assert alone.num_batches_tracked == 5


@pytest.mark.parametrize("own_loss", [False, True])
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(own_loss, tmp_path):
    def own(out, y):
        return fastbp.softmax_cross_entropy(out, y)

    x, y = data()
    make = lambda: Trainer(example(dropout=0.2), own if own_loss else "softmax_cross_entropy", fastbp.Adam(1e-2))  # noqa: E731
    run = {"epochs": 3, "batch_size": 64, "rng": 7, "progress": False}
    whole = make()
    whole.fit(x, y, **run)
    for trainer in stopped(make(), 8, tmp_path / "run.checkpoint", x, y, loss=own if own_loss else None, **run):
        trainer.fit(x, y, **run, resume=True)
        assert bits(trainer) == bits(whole)
        assert trainer.model[2].layers[1].num_batches_tracked == 15


def test_early_stopping_brings_back_the_buffers_of_its_best_epoch(tmp_path):
    x, y = data()
    kept = []

    class Keep(fastbp.Callback):
        def on_epoch_end(self, trainer, epoch, figures):
            kept.append(bits_of_model(trainer.model))

    def bits_of_model(model):
        return model._params.tobytes() + model._buffers.tobytes()

    stop = fastbp.EarlyStopping("val_loss", patience=2)
    trainer = Trainer(example(), optimizer=fastbp.Adam(0.05))
    trainer.fit(
        x, y, epochs=30, batch_size=64, rng=0, progress=False, validation_data=data(64, 1), callbacks=[Keep(), stop]
    )
    assert len(kept) == stop.best_epoch + 2
    assert bits_of_model(trainer.model) == kept[stop.best_epoch - 1]
    again = fastbp.EarlyStopping("val_loss")
    again.load_state_dict(stop.state_dict())
    other = example()
    again.on_fit_end(Trainer(other))
    assert bits_of_model(other) == kept[stop.best_epoch - 1]


def test_buffers_are_live_and_can_be_set():
    model = example()
    model[1].running_mean[...] = 3
    model[1].running_var = np.full(32, 2.0)
    assert model.buffers()["1.running_var"][0] == 2
    assert list(model.buffers()) == [
        f"{layer}.{name}" for layer in ("1", "2.1") for name in ("running_mean", "running_var", "num_batches_tracked")
    ]
    x = data(5)[0]
    other = example()
    assert not np.array_equal(model.predict(x), other.predict(x))
    other.load_state_dict(model.state_dict())
    assert model.predict(x).tobytes() == other.predict(x).tobytes()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("running_var", np.full(32, -1, "f4"), "of at least 0, got -1"),
        ("running_mean", np.full(32, np.nan, "f4"), "without NaN, got 32"),
        ("running_mean", np.zeros(31, "f4"), r"of shape \(32,\), got \(31,\)"),
        ("running_mean", np.zeros(32), "of dtype float32, got float64"),
        ("num_batches_tracked", np.array(-3), "of at least 0, got -3"),
        ("num_batches_tracked", np.float32(1), "of dtype int64, got float32"),
    ],
)
def test_what_is_no_buffer_is_refused_and_nothing_changes(name, value, message):
    model = example()
    before = model._buffers.tobytes()
    with pytest.raises((TypeError, ValueError), match=f"load_state_dict expects 1.{name} {message}"):
        model.load_state_dict(model.state_dict() | {f"1.{name}": value})
    assert model._buffers.tobytes() == before
    if "dtype" not in message:
        with pytest.raises(ValueError, match=f"BatchNorm expects {name} {message}"):
            setattr(model[1], name, value)


def test_a_file_whose_buffers_do_not_fit_takes_no_memory(tmp_path):
    from fastbp.nn.modelfile import MODEL, read_tensors, write_tensors

    path = tmp_path / "m"
    Sequential(BatchNorm(4, affine=False)).save(path)
    header, tensors = read_tensors(path, MODEL, "load")
    del header["sha256"]
    header["layers"][0]["num_features"] = 10**12
    write_tensors(path, MODEL, {key: header[key] for key in ("layers", "metadata")}, tensors)
    with pytest.raises(ValueError, match=r"running_mean of shape \(1000000000000,\), got \(4,\)"):
        fastbp.load(path)


# With other doors and options


def test_a_batch_of_one_row_that_comes_from_an_iterable_is_refused_before_its_step():
    x, y = data(129)
    trainer = Trainer(example())
    trainer.fit([(x, y)], progress=False)  # 129 rows at once are no batches of 128
    with pytest.raises(ValueError, match="fit expects at least 2 rows in a training batch for BatchNorm, got 1"):
        trainer.fit(((x[i : i + 64], y[i : i + 64]) for i in (0, 64, 128)), steps_per_epoch=3, progress=False)
    assert trainer.steps == trainer.model[1].num_batches_tracked == 3


def test_a_part_of_a_model_has_its_buffers():
    model = trained().model
    part = model[1:4]
    assert next(iter(part.buffers())) == "0.running_mean"
    part[0].running_mean[...] = 7
    assert model[1].running_mean[0] == 7
    x = np.random.default_rng(0).standard_normal((9, 32)).astype(np.float32)
    alone = Sequential(*(pickle.loads(pickle.dumps(layer)) for layer in part))
    assert part.predict(x).tobytes() == alone.predict(x).tobytes()
    Trainer(part, "mse").step(x, np.zeros((9, 32)))
    assert model[1].num_batches_tracked == 6


def test_a_copy_in_another_dtype_has_the_buffers():
    model = trained().model
    twin = model.astype("float64")
    for one, other in zip(twin.buffers().values(), model.buffers().values(), strict=True):
        np.testing.assert_array_equal(one, other)
    twin[1].running_var[3] = 1e300
    with pytest.raises(ValueError, match="astype expects parameters that float32 can hold"):
        twin.astype("float32")


def test_it_goes_to_pytorch_and_back(torch):
    model, x = trained().model, data(30)[0]
    module = model.to_torch().eval()
    np.testing.assert_allclose(module(torch.tensor(x)).detach(), model.predict(x), rtol=0, atol=1e-4)
    back = fastbp.from_torch(module)
    assert back.predict(x).tobytes() == model.predict(x).tobytes()
    assert back.state_dict().keys() == model.state_dict().keys()
    with pytest.raises(ValueError, match=r"from_torch expects BatchNorm1d.* with .*running_mean"):
        fastbp.from_torch(torch.nn.BatchNorm1d(3, track_running_stats=False))


@pytest.mark.parametrize("frozen", [(0,), (1,), (0, 1), (0, 2), (5,)])
def test_frozen_layers_train_as_in_pytorch(frozen, torch):
    x, y = data(64)
    model = Sequential(
        Dense(20, 32, "relu", rng=0, dtype="float64"), BatchNorm(32, dtype="float64"),
        Dense(32, 32, rng=1, dtype="float64"), BatchNorm(32, dtype="float64"), BatchNorm(32, dtype="float64"),
        Dense(32, 5, rng=2, dtype="float64"),
    )  # fmt: skip
    for i in frozen:
        model[i].trainable = False
    module = model.to_torch()
    theirs = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], 0.1)
    trainer = Trainer(model, optimizer=fastbp.SGD(0.1))
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(module(torch.tensor(x, dtype=torch.float64)), torch.tensor(y))
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        np.testing.assert_allclose(trainer.step(x, y), loss.item(), rtol=1e-9)
    for one, other in zip(model.state_dict().values(), module.state_dict().values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_averages_are_of_parameters_and_evaluated_with_the_statistics_of_now():
    x, y = data()
    trainer = Trainer(example(), optimizer=fastbp.Adam(1e-2), ema=0.9)
    trainer.fit(x, y, epochs=2, batch_size=64, rng=0, progress=False)
    model = trainer.averaged_model()
    assert model._buffers.tobytes() == trainer.model._buffers.tobytes()
    assert trainer.evaluate(x, y)["loss"] == fastbp.softmax_cross_entropy(model.predict(x), y)[0]


# What is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t, x, y: t.step(x[:1], y[:1]),
            "Trainer.step expects at least 2 rows in a training batch for BatchNorm",
        ),
        (lambda t, x, y: t.forward(x[:1]), "Trainer.forward expects at least 2 rows"),
        (lambda t, x, y: t.model.forward(x[:1]), "Sequential.forward expects at least 2 rows"),
        (
            lambda t, x, y: t.fit(x, y, batch_size=13, progress=False),
            "for BatchNorm, and 40 rows in batches of 13 end with one of 1: choose .* such as 12, or leave a row out",
        ),
        (lambda t, x, y: t.fit(x, y, batch_size=1, progress=False), "40 rows in batches of 1 end with one of 1$"),
        (lambda t, x, y: t.fit(x[:1], y[:1], progress=False), "1 rows in batches of 1 end with one of 1$"),
        (
            lambda t, x, y: t.fit(x, y, batch_size=31, validation_split=8 / 40, progress=False),
            "32 rows in batches of 31 end with one of 1",
        ),
        (lambda t, x, y: t.fit([(x[:1], y[:1])], progress=False), "fit expects at least 2 rows in a .* for BatchNorm"),
    ],
)
def test_a_batch_of_one_row_is_refused_before_anything_changes(call, message):
    x, y = data(40)
    trainer = Trainer(example())
    trainer.step(x, y)  # from here on a step takes its short way
    before = bits(trainer), trainer.steps
    with pytest.raises(ValueError, match=message):
        call(trainer, x, y)
    assert (bits(trainer), trainer.steps) == before
    trainer.evaluate(x[:1], y[:1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchNorm(3, momentum=1.5), r"BatchNorm expects momentum in \[0, 1\], got 1.5"),
        (lambda: BatchNorm(3, eps=None), "BatchNorm expects eps to be a number"),
        (lambda: BatchNorm(3, affine="a"), "BatchNorm expects affine to be True or False, got 'a'"),
        (lambda: setattr(BatchNorm(3, affine=False), "weight", [1, 2, 3]), "weight to be set: .* affine=False"),
        (lambda: setattr(BatchNorm(3, affine=False), "bias", [1, 2, 3]), "bias to be set: .* affine=False"),
        (lambda: BatchNorm(3, track_running_stats=False), "unexpected keyword argument 'track_running_stats'"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_layers_show_what_makes_them():
    assert repr(BatchNorm(8, momentum=None, affine=False)) == "BatchNorm(8, momentum=None, affine=False)"
