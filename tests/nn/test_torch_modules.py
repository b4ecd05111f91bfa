"""Models as modules of PyTorch and back: every kind of layer, in values and gradients."""

import doctest
import importlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import (
    Activation,
    Dense,
    Dropout,
    Embedding,
    MemberDense,
    Members,
    ParametricActivation,
    Periodic,
    PReLU,
    Residual,
    Sequential,
    Trainer,
    from_torch,
)
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.nn.layer import LAYERS
from fastbp.nn.layers import MADE
from fastbp.nn.sequential import KINDS
from tests.nn.test_kinds import made

NAMES = st.sampled_from(sorted(ACTIVATIONS))
ANYWHERE = [kind for kind in KINDS if not kind._reads_codes and kind not in (Members, MemberDense)]


@st.composite
def layers_of(draw, kind, width, dtype, depth=1):
    """A layer of a kind that takes rows of some width, and the width that it gives."""
    if kind is Dense:
        outs = draw(st.integers(1, 30))
        return Dense(
            width, outs, draw(NAMES), bias=draw(st.booleans()), dtype=dtype, rng=draw(st.integers(0, 99))
        ), outs
    if kind is Activation:
        return Activation(draw(NAMES)), width
    if kind is ParametricActivation:
        return ParametricActivation(width, draw(NAMES), draw(st.floats(-1, 2)), dtype=dtype), width
    if kind is PReLU:
        return PReLU(draw(st.sampled_from([1, width])), draw(st.floats(-1, 2)), dtype=dtype), width
    if kind is Periodic:
        layer = Periodic(draw(st.integers(1, width)), draw(st.integers(1, 5)), 3, 0.5, in_features=width, dtype=dtype)
        return layer, layer.out_features
    if kind is Residual:
        inner = draw(st.sampled_from([k for k in ANYWHERE if depth or k is not Residual]))
        layer, outs = draw(layers_of(inner, width, dtype, depth - 1))
        return Residual(layer, Dense(outs, width, dtype=dtype, rng=3)), width
    return made(kind, width, dtype, draw(st.booleans())), width


@st.composite
def models(draw, dtype):
    first = last = draw(st.integers(1, 30))
    layers = []
    if draw(st.booleans()):
        columns = draw(st.lists(st.integers(0, first - 1), min_size=1, max_size=3, unique=True))
        layers.append(Embedding([5] * len(columns), [draw(st.integers(1, 9)) for _ in columns], columns, dtype=dtype))
        last += layers[0]._widens
    for _ in range(draw(st.integers(1, 5))):
        layer, last = draw(layers_of(draw(st.sampled_from(ANYWHERE)), last, dtype))
        layers.append(layer)
    model = Sequential(*layers, Dense(last, 4, dtype=dtype, rng=5))
    assert model.in_features == first
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    model._params += 0.1 * rng.standard_normal(model._params.size)
    for layer in model:
        layer.trainable = draw(st.booleans())
    return model


def rows_for(model, rng, batch):
    """Return rows of x for a model: numbers, and codes where it wants them."""
    x = rng.standard_normal((batch, model.in_features))
    if model._codes is not None:
        x[:, model._codes.columns] = rng.integers(0, 5, (batch, len(model._codes.columns)))
    return x


