"""Cross-entropy at the edges: PyTorch's value and gradient, or the right one where PyTorch's is NaN."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp

INF, NAN = np.inf, np.nan
ROWS = {
    "huge": [1e30, 0, -1e30],
    "beyond the range": [3e38, -3e38, 0],
    "all very low": [-1e30] * 3,
    "equal": [2, 2, 2],
    "masked": [-INF, 0, 1],
    "all masked": [-INF] * 3,
    "infinite": [INF, 0, 1],
    "two infinite": [INF, INF, 0],
    "nan": [NAN, 0, 1],
}
MORE = 70  # classes beyond the three: too many for the kernel of narrow rows
OPTIONS = list(itertools.product((None, [1, 2, 3]), (0.0, 0.3), ("mean", "sum", "none")))


def pytorch(torch, z, y, *, weight=None, **options):
    z = torch.from_numpy(np.array(z)).requires_grad_()
    weight = None if weight is None else torch.from_numpy(weight)
    loss = torch.nn.functional.cross_entropy(z, torch.from_numpy(y), weight=weight, **options)
    loss.sum().backward()
    return loss.detach().numpy(), z.grad.numpy()


def assert_equal_losses(got, expected):
    # float32: a few roundings of numbers near 1 to 10
    assert_allclose(got[0], expected[0], rtol=2e-6, atol=2e-6)
    assert_allclose(got[1], expected[1], rtol=2e-6, atol=2e-6)


def problem(row, more):
    """Logits of a row and of an ordinary one, and a maker of weights for their classes."""
    rest = [0.5] * more
    z = np.float32([[*row, *rest], [0.1, 0.2, 0.3, *rest]])
    return z, lambda w: None if w is None else np.float32([*w, *[1.5] * more])


@pytest.mark.parametrize("more", [0, MORE])
@pytest.mark.parametrize("name", ROWS)
def test_labels_equal_torch(torch, name, more):
    z, weight = problem(ROWS[name], more)
    for label, (w, smoothing, reduction) in itertools.product((0, 1, 2), OPTIONS):
        options = {"weight": weight(w), "label_smoothing": smoothing, "reduction": reduction}
        y = np.array([label, 1])
        assert_equal_losses(fastbp.softmax_cross_entropy(z, y, **options), pytorch(torch, z, y, **options))


@pytest.mark.parametrize("more", [0, MORE])
@pytest.mark.parametrize("name", ROWS)
def test_probabilities_that_need_not_sum_to_1_equal_torch(torch, name, more):
    z, weight = problem(ROWS[name], more)
    q = np.float32([[0.2, 0.9, 0.4] + [0.01] * more, [0.1, 0.2, 0.3] + [0.0] * more])
    for w, smoothing, reduction in OPTIONS:
        options = {"weight": weight(w), "label_smoothing": smoothing, "reduction": reduction}
        assert_equal_losses(fastbp.softmax_cross_entropy(z, q, **options), pytorch(torch, z, q, **options))


@pytest.mark.parametrize("more", [0, MORE])
@pytest.mark.parametrize("name", ROWS)
def test_an_ignored_row_has_no_gradient(torch, name, more):
    """PyTorch's loss is the same, and so is its gradient where it is a number; where it is not, ours is 0."""
    z, weight = problem(ROWS[name], more)
    y = np.array([-100, 1])
    for w, smoothing, reduction in OPTIONS:
        options = {"weight": weight(w), "label_smoothing": smoothing, "reduction": reduction}
        got, (loss, gradient) = fastbp.softmax_cross_entropy(z, y, **options), pytorch(torch, z, y, **options)
        assert not got[1][0].any()
        assert_equal_losses(got, (loss, np.where(np.isnan(gradient), 0, gradient)))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_without_any_row_that_counts_the_mean_is_nan_and_nothing_moves(torch, name, smoothing):
    z, y = problem(ROWS[name], 0)[0], np.array([-100, -100])
    for reduction, expected in (("mean", NAN), ("sum", 0.0), ("none", [0, 0])):
        loss, gradient = fastbp.softmax_cross_entropy(z, y, label_smoothing=smoothing, reduction=reduction)
        assert_array_equal(loss, expected)
        assert_array_equal(loss, pytorch(torch, z, y, label_smoothing=smoothing, reduction=reduction)[0])
        assert not gradient.any()


