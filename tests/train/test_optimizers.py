"""Optimizers beside PyTorch's over random options; by their names; and a run that is stopped and goes on."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp.train.optimizers import KINDS, OPTIMIZERS, named_optimizer

STEPS = 12


def chance(rng, value, other=0.0):
    """One of two values of an option."""
    return value if rng.random() < 0.5 else other


def betas(rng):
    return float(rng.uniform(0.5, 0.95)), float(rng.uniform(0.8, 0.999))


def drawn(kind, rng):
    """Random options of an optimizer that is PyTorch's too, under the names of both."""
    options = {"lr": 10.0 ** rng.uniform(-4, -1), "weight_decay": chance(rng, 10.0 ** rng.uniform(-3, -0.5))}
    if kind == "SGD":
        options["momentum"] = chance(rng, float(rng.uniform(0.1, 0.99)))
        options["nesterov"] = options["momentum"] > 0 and bool(rng.random() < 0.5)
        return options
    options["eps"] = 10.0 ** rng.uniform(-10, -3)
    if kind == "Adagrad":
        more = {"lr_decay": chance(rng, 0.1), "initial_accumulator_value": chance(rng, float(rng.uniform(0, 1)))}
    elif kind == "RMSprop":
        more = {"alpha": float(rng.uniform(0.8, 0.999))}
    elif kind == "NAdam":
        more = {"betas": betas(rng), "momentum_decay": chance(rng, float(rng.uniform(0, 1)), 4e-3)}
    else:
        more = {"betas": betas(rng), "amsgrad": bool(rng.random() < 0.5)}
    return options | more


@pytest.fixture
def exact_scalars(torch):
    """PyTorch keeps NAdam's product of momenta in the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("exact_scalars")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"Lion"}))  # PyTorch has none
def test_random_options_give_the_updates_of_torch(torch, kind, dtype):
    """The same gradients in both, of sizes far apart; they fall and come back, as AMSGrad's maximum is to be seen."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    for _ in range(15):
        options = drawn(kind, rng)
        model = fastbp.mlp([5, 3], dtype=dtype, rng=1)
        weight, bias = (torch.from_numpy(np.array(p)).requires_grad_() for p in model.parameters().values())
        theirs = getattr(torch.optim, kind)([weight, bias], **options)
        trainer = fastbp.Trainer(model, optimizer=getattr(fastbp, kind)(**options))
        for step in range(STEPS):
            for name, p in (("0.weight", weight), ("0.bias", bias)):
                g = 10.0 ** (rng.uniform(-3, 1) - step % 4) * rng.standard_normal(p.shape)
                model.gradients()[name][...] = g
                p.grad = torch.from_numpy(g.astype(dtype))
            trainer.update()
            theirs.step()
            rtol = 1e-12 if dtype == "float64" else 2e-5
            for name, p in (("0.weight", weight), ("0.bias", bias)):
                found, exact = model.parameters()[name], p.detach().numpy()
                assert_allclose(found, exact, rtol, rtol * np.abs(exact).max(), err_msg=str(options))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_name_is_an_optimizer_with_its_own_numbers(name):
    kind, options = OPTIMIZERS[name]
    trainer = fastbp.Trainer(fastbp.mlp([3, 2], rng=0), "mse", name)
    assert trainer.optimizer == kind(**options) == named_optimizer(name)
    trainer.step(np.ones((4, 3)), np.ones((4, 2)))


def test_what_is_no_name_is_refused():
    model = fastbp.mlp([3, 2], rng=0)
    with pytest.raises(ValueError, match=r"Trainer expects optimizer to be one of sgd, .*nadam.*; got 'Adam'"):
        fastbp.Trainer(model, optimizer="Adam")
    with pytest.raises(TypeError, match="got type"):
        fastbp.Trainer(model, optimizer=fastbp.Adam)


@pytest.mark.parametrize("name", ["amsgrad", "nadam", "adagrad"])
def test_a_checkpoint_goes_on_to_the_same_bits(name, tmp_path):
    """What a step counts, and NAdam's products, are of the run."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 4)), rng.integers(0, 3, 30)
    optimizer = named_optimizer(name, **({"lr_decay": 0.3} if name == "adagrad" else {}))
    trainer = fastbp.Trainer(fastbp.mlp([4, 6, 3], rng=0), optimizer=optimizer)
    for _ in range(3):
        trainer.step(x, y)
    trainer.save_checkpoint(tmp_path / "c")
    twin = fastbp.Trainer.load_checkpoint(tmp_path / "c")
    assert twin.optimizer == optimizer
    for each in (trainer, twin):
        for _ in range(3):
            each.step(x, y)
    assert_array_equal(twin.model._params, trainer.model._params)


def test_amsgrad_is_a_kind_that_stays():
    trainer = fastbp.Trainer(fastbp.mlp([3, 2], rng=0), optimizer=fastbp.Adam())
    trainer.optimizer.amsgrad = True
    with pytest.raises(ValueError, match="kind of optimizer"):
        trainer.step(np.ones((4, 3)), [0, 1, 0, 1])
    with pytest.raises(TypeError, match="amsgrad to be True or False"):
        fastbp.AdamW(amsgrad="yes")
