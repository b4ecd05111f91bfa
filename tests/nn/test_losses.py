"""Losses as functions: PyTorch's values and gradients, over all options."""

import itertools
import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp.nn import losses, made_functions
from fastbp.nn import own_losses as losses_of_users
from tests.kernels.loss_problems import targets_of

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
    peers = torch.nn.functional
    for ours, theirs in (
        (fastbp.mse_loss, peers.mse_loss),
        (fastbp.binary_cross_entropy_with_logits, peers.binary_cross_entropy_with_logits),
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
        ({"targets": [0.0, 1.0, 2.5, 3.0]}, ValueError, "whole numbers, got 2.5 in row 2"),
        ({"targets": ["0", "1", "2", "3"]}, TypeError, "integers, got dtype <U1"),
        ({"targets": np.zeros((4, 12))}, ValueError, r"targets of shape \(4, 13\), got \(4, 12\)"),
        ({"targets": np.zeros((4, 2), int)}, ValueError, r"targets of shape \(4,\), got \(4, 2\)"),
        ({"targets": np.full(4, 2**63, np.uint64)}, ValueError, "got 9223372036854775808 in row 0"),
        ({"logits": np.zeros((0, 13)), "targets": []}, ValueError, r"\(batch, classes\), got \(0, 13\)"),
        ({"logits": np.zeros(13)}, ValueError, r"got \(13,\)"),
        ({"logits": np.zeros((4, 13), complex)}, TypeError, "complex"),
        ({"weight": np.ones(12)}, ValueError, r"weight of shape \(13,\), got \(12,\)"),
        ({"weight": np.full(13, np.inf)}, ValueError, "weight to be finite, got inf at 0"),
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


ELEMENTWISE = [made_functions.FUNCTIONS[kind._who] for kind in losses.MADE if kind._entry.formula]


@pytest.mark.parametrize("function", [fastbp.mse_loss, fastbp.binary_cross_entropy_with_logits, *ELEMENTWISE])
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


def class_weights(rng, classes):
    """Return weights of which some are negative and some 0, as whole numbers, so that sums may cancel."""
    return rng.integers(-3, 4, classes).astype(np.float64)


@pytest.mark.parametrize("seed", range(40))
def test_negative_class_weights_are_torch_s(torch, seed):
    rng = np.random.default_rng(seed)
    dtype = [np.float32, np.float64][seed % 2]
    batch, classes = int(rng.integers(1, 9)), int(rng.choice([2, 3, 10, 64, 65, 100]))
    z = (3 * rng.standard_normal((batch, classes))).astype(dtype)
    w = class_weights(rng, classes).astype(dtype)
    y = rng.integers(0, classes, batch)
    if rng.random() < 0.3:
        y[0] = -100
    options = {"reduction": rng.choice(["mean", "sum", "none"]), "label_smoothing": float(rng.choice([0.0, 0.1]))}
    for targets in (y, rng.dirichlet(np.ones(classes), batch).astype(dtype)):
        expected, gradient = torch_value_and_gradient(
            torch,
            torch.nn.functional.cross_entropy,
            z,
            torch.from_numpy(targets),
            weight=torch.from_numpy(w),
            **options,
        )
        got = fastbp.softmax_cross_entropy(z, targets, weight=w, **options)
        size = np.abs(w).max() * 30 * classes
        assert_allclose(got[0], expected, rtol=1e-4 if dtype == np.float32 else 1e-11, atol=np.finfo(dtype).eps * size)
        counted = w[y[y >= 0]] if targets is y else np.ones(1)
        if options["reduction"] == "mean" and not counted.sum():
            if counted.any():  # weights cancel: infinite or NaN, as there
                assert_array_equal(np.isfinite(got[1]), np.isfinite(gradient))
            else:
                assert not got[1].any()
        else:
            assert_allclose(got[1], gradient, rtol=1e-4, atol=np.finfo(dtype).eps * size)


@pytest.mark.parametrize("seed", range(8))
def test_runs_with_negative_class_weights_are_the_steps_that_they_say(seed):
    """A step may divide by -1, or any other number: it is made once, and counted once.

    By 0 too: then `fit` ends where `step` would go on with NaN.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((23, 4)).astype(np.float32), rng.integers(0, 3, 23)
    loss = fastbp.CrossEntropyLoss(weight=[-1.0, 2.0, -0.5])
    batch = int(rng.integers(1, 4))
    fitted, stepped = (fastbp.Trainer(fastbp.mlp([4, 5, 3], rng=0), loss, fastbp.SGD(1e-3)) for _ in range(2))
    parts = [slice(start, start + batch) for start in range(0, 23, batch)]
    divisors = np.array([np.array([-1.0, 2.0, -0.5])[y[part]].sum() for part in parts])
    made = np.append(np.flatnonzero(divisors == 0), len(parts))[0]
    values = np.array([stepped.step(x[part], y[part]) for part in parts[:made]])
    with pytest.raises(fastbp.NotFiniteError) if made < len(parts) else nullcontext():
        history = fitted.fit(x, y, batch_size=batch, shuffle=False, progress=False)
        with np.errstate(divide="ignore"):  # all of them may cancel
            assert_allclose(history["loss"][0], (values * divisors).sum() / divisors.sum(), rtol=1e-6)
    assert fitted.steps == stepped.steps == made
    assert_array_equal(fitted.model._params, stepped.model._params)


def test_weights_that_are_not_finite_are_refused():
    for wrong in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match=r"weight to be finite, got .* at 1"):
            fastbp.softmax_cross_entropy(np.zeros((2, 3)), [0, 1], weight=[1.0, wrong, 1.0])
    with pytest.raises(ValueError, match="sample_weight to be finite and not negative"):
        fastbp.Trainer(fastbp.mlp([2, 3])).step(np.zeros((2, 2)), [0, 1], sample_weight=[1.0, -1.0])


class TestOneClassARow:
    """Rows with a single 1 are classes: they train as the probabilities that they are, and count accuracy."""

    KINDS = ("float32", "float64", "int64", "uint8", "bool")

    @settings(max_examples=40)
    @given(st.integers(2, 80), st.integers(1, 40), st.sampled_from(KINDS), st.integers(1, 20), st.integers(0, 2**32))
    def test_count_the_accuracy_of_their_labels(self, classes, rows, kind, batch, seed):
        rng = np.random.default_rng(seed)
        # few different logits, so that the largest is there more than once
        x = rng.integers(-1, 2, (rows, 3)).astype(np.float32)
        y = rng.integers(0, classes, rows)
        model = fastbp.mlp([3, classes], init="zeros")
        model[0].weight = rng.integers(-1, 2, (classes, 3))
        optimizer = fastbp.SGD(0.0)
        by_label, by_row = (fastbp.Trainer(model, optimizer=optimizer) for _ in range(2))
        one_hot = np.eye(classes)[y].astype(kind)
        options = {"batch_size": batch, "rng": seed, "progress": False}
        expected = by_label.fit(x, y, validation_data=(x, y), **options)
        got = by_row.fit(x, one_hot, validation_data=(x, one_hot), **options)
        assert list(got) == list(expected) == ["loss", "accuracy", "val_loss", "val_accuracy"]
        for name in got:
            assert got[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6)
        assert by_row.evaluate(x, one_hot)["accuracy"] == by_label.evaluate(x, y)["accuracy"]
        assert by_row.step(x, one_hot) == pytest.approx(by_label.step(x, y), rel=1e-5, abs=1e-6)

    @settings(max_examples=20)
    @given(st.sampled_from(KINDS), st.integers(0, 2**32))
    def test_train_to_the_same_bits_whatever_their_type(self, kind, seed):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((9, 4)).astype(np.float32), np.eye(3)[rng.integers(0, 3, 9)]
        runs = []
        for targets in (y.astype(kind), y.astype(np.float32)):
            trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0))
            trainer.fit(x, targets, epochs=2, batch_size=4, rng=seed, progress=False)
            trainer.step(x, targets)
            runs.append(trainer.model._params)
        assert_array_equal(*runs)

    @settings(max_examples=30)
    @given(st.sampled_from(["int64", "bool"]), st.integers(1, 6), st.integers(2, 6), st.integers(0, 2**32))
    def test_other_rows_of_integers_are_refused_with_a_hint(self, kind, rows, classes, seed):
        rng = np.random.default_rng(seed)
        y = np.eye(classes)[rng.integers(0, classes, rows)].astype(kind)
        y[rng.integers(rows)] = 1  # several classes
        with pytest.raises(ValueError, match=r"rows with a single 1, got other rows; .* binary_cross_entropy"):
            fastbp.Trainer(fastbp.mlp([3, classes])).step(np.zeros((rows, 3)), y)

    def test_rows_of_probabilities_have_no_accuracy(self):
        trainer = fastbp.Trainer(fastbp.mlp([3, 4], rng=0))
        y = np.eye(4)[[0, 1, 2]]
        y[1] = [0.5, 0.5, 0, 0]
        assert list(trainer.fit(np.ones((3, 3)), y, progress=False)) == ["loss"]
        assert list(trainer.evaluate(np.ones((3, 3)), y)) == ["loss"]

    def test_bool_labels_are_the_classes_0_and_1(self):
        rng = np.random.default_rng(3)
        x = rng.standard_normal((30, 2)).astype(np.float32)
        runs = []
        for y in (x[:, 0] > 0, (x[:, 0] > 0).astype(int), (x[:, 0] > 0).tolist()):
            trainer = fastbp.Trainer(fastbp.mlp([2, 2], rng=0), optimizer=fastbp.Adam(0.1))
            history = trainer.fit(x, y, epochs=40, rng=0, validation_data=(x, y), progress=False)
            trainer.step(x, y)
            runs.append((trainer.model._params.tobytes(), dict(history)))
        assert runs[0] == runs[1] == runs[2]
        assert history["accuracy"][-1] > 0.9


@pytest.mark.parametrize("sizes", [[2, 4, 1], [3, 1]])
def test_cross_entropy_of_one_output_is_refused_with_a_word_on_bce(sizes):
    for loss in ("softmax_cross_entropy", fastbp.CrossEntropyLoss(label_smoothing=0.1)):
        with pytest.raises(ValueError, match=r"each class, 2 or more, got out_features 1; .*binary_cross_entropy"):
            fastbp.Trainer(fastbp.mlp(sizes), loss)
    fastbp.Trainer(fastbp.mlp(sizes), "binary_cross_entropy_with_logits")


class TestValue:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("name", losses.LOSSES)
    def test_alone_it_has_the_bits_of_the_one_beside_a_gradient(self, name, rng, dtype):
        batch, kind = 37, losses.LOSSES[name]
        for outputs, reduction in itertools.product([2, 10, 64, 70, 600], ["mean", "sum", "none"]):
            z = (3 * rng.standard_normal((batch, outputs))).astype(dtype)
            weight, own = rng.uniform(0, 2, batch), rng.uniform(0.5, 2, outputs)
            labels, numbers = rng.integers(0, outputs, batch), rng.uniform(0, 1, (batch, outputs))
            labels[5] = -100
            if name == "softmax_cross_entropy":
                options = [{}, {"weight": own}, {"label_smoothing": 0.1}]
                cases = [(kind(reduction=reduction, **each), y) for each in options for y in (labels, numbers)]
            elif kind in losses.MADE:
                of_classes, others = targets_of(kind._entry, rng, batch, outputs)
                cases = [(kind(reduction=reduction), of_classes if kind._entry.labelled else others)]
            else:
                loss = kind(reduction=reduction)
                cases = [(loss, numbers[:, : loss.target_width(outputs)])]
            for (loss, y), each in itertools.product(cases, (None, weight)):
                value, (expected, _) = loss.value(z, y, each), loss.evaluate(z, y, each)
                assert np.asarray(value).tobytes() == np.asarray(expected).tobytes()
                assert type(value) is type(expected)

    def test_of_a_function_is_what_it_returns(self, rng):
        z, y = rng.standard_normal((2, 5, 3))
        loss = losses_of_users.loss_of(lambda z, y: (float(z.sum()), y))
        assert loss.value(z, y) == z.sum()

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_takes_no_memory_for_a_gradient_of_labels(self, rng, smoothing):
        z, y = np.zeros((2000, 500), np.float32), rng.integers(0, 500, 2000)
        loss = fastbp.CrossEntropyLoss(label_smoothing=smoothing)
        loss.value(z, y)
        tracemalloc.start()
        try:
            loss.value(z, y)
            assert tracemalloc.get_traced_memory()[1] < 0.1 * z.nbytes
        finally:
            tracemalloc.stop()