@settings(max_examples=40)
@given(models("float64"), st.integers(1, 20), st.integers(0, 99))
def test_random_models_are_the_same_in_pytorch_and_back(torch, model, batch, seed):
    # Of one feature nothing is left but PyTorch's rounding, which an RMSNorm behind it makes large.
    assume(not any(isinstance(layer, fastbp.LayerNorm) and layer.in_features == 1 for layer in model))
    batch = max(batch, model._fewest_rows)
    rng = np.random.default_rng(seed)
    x, y = rows_for(model, rng, batch), rng.integers(0, 4, batch)
    module = model.to_torch().eval()  # of dropout a prediction goes without
    out = module(torch.tensor(x))
    np.testing.assert_allclose(model.predict(x), out.detach().numpy(), rtol=0, atol=1e-9 * (1 + out.abs().max().item()))
    twin = from_torch(module)
    assert twin.predict(x).tobytes() == model.predict(x).tobytes()
    assert [p.requires_grad for p in module.parameters()] == [
        layer.trainable for layer in model for _ in layer._named()
    ]
    assert [np.array(p).tobytes() for p in twin.parameters().values()] == [
        np.array(p).tobytes() for p in model.parameters().values()
    ]
    if model._drawing:
        return
    loss = torch.nn.functional.cross_entropy(module.train()(torch.tensor(x)), torch.tensor(y))
    if loss.requires_grad:
        loss.backward()
    trainer = Trainer(model, optimizer=fastbp.SGD(0.0))
    np.testing.assert_allclose(trainer.step(x, y), loss.item(), rtol=1e-9)
    exact = [np.zeros(p.shape) if p.grad is None else p.grad.numpy() for p in module.parameters()]
    largest = max((np.abs(each).max() for each in exact), default=0)
    for found, other in zip(model.gradients().values(), exact, strict=True):
        np.testing.assert_allclose(found, other, rtol=0, atol=1e-8 * (1 + largest))


@settings(max_examples=20)
@given(models("float32"))
def test_float32_models_agree_within_their_rounding(torch, model):
    x = rows_for(model, np.random.default_rng(0), 9).astype(np.float32)
    module, exact = model.to_torch().eval(), model.astype("float64").predict(x)
    # a model's own errors, of both, magnified alike: near a kink or a norm of one column no bound is small
    slack = 1e-4 * (1 + np.abs(exact).max()) + 8 * np.abs(model.predict(x) - exact).max()
    np.testing.assert_allclose(module(torch.tensor(x)).detach().numpy(), exact, rtol=0, atol=slack)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_layer_has_a_module_and_comes_back(kind, torch):
    from fastbp.nn import in_torch

    assert kind in in_torch.TO_TORCH or in_torch.module_class(kind._torch)
    examples = {
        Dense: Dense(3, 4, "tanh", bias=False),
        Activation: Activation("gelu_tanh"),
        ParametricActivation: ParametricActivation(3, "selu", 0.25),
        PReLU: PReLU(init=0.5),
        Residual: Residual(Dense(3, 3, "relu")),
        Embedding: Embedding([3, 4], [2, 5], [1, 0]),
        Periodic: Periodic(2, 5, 3, in_features=4),
        Members: Members(3, 2),
        MemberDense: MemberDense(3, 4, 2),
    }
    layer = examples.get(kind) or made(kind, 3, "float32")
    (back,) = in_torch.layers_of(in_torch.modules_of(layer))
    assert type(back) is kind
    assert repr(back) == repr(layer)


def test_every_kind_of_layer_is_among_those_of_a_model():
    assert {cls for cls in LAYERS.values() if cls.__module__.startswith("fastbp.")} == set(KINDS)
    assert set(MADE) <= set(KINDS)


def test_names_of_parameters_are_those_of_the_sequence(torch):
    model = fastbp.mlp([4, 8, 3], "relu", rng=0)
    nn = torch.nn
    assert list(model.to_torch().state_dict()) == list(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).state_dict()
    )
    block = Sequential(Dense(4, 4), Residual(Dense(4, 4, "tanh"), Dense(4, 4)))
    assert [*block.to_torch().state_dict()][2::2] == ["1.0.weight", "1.2.weight"]


def test_parameters_are_copies(torch):
    model = fastbp.mlp([4, 3], rng=0)
    module = model.to_torch()
    before = model.state_dict()
    with torch.no_grad():
        module[0].weight += 1
    np.testing.assert_array_equal(model[0].weight, before["0.weight"])
    back = from_torch(module)
    with torch.no_grad():
        module[0].weight += 1
    np.testing.assert_allclose(back[0].weight, before["0.weight"] + 1)


def test_modules_go_through_a_file_of_pytorchs(torch, tmp_path):
    model = Sequential(
        fastbp.Scale(4), Residual(Dense(4, 4, rng=0), Activation("mish")), ParametricActivation(4, "elu")
    )
    torch.save(model.to_torch(), tmp_path / "m.pt")
    module = torch.load(tmp_path / "m.pt", weights_only=False)
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(from_torch(module).predict(x), model.predict(x))
    for name in ("Scale", "Residual", "ParametricActivation"):
        assert any(type(part) is getattr(importlib.import_module("fastbp.torch"), name) for part in module.modules())