@pytest.mark.parametrize("more", [0, MORE])
def test_a_class_that_cannot_be_costs_nothing_where_it_counts_for_nothing(torch, more):
    z, weight = problem(ROWS["masked"], more)
    q = np.zeros_like(z)
    q[:, 1] = 1
    without, gradient = fastbp.softmax_cross_entropy(z[:1, 1:], q[:1, 1:])
    got = fastbp.softmax_cross_entropy(z[:1], q[:1])
    assert got[0] == pytest.approx(without, rel=1e-6)
    assert_allclose(got[1][0], [0, *gradient[0]], atol=1e-6)
    assert np.isnan(pytorch(torch, z[:1], q[:1])[0])  # 0 * -inf

    for y in (np.array([0]), q[:1, [1, 0, *range(2, 3 + more)]]):  # the masked class itself, of weight 0
        options = {"weight": weight([0, 1, 1]), "reduction": "sum"}
        assert fastbp.softmax_cross_entropy(z[:1], y, **options)[0] == 0
        assert np.isnan(pytorch(torch, z[:1], y, **options)[0])


def test_a_vocabulary_of_50_257_classes_equals_torch(torch):
    rng = np.random.default_rng(0)
    z, y = 4 * rng.standard_normal((3, 50_257)).astype(np.float32), np.array([50_256, -100, 7])
    z[0, 1000:2000] = -INF
    for w, smoothing in itertools.product((None, rng.random(50_257).astype(np.float32)), (0.0, 0.1)):
        options = {"weight": w, "label_smoothing": smoothing, "reduction": "none"}
        if smoothing:
            z[0, 1000:2000] = -50
        expected = pytorch(torch, z.astype(float), y, **options | {"weight": None if w is None else w.astype(float)})
        got = fastbp.softmax_cross_entropy(z, y, **options)
        # sums over the classes are in float64, so their number adds no error
        assert_allclose(got[0], expected[0], rtol=1e-6)
        assert_allclose(got[1], expected[1], rtol=1e-5, atol=1e-9)


def test_an_empty_batch_is_refused_where_torch_trains_on_nothing(torch):
    z, y = np.empty((0, 3), np.float32), np.empty(0, np.int64)
    loss, gradient = pytorch(torch, z, y)
    assert np.isnan(loss)
    assert gradient.size == 0
    with pytest.raises(ValueError, match=r"\(batch, classes\), got \(0, 3\)"):
        fastbp.softmax_cross_entropy(z, y)


@pytest.mark.parametrize("activation", ["identity", "relu", "silu"])
def test_whatever_an_ignored_row_holds_training_goes_on_as_if_it_held_zeros(activation):
    x, y = np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32), np.arange(9) % 4
    y[[1, 4]] = -100

    def train(poison):
        model = fastbp.mlp([6, 5, 4], activation, output_activation=activation, rng=0)
        trainer = fastbp.Trainer(model, optimizer=fastbp.SGD(0.1))
        given = x.copy()
        given[[1, 4]] = poison
        before = given.copy()
        losses = [trainer.step(given, y) for _ in range(2)]  # checked, then quick
        history = trainer.fit(given, y, epochs=2, batch_size=4, rng=0, progress=False)
        assert_array_equal(given, before)
        return [*losses, *history["loss"], *history["accuracy"], *trainer.evaluate(given, y).values()], model

    for poison in (NAN, INF, -INF, 3e38):
        figures, model = train(poison)
        expected, clean = train(0)
        assert figures == expected
        assert_array_equal(model[0].weight, clean[0].weight)
        assert_array_equal(model[1].weight, clean[1].weight)


@pytest.mark.parametrize("shape", [(1,), (3, MORE)])
def test_binary_cross_entropy_of_what_is_certain(shape):
    for z, t, loss, gradient in [
        (INF, 1, 0, 0), (-INF, 0, 0, 0), (INF, 0, INF, 1), (-INF, 1, INF, -1), (INF, 0.5, INF, 0.5),
        (NAN, 0, NAN, NAN), (NAN, 1, NAN, NAN), (1.0, NAN, NAN, NAN),
    ]:  # fmt: skip
        got = fastbp.binary_cross_entropy_with_logits(np.full(shape, z), np.full(shape, t), reduction="none")
        assert_array_equal(got[0], np.full(shape, loss))
        assert_array_equal(got[1], np.full(shape, gradient))


def test_the_smallest_variance_is_a_normal_number():
    with pytest.raises(ValueError, match=r"eps of at least 1\.18e-38 in float32, got 1e-40"):
        fastbp.gaussian_nll_loss(np.float32([0]), np.float32([0]), np.float32([0]), eps=1e-40)
    with pytest.raises(ValueError, match=r"eps of at least 2\.23e-308 in float64, got 0"):
        fastbp.GaussianNLLLoss(eps=0)
