"""What the tests of fastbp.torch need."""

import copy
import functools
from itertools import pairwise

import pytest

from fastbp.kernels.activations import ACTIVATIONS


@pytest.fixture(scope="session")
def door(torch):
    import fastbp.torch

    return fastbp.torch


@pytest.fixture(scope="module", autouse=True)
def fewest(torch, door):
    """Let kernels compute small layers too, and return what they leave to PyTorch elsewhere."""
    from fastbp.torch import chains, loss

    with pytest.MonkeyPatch.context() as patch:
        fewest = {**chains.FEWEST, "loss": loss.FEWEST}
        patch.setattr(chains, "FEWEST", {})
        patch.setattr(loss, "FEWEST", dict.fromkeys(loss.FEWEST, (0, 0)))
        yield fewest


@pytest.fixture(scope="session")
def modules(torch):
    """Make the activations of PyTorch by fastbp's names."""
    return {
        name: functools.partial(getattr(torch.nn, kind.torch), **kind.torch_options)
        for name, kind in ACTIVATIONS.items()
        if name != "identity"
    }


@pytest.fixture
def plain(torch):
    """Make a ``torch.nn.Sequential`` of seeded parameters."""

    def make(sizes=(5, 8, 7, 3), activation=torch.nn.ReLU, dtype=torch.float64):
        torch.manual_seed(0)
        layers = []
        for ins, outs in pairwise(sizes):
            layers += [torch.nn.Linear(ins, outs, dtype=dtype), activation()]
        return torch.nn.Sequential(*layers[:-1])

    return make


@pytest.fixture
def numbers(torch):
    """Draw a seeded tensor."""

    def draw(*shape, dtype=torch.float64, grad=False):
        generator = torch.Generator().manual_seed(sum(shape))
        return torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_(grad)

    return draw


@pytest.fixture
def networks(torch, door):
    """Make one of each kind of module, from 5 features to 3."""

    def make():
        torch.manual_seed(0)
        nn = torch.nn
        parts = nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 7), nn.LayerNorm(7), nn.Linear(7, 3), nn.GELU()
        return {
            "Linear": door.Linear(5, 3, activation="tanh"),
            "small Linear": door.Linear(5, 3, activation="relu"),
            "MLP": door.MLP([5, 8, 3], "tanh"),
            "MLP of layers": door.MLP([5, 8, 3], "tanh", flat=False),
            "Sequential": door.Sequential(*parts),
        }

    return make


@pytest.fixture(params=["Linear", "small Linear", "MLP", "MLP of layers", "Sequential"])
def kind(request, fewest, monkeypatch):
    """Name a kind of module, of `networks`; a small Linear is one that is left to PyTorch for its size."""
    if request.param == "small Linear":
        monkeypatch.setattr("fastbp.torch.chains.FEWEST", fewest)
    return request.param


@pytest.fixture(scope="session")
def fused(door):
    """Copy a model and replace what can be replaced."""

    def make(model):
        model = copy.deepcopy(model)
        door.replace_(model)
        return model

    return make


@pytest.fixture(scope="session")
def gradients():
    """Compute the output, the gradient by x, and those of the parameters."""

    def compute(model, x, dout):
        x = x.detach().clone().requires_grad_()
        model.zero_grad()
        out = model(x)
        out.backward(dout)
        return [out.detach(), x.grad, *(p.grad for p in model.parameters())]

    return compute


@pytest.fixture(scope="session")
def same(torch):
    """Compare lists of tensors."""

    def compare(found, expected, rtol=1e-12):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)

    return compare
