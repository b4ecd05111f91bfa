"""Losses as functions: PyTorch's values and gradients, over all options."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp

CLASSES = 13


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def torch_value_and_gradient(torch, function, z, *args, **options):
    z = torch.from_numpy(np.array(z)).requires_grad_()
    loss = function(z, *args, **options)
    loss.sum().backward()
    return loss.detach().numpy(), z.grad.numpy()


def assert_equal_losses(got, expected, dtype):
    # A few roundings of numbers near 1 to 10; the bits differ from PyTorch's in the last place.
    rtol, atol = (2e-6, 2e-6) if dtype == np.float32 else (1e-13, 1e-14)
    assert_allclose(got[0], expected[0], rtol=rtol, atol=atol)
    assert_allclose(got[1], expected[1], rtol=rtol, atol=atol)
    assert got[1].dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["labels", "ignored", "probabilities"])
@pytest.mark.parametrize("classes", [1, 2, CLASSES, 300])
def test_softmax_cross_entropy_equals_torch(torch, rng, classes, kind, dtype):
    z = (3 * rng.standard_normal((21, classes))).astype(dtype)
    if kind == "probabilities":
        y = rng.random((21, classes)).astype(dtype)  # need not sum to 1
    else:
        y = rng.integers(0, classes, 21)
        if kind == "ignored":
            y[[0, 5, 20]] = 7 if classes > 7 else -100
    ignore = 7 if kind == "ignored" and classes > 7 else -100
    weights = (None, rng.random(classes).astype(dtype) + dtype(0.1))
    for weight, smoothing, reduction in itertools.product(weights, (0.0, 0.2, 1.0), ("mean", "sum", "none")):
        options = {"label_smoothing": smoothing, "reduction": reduction}
        expected = torch_value_and_gradient(
            torch,
            torch.nn.functional.cross_entropy,
            z,
            torch.from_numpy(y),
            weight=None if weight is None else torch.from_numpy(weight),
            **({} if kind == "probabilities" else {"ignore_index": ignore}),
            **options,
        )
        got = fastbp.softmax_cross_entropy(z, y, weight=weight, ignore_index=ignore, **options)
        assert_equal_losses(got, expected, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(1,), (40,), (7, 19), (2, 3, 4)])
def test_elementwise_losses_equal_torch(torch, rng, shape, reduction, dtype):
    z, t = (2 * rng.standard_normal(shape)).astype(dtype), rng.random(shape).astype(dtype)
    functional = torch.nn.functional
    for ours, theirs in (
        (fastbp.mse_loss, functional.mse_loss),
        (fastbp.binary_cross_entropy_with_logits, functional.binary_cross_entropy_with_logits),
    ):
        expected = torch_value_and_gradient(torch, theirs, z, torch.from_numpy(t), reduction=reduction)
        assert_equal_losses(ours(z, t, reduction=reduction), expected, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gaussian_nll_equals_torch(torch, rng, reduction, full, dtype):
    mean, t = rng.standard_normal((2, 9, 5)).astype(dtype)
    var = rng.random((9, 5)).astype(dtype)
    var[0, 0] = 0.0  # counts as eps
    m, v = (torch.from_numpy(np.array(a)).requires_grad_() for a in (mean, var))
    loss = torch.nn.functional.gaussian_nll_loss(m, torch.from_numpy(t), v, full=full, reduction=reduction)
    loss.sum().backward()
    var_gradient = np.empty_like(var)
    got = fastbp.gaussian_nll_loss(mean, t, var, full=full, reduction=reduction, var_out=var_gradient)
    assert_allclose(got[0], loss.detach().numpy(), rtol=2e-6 if dtype == np.float32 else 1e-13)
    assert_allclose(got[1], m.grad.numpy(), rtol=2e-6 if dtype == np.float32 else 1e-13, atol=1e-7)
    assert_allclose(var_gradient, v.grad.numpy(), rtol=5e-6 if dtype == np.float32 else 1e-12, atol=1e-6)


def test_gaussian_nll_takes_a_variance_a_row(torch, rng):
    mean, t = rng.standard_normal((2, 9, 5))
    var = rng.random(9) + 0.1
    expected = torch.nn.functional.gaussian_nll_loss(*map(torch.from_numpy, (mean, t, var)))
    assert_allclose(fastbp.gaussian_nll_loss(mean, t, var)[0], float(expected), rtol=1e-13)


def test_ignored_rows_leak_nothing(rng):
    z = rng.standard_normal((4, CLASSES)).astype(np.float32)
    y = np.array([3, -100, 5, -100])
    clean = fastbp.softmax_cross_entropy(z, y)
    for poison in (np.nan, np.inf, -np.inf):
        z[[1, 3]] = poison
        loss, gradient = fastbp.softmax_cross_entropy(z, y)
        assert loss == clean[0]
        assert_array_equal(gradient, clean[1])


def test_all_rows_ignored_is_nan_as_in_torch(torch):
    z, y = np.zeros((2, 3), np.float32), np.array([-100, -100])
    loss, gradient = fastbp.softmax_cross_entropy(z, y)
    expected = torch_value_and_gradient(torch, torch.nn.functional.cross_entropy, z, torch.from_numpy(y))
    assert np.isnan(loss)
    assert np.isnan(expected[0])
    assert not gradient.any()


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_large_logits_stay_finite(size):
    loss, gradient = fastbp.softmax_cross_entropy(np.float32([[size, 0, -size]]), [0])
    assert loss == 0
    assert_array_equal(gradient, [[0, 0, 0]])


def test_out_receives_the_gradient(rng):
    z, out = rng.standard_normal((4, CLASSES)), np.empty((4, CLASSES))
    _, gradient = fastbp.softmax_cross_entropy(z, [1, 2, 3, 4], out=out)
    assert gradient is out


def test_out_must_not_be_the_logits(rng):
    z = rng.standard_normal((4, CLASSES))
    before = z.copy()
    with pytest.raises(ValueError, match="share no memory"):
        fastbp.softmax_cross_entropy(z, [1, 2, 3, 4], out=z)
    assert_array_equal(z, before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"targets": [0, 1, 13, 2]}, ValueError, r"targets in 0..12 \(or ignore_index -100\), got 13 in row 2"),
        ({"targets": [0, -1, 1, 2]}, ValueError, "got -1 in row 1"),
        ({"targets": [0, 1, 2]}, ValueError, r"targets of shape \(4,\), got \(3,\)"),
        ({"targets": [0.0, 1.0, 2.0, 3.0]}, TypeError, "integers, got dtype float64"),
        ({"targets": np.zeros((4, 12))}, ValueError, r"targets of shape \(4, 13\), got \(4, 12\)"),
        ({"targets": np.zeros((4, 1), int)}, ValueError, r"targets of shape \(4,\), got \(4, 1\)"),
        ({"targets": np.full(4, 2**63, np.uint64)}, ValueError, "got 9223372036854775808 in row 0"),
        ({"logits": np.zeros((0, 13)), "targets": []}, ValueError, r"\(batch, classes\), got \(0, 13\)"),
        ({"logits": np.zeros(13)}, ValueError, r"got \(13,\)"),
        ({"logits": np.zeros((4, 13), complex)}, TypeError, "complex"),
        ({"weight": np.ones(12)}, ValueError, r"weight of shape \(13,\), got \(12,\)"),
        ({"weight": -np.ones(13)}, ValueError, "not negative, got -1.0 at 0"),
        ({"label_smoothing": 1.5}, ValueError, r"label_smoothing in \[0, 1\], got 1.5"),
        ({"label_smoothing": "some"}, TypeError, "label_smoothing to be a number"),
        ({"reduction": "median"}, ValueError, "reduction to be one of mean, sum, none; got 'median'"),
        ({"ignore_index": 2**70}, ValueError, "ignore_index of at most"),
        ({"ignore_index": 0.5}, TypeError, "ignore_index to be an int"),
        ({"out": np.empty((4, 13), np.float32)}, TypeError, "out to be a float64 array, got float32"),
        ({"out": np.empty((13, 4)).T}, ValueError, "out to be C-contiguous"),
    ],
)
def test_softmax_cross_entropy_refuses(change, error, message):
    arguments = {"logits": np.zeros((4, 13)), "targets": [0, 1, 2, 3]} | change
    with pytest.raises(error, match=message):
        fastbp.softmax_cross_entropy(arguments.pop("logits"), arguments.pop("targets"), **arguments)


@pytest.mark.parametrize("function", [fastbp.mse_loss, fastbp.binary_cross_entropy_with_logits])
def test_elementwise_losses_refuse(function):
    with pytest.raises(ValueError, match=r"target of shape \(3,\), got \(4,\)"):
        function(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="at least one element"):
        function([], [])


def test_gaussian_nll_refuses():
    with pytest.raises(ValueError, match=r"var that is not negative, got -1.0"):
        fastbp.gaussian_nll_loss([0.0], [0.0], [-1.0])
    with pytest.raises(ValueError, match=r"eps of at least 2\.23e-308 in float64, got 0"):
        fastbp.gaussian_nll_loss([0.0], [0.0], [1.0], eps=0)
    with pytest.raises(ValueError, match=r"broadcasts to \(3,\), got \(2,\)"):
        fastbp.gaussian_nll_loss(np.zeros(3), np.zeros(3), np.ones(2))


def test_learned_variances_minimise_the_likelihood_of_the_data(rng):
    """A network of biases alone, with mean and log-variance as outputs, finds the sample's mean and variance."""
    t = 3 + 2 * rng.standard_normal((400, 1))
    model = fastbp.mlp([1, 2], dtype="float64", rng=0)
    trainer = fastbp.Trainer(model, "gaussian_nll", fastbp.Adam(0.05))
    for _ in range(800):
        trainer.step(np.zeros((400, 1)), t)
    assert_allclose(model[0].bias, [t.mean(), np.log(t.var())], atol=1e-3)


@pytest.mark.parametrize("shape", [(10**6,), (4, 250_000)])
def test_long_rows_are_summed_in_float64(shape):
    """A chain of float32 additions would be off by 1e-4 here; each square is rounded once, 2**-24 relative."""
    a = np.full(shape, 0.1, np.float32)
    exact = float(np.float32(0.1)) ** 2
    assert fastbp.mse_loss(a, 0 * a)[0] == pytest.approx(exact, rel=2**-23)
    # a Gaussian of variance 1: half of that; at 0 a logit costs log 2
    assert fastbp.gaussian_nll_loss(a, 0 * a, np.ones_like(a))[0] == pytest.approx(exact / 2, rel=2**-22)
    assert fastbp.binary_cross_entropy_with_logits(0 * a, a)[0] == pytest.approx(np.log(2), rel=2**-22)