def test_fastbps_own_modules_of_pytorch_come_back_too(torch):
    from fastbp.torch import Linear
    from fastbp.torch import Sequential as Fused

    module = Fused(Linear(4, 8, activation="tanh"), torch.nn.Linear(8, 3), torch.nn.Identity())
    model = from_torch(module)
    assert repr(model) == repr(Sequential(Dense(4, 8, "tanh"), Dense(8, 3)))
    x = torch.ones(2, 4)
    np.testing.assert_allclose(model.predict(x), module(x).detach().numpy(), rtol=1e-5)
    assert repr(from_torch(torch.nn.Sequential(module, torch.nn.Sequential(torch.nn.Softplus())))) == repr(
        Sequential(Dense(4, 8, "tanh"), Dense(8, 3, "softplus"))
    )
    assert repr(from_torch(torch.nn.Linear(2, 3))) == repr(Sequential(Dense(2, 3)))


def refused(torch):
    nn = torch.nn
    shared, hooked, mixed = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
    hooked.register_forward_hook(lambda *_: None)
    mixed.bias.requires_grad_(False)

    class Mine(nn.Linear):
        def forward(self, input):
            return -super().forward(input)

    return [
        (nn.Conv1d(3, 3, 1), TypeError, "from_torch expects Sequential, .*LayerNorm, Linear, .* got Conv1d"),
        (Mine(3, 3), TypeError, "got Mine"),
        (nn.Sequential(nn.Linear(3, 3), nn.LeakyReLU(0.5)), TypeError, r"got LeakyReLU\(negative_slope=0.5\)"),
        (nn.Sequential(shared, nn.ReLU(), shared), ValueError, "parameters of their own"),
        (nn.Sequential(hooked), ValueError, "without hooks"),
        (mixed, ValueError, "requires_grad to be the same"),
        (nn.Linear(3, 3, dtype=torch.bfloat16), TypeError, "float32 or float64"),
        (nn.LayerNorm(3, elementwise_affine=False), (TypeError, ValueError), "from_torch expects"),
        (nn.LayerNorm((3, 4)), ValueError, "to be one number"),
        (nn.ReLU(), ValueError, "in_features of its own"),
        (nn.Sequential(nn.Linear(3, 8), nn.PReLU(4)), ValueError, "expects in_features 8 at position 1"),
        (fastbp.mlp([2, 3]), TypeError, "from_torch expects a torch.nn.Module, got Sequential"),
    ]


@pytest.mark.parametrize("i", range(12))
def test_what_fastbp_would_not_do_the_same_is_refused(torch, i):
    module, error, message = refused(torch)[i]
    with pytest.raises(error, match=message):
        from_torch(module)


def test_an_activation_of_a_users_own_has_no_module(torch):
    own = fastbp.activation("halved", lambda v, z: (z * 0.5, z * 0.0 + 0.5))
    with pytest.raises(TypeError, match="to_torch expects activations that PyTorch has, got halved"):
        Sequential(Dense(2, 2, own)).to_torch()


def test_without_pytorch_the_error_names_the_extra():
    code = """
import sys, fastbp
sys.modules["torch"] = None
for call in (fastbp.mlp([2, 2], rng=0).to_torch, lambda: fastbp.from_torch(None)):
    try:
        call()
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["to_torch and from_torch need PyTorch: pip install 'fastbp[torch]'"] * 2


def test_examples_in_docstrings_run(torch):
    for name in ("from_torch", "torch_modules"):
        result = doctest.testmod(importlib.import_module(f"fastbp.nn.{name}"))
        assert result.attempted > 0
        assert result.failed == 0


def test_dropout_is_pytorchs_in_training_too(torch):
    module = Sequential(Dense(4, 4), Dropout(0.25)).to_torch()
    assert module.training
    assert module[1].p == 0.25
