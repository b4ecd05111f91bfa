"""Gradients against finite differences, and that a wrong one is found."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.nn import losses
from tests.kernels.loss_problems import targets_of


def made_targets(loss, rng):
    labels, targets = targets_of(loss, rng, 5, 4)
    return labels if loss.labelled else targets


LOSSES = {
    "labels": ("softmax_cross_entropy", lambda rng: rng.integers(0, 4, 5)),
    "smoothed": (fastbp.CrossEntropyLoss(label_smoothing=0.2, weight=[1, 2, 0.5, 1]), lambda rng: np.arange(5) % 4),
    "probabilities": ("softmax_cross_entropy", lambda rng: rng.dirichlet(np.ones(4), 5)),
    "mse": (fastbp.MSELoss(reduction="sum"), lambda rng: rng.standard_normal((5, 4))),
    "bce": ("binary_cross_entropy_with_logits", lambda rng: rng.random((5, 4))),
    "gaussian_nll": ("gaussian_nll", lambda rng: rng.standard_normal((5, 2))),
    "function": (fastbp.mse_loss, lambda rng: rng.standard_normal((5, 4))),
    "pos_weight": (fastbp.BCEWithLogitsLoss(pos_weight=[1, 2, 3, 4]), lambda rng: rng.uniform(0, 1, (5, 4))),
    "quantiles": (fastbp.QuantileLoss(quantiles=(0.1, 0.8)), lambda rng: rng.standard_normal((5, 2))),
    **{kind.__name__: (kind(), lambda rng, loss=kind._entry: made_targets(loss, rng)) for kind in losses.MADE},
}


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((5, 3))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_of_every_loss_are_right(x, loss):
    loss, targets = LOSSES[loss]
    model = fastbp.mlp([3, 6, 4], "gelu", rng=0)
    result = fastbp.gradcheck(model, loss, x, targets(np.random.default_rng(2)))
    assert result
    assert result.error < 1e-8
    assert result.checked == x.size + model._params.size


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_every_activation_are_right(x, activation):
    model = fastbp.mlp([3, 6, 4], activation, bias=activation != "tanh", rng=0)
    assert fastbp.gradcheck(model, "mse", x, np.ones((5, 4))).error < 1e-8


def test_a_wrong_gradient_of_a_loss_is_named(x):
    def wrong(z, y):
        loss, gradient = fastbp.mse_loss(z, y)
        gradient[2] *= 1.01
        return loss, gradient

    model = fastbp.mlp([3, 4], rng=0)
    result = fastbp.gradcheck(model, wrong, x, np.ones((5, 4)), raise_exception=False)
    assert not result
    assert result.error == abs(result.analytical - result.numerical) > 1e-4
    assert result.analytical == pytest.approx(1.01 * result.numerical, rel=1e-4) or result.name != "x"
    with pytest.raises(RuntimeError, match=r"gradcheck expects the gradient .* of .*\[\d.*\], got "):
        fastbp.gradcheck(model, wrong, x, np.ones((5, 4)))


class Broken(fastbp.Dense):
    """Spoils one entry of its gradient."""

    def _backward(self, dz, below):
        result = super()._backward(dz, below)
        self.weight_grad[1, 2] += SPOILT
        return result


SPOILT = 1e-3


@pytest.mark.parametrize("spoilt", [1e-3, np.nan, np.inf])
def test_one_wrong_entry_is_found_and_named(x, monkeypatch, spoilt):
    monkeypatch.setitem(globals(), "SPOILT", spoilt)
    model = fastbp.Sequential(fastbp.Dense(3, 4, "tanh", rng=0), Broken(4, 2, rng=1))
    result = fastbp.gradcheck(model, "mse", x, np.ones((5, 2)), raise_exception=False)
    assert (result.ok, result.name, result.index) == (False, "1.weight", (1, 2))


def test_the_model_stays_as_it_is(x):
    model = fastbp.mlp([3, 4], rng=0)
    model.forward(x)
    model.backward(np.ones((5, 4)))
    before = model._params.copy(), model._grads.copy(), x.copy()
    fastbp.gradcheck(model, "mse", x, np.ones((5, 4)))
    for was, now in zip(before, (model._params, model._grads, x), strict=True):
        assert_array_equal(was, now)


def test_a_part_of_a_large_model_is_checked(x):
    model = fastbp.mlp([3, 500, 4], "tanh", rng=0)
    assert fastbp.gradcheck(model, "mse", x, np.ones((5, 4)), most=50).checked == 50


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("model", "mse", [[0.0]], [0]), {}, TypeError, "model to be a Sequential, got str"),
        ((None, 5, [[0.0] * 3], [0]), {}, TypeError, "loss to be a loss or a function, got int"),
        ((None, "hinges", [[0.0] * 3], [0]), {}, ValueError, "hinges"),
        ((None, "mse", [[0.0]], [0]), {}, ValueError, r"gradcheck expects x of shape \(batch, 3\)"),
        ((None, fastbp.MSELoss(reduction="none"), [[0.0] * 3], [0]), {}, ValueError, "a loss that is one number"),
        ((None, "mse", [[0.0] * 3], [0]), {"eps": 0}, ValueError, "eps greater than 0"),
        ((None, "mse", [[0.0] * 3], [0]), {"atol": -1}, ValueError, "atol at least 0"),
        ((None, "mse", [[0.0] * 3], [0]), {"most": 0}, ValueError, "most of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, error, message):
    model, *rest = arguments
    with pytest.raises(error, match=message):
        fastbp.gradcheck(model or fastbp.mlp([3, 1], rng=0), *rest, **options)
