"""Metrics are scikit-learn's: the formulas over random rows, and what `evaluate` and `fit` make of them."""

import warnings
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastbp
from fastbp.train.metrics import METRICS, larger_is_better
from fastbp.train.outputs import Classes, Labels, Numbers

COUNTS = "f1", "precision", "recall"


@pytest.fixture(scope="module")
def scores(peer):
    return peer("sklearn.metrics")


def theirs(scores, name):
    return getattr(scores, f"{name}_score")


def rows_of(rng, n, k):
    """Return outputs with draws inside rows and between them, and weights, some of them 0; their sums are exact."""
    pool = rng.standard_normal((n, k)).round(int(rng.integers(1, 4)))
    z = pool[rng.integers(0, n, n)] if rng.random() < 0.5 else rng.integers(-2, 3, (n, 2)) @ np.eye(2, k)
    weight = np.ones(n) if rng.random() < 0.3 else rng.integers(0, 5, n) / 4
    weight[0] = 1.0
    return z, weight


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are not there
        return function(*arguments, **options)


@pytest.mark.parametrize("seed", range(20))
def test_figures_of_classes_are_those_of_scikit_learn(scores, seed):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 40)), int(rng.integers(2, 6))
    z, w = rows_of(rng, n, k)
    y = rng.integers(0, rng.integers(1, k + 1), n)
    judged, said, p = Classes(y, z), z.argmax(1), np.exp(z) / np.exp(z).sum(1, keepdims=True)

    def same(name, expected, *number):
        assert_allclose(METRICS[name].function(judged, w, *number), expected, rtol=1e-12, atol=1e-15, err_msg=name)

    same("accuracy", scores.accuracy_score(y, said, sample_weight=w))
    same("log_loss", quiet(scores.log_loss, y, p, labels=range(k), sample_weight=w))
    for name in COUNTS:
        for average in ("macro", "micro"):
            expected = quiet(theirs(scores, name), y, said, average=average, sample_weight=w, zero_division=0)
            same(f"{name}_{average}", expected)
        if k == 2:
            same(name, quiet(theirs(scores, name), y, said, sample_weight=w, zero_division=0))
    if k == 2:
        same("auc", quiet(scores.roc_auc_score, y, z[:, 1] - z[:, 0], sample_weight=w))
    else:
        for number in range(1, k):
            expected = scores.top_k_accuracy_score(y, z, k=number, labels=range(k), sample_weight=w)
            same("top", expected, number)
        options = {"multi_class": "ovr", "labels": range(k), "sample_weight": w}
        same("auc", quiet(scores.roc_auc_score, y, p.round(12), **options))


@pytest.mark.parametrize("seed", range(8))
def test_figures_of_labels_are_those_of_scikit_learn(scores, seed):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 30)), int(rng.integers(2, 5))
    z, w = rows_of(rng, n, k)
    y = rng.random((n, k)) < rng.random(k)
    figures = {
        name: METRICS[name].function(Labels(y, z), w) for name, entry in METRICS.items() if Labels in entry.takes
    }
    expected = {
        f"{name}_{average}": quiet(theirs(scores, name), y, z > 0, average=average, sample_weight=w, zero_division=0)
        for name in COUNTS
        for average in ("macro", "micro")
    }
    expected["accuracy"] = scores.accuracy_score(y, z > 0, sample_weight=w)
    expected["auc"] = quiet(scores.roc_auc_score, y, z, sample_weight=w)
    assert figures == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(8))
def test_figures_of_numbers_are_those_of_scikit_learn(scores, seed):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 30)), int(rng.integers(1, 4))
    said, w = rows_of(rng, n, k)
    y = said + rng.standard_normal((n, k)) * rng.integers(0, 2, k)
    y[:, 0] = rng.choice([y[0, 0], *y[:, 0]], n) if seed % 2 else 0.5
    judged = Numbers(y, said)
    functions = {
        "mae": scores.mean_absolute_error,
        "mse": scores.mean_squared_error,
        "rmse": scores.root_mean_squared_error,
        "r2": scores.r2_score,
    }
    assert {*functions, "pinball"} == {name for name, entry in METRICS.items() if Numbers in entry.takes}
    for name, function in functions.items():
        got = METRICS[name].function(judged, w)
        assert_allclose(got, quiet(function, y, said, sample_weight=w), rtol=1e-9, atol=1e-14, err_msg=name)
    for q in (0.5, 0.9):
        expected = scores.mean_pinball_loss(y, said, sample_weight=w, alpha=q)
        assert_allclose(METRICS["pinball"].function(judged, w, q), expected, rtol=1e-12, atol=1e-15)


def test_certain_rows_do_not_draw():
    """Where probabilities end at 1, the areas are those of higher precision."""
    z = np.array([[0, 800, 0], [0, 900, 0], [0, 1000, 0], [50, 0, 1], [60, 0, 0], [0, 1, 5]], np.float32)
    y = np.array([0, 1, 1, 0, 0, 2])
    areas = [1 * 8 / 9, 7 / 8, 1]
    assert METRICS["auc"].function(Classes(y, z), np.ones(6)) == pytest.approx(np.mean(areas))


def test_a_column_that_does_not_vary_has_no_spread_whatever_its_mean_is_rounded_to():
    true = np.full((3, 1), 0.1)
    assert METRICS["r2"].function(Numbers(true, true + 1e-3), np.ones(3)) == 0.0
    assert METRICS["r2"].function(Numbers(true, true), np.ones(3)) == 1.0


def trainer_of(loss, inputs, outputs):
    return fastbp.Trainer(fastbp.mlp([inputs, outputs], dtype="float64", rng=0), loss, fastbp.SGD(0.1))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x(rng):
    return rng.standard_normal((50, 4))


def test_classes_are_read_from_labels_rows_with_a_single_one_and_single_logits(scores, rng, x):
    y = rng.integers(0, 3, 50)
    several, wanted = trainer_of("softmax_cross_entropy", 4, 3), ["f1_macro", "top_2", "auc", "log_loss"]
    figures = several.evaluate(x, y, metrics=wanted)
    assert list(figures) == ["loss", "accuracy", *wanted]
    assert figures["log_loss"] == pytest.approx(figures["loss"])
    assert figures == several.evaluate(x, np.eye(3)[y], metrics=wanted)
    z = several.model.predict(x)
    assert figures["f1_macro"] == pytest.approx(scores.f1_score(y, z.argmax(1), average="macro"))
    marked = np.append(y, [-100] * 50)
    assert several.evaluate(np.append(x, x, axis=0), marked, metrics=wanted) == pytest.approx(figures)

    y = rng.integers(0, 2, 50)
    wanted = ["accuracy", "f1", "auc", "log_loss", "precision", "recall_macro"]
    one = trainer_of("binary_cross_entropy_with_logits", 4, 1)
    z = one.model.predict(x)[:, 0]
    figures = one.evaluate(x, y, metrics=wanted)
    assert figures["log_loss"] == pytest.approx(figures["loss"])
    assert figures["f1"] == pytest.approx(scores.f1_score(y, z > 0))
    assert figures["auc"] == pytest.approx(scores.roc_auc_score(y, z))
    y = rng.integers(0, 2, (50, 3))
    figures = trainer_of("binary_cross_entropy_with_logits", 4, 3).evaluate(x, y, metrics=["auc", "f1_micro"])
    assert list(figures) == ["loss", "auc", "f1_micro"]


def test_numbers_are_the_first_outputs_and_a_loss_of_ones_own_may_mean_either(scores, rng, x):
    y, w = rng.standard_normal((50, 2)), rng.random(50)
    trainer = trainer_of("gaussian_nll", 4, 4)
    figures = trainer.evaluate(x, y, w, metrics=["r2", "pinball_0.9"])
    said = trainer.model.predict(x)[:, :2]
    assert figures["r2"] == pytest.approx(scores.r2_score(y, said, sample_weight=w))
    assert figures["pinball_0.9"] == pytest.approx(scores.mean_pinball_loss(y, said, sample_weight=w, alpha=0.9))

    def own(outputs, targets, sample_weight=None):
        return 0.0, np.zeros_like(outputs)

    labels = rng.integers(0, 2, 50)
    for y in (labels, labels[:, None], np.eye(2)[labels]):
        figures = trainer_of(own, 4, 2).evaluate(x, y, metrics=["f1"])
        assert figures["f1"] == scores.f1_score(labels, trainer_of(own, 4, 2).model.predict(x).argmax(1))
    assert list(trainer_of(own, 4, 2).evaluate(x, x[:, :2], metrics=["mae"])) == ["loss", "mae"]


def test_functions_are_given_targets_and_outputs_as_they_are(rng, x):
    y, seen = np.where(rng.random(50) < 0.2, -100, rng.integers(0, 3, 50)), []

    def largest(targets, outputs):
        seen.append((targets, outputs))
        return outputs.max()

    def weighted(targets, outputs, sample_weight):
        return -1 if sample_weight is None else sample_weight.sum()

    trainer = trainer_of("softmax_cross_entropy", 4, 3)
    figures = trainer.evaluate(x, y, metrics=[largest, weighted, "top_2"])
    z = trainer.model.predict(x)[y >= 0]
    assert list(figures) == ["loss", "accuracy", "largest", "weighted", "top_2"]
    assert (figures["largest"], figures["weighted"]) == (z.max(), -1)
    np.testing.assert_array_equal(seen[0][0], y[y >= 0])
    np.testing.assert_array_equal(seen[0][1], z)
    w = rng.random(50)
    assert trainer.evaluate(x, y, w, metrics=[weighted])["weighted"] == w[y >= 0].sum()
    trainer_of("mse", 4, 1).evaluate(x, y, metrics=[largest])
    assert seen[1][0].shape == seen[1][1].shape == (50, 1)
    with pytest.raises(
        TypeError, match=r"no sample_weight with the metric largest.*largest\(targets, outputs, sample_"
    ):
        trainer.evaluate(x, y, w, metrics=[largest])

    def wrong(targets, outputs):
        return outputs

    with pytest.raises(TypeError, match="the metric wrong should return a number"):
        trainer.evaluate(x, y, metrics=[wrong])


@pytest.mark.parametrize("metrics", [0, "", b"", None, "f1"])
def test_metrics_that_are_no_list_are_refused_without_validation_too(x, metrics):
    trainer = trainer_of("mse", 4, 1)
    with pytest.raises(TypeError, match="fit expects metrics to be a list of names and functions, got"):
        trainer.fit(x, np.zeros(50), metrics=metrics, progress=False)
    assert trainer.steps == 0


def loss(targets, outputs):
    return 0.0


def mine(targets, outputs):
    return 0.0


@pytest.mark.parametrize(
    ("named", "outputs", "metrics", "error", "match"),
    [
        ("softmax_cross_entropy", 3, "f1", TypeError, "metrics to be a list of names and functions, got 'f1'"),
        ("softmax_cross_entropy", 3, 5, TypeError, "metrics to be a list"),
        ("softmax_cross_entropy", 3, [5], TypeError, "names, or functions with a name of their own, got 5"),
        ("softmax_cross_entropy", 3, [lambda y, z: 0.0], TypeError, "functions with a name of their own"),
        ("softmax_cross_entropy", 3, [partial(mine)], TypeError, "functions with a name of their own"),
        ("softmax_cross_entropy", 3, ["f2"], ValueError, "among accuracy, top_<k>, f1, .*pinball_<q>; got 'f2'"),
        ("softmax_cross_entropy", 3, ["f1"], ValueError, "two classes for f1, got 3; take f1_macro or f1_micro"),
        ("softmax_cross_entropy", 3, ["top_3"], ValueError, "a number between 0 and 3 behind top_, got 'top_3'"),
        ("softmax_cross_entropy", 3, ["top"], ValueError, "a number between 0 and 3 behind top_, got 'top'"),
        ("softmax_cross_entropy", 3, ["top_x"], ValueError, "behind top_, got 'top_x'"),
        (
            "softmax_cross_entropy",
            3,
            ["mae"],
            ValueError,
            "no mae with the loss softmax_cross_entropy: its outputs are cl",
        ),
        ("softmax_cross_entropy", 3, [mine, mine], ValueError, "metrics of different names, got mine again"),
        ("softmax_cross_entropy", 3, ["auc", "auc"], ValueError, "metrics of different names, got auc again"),
        ("softmax_cross_entropy", 3, [loss], ValueError, "not to be named loss, which is another figure"),
        ("mse", 1, ["accuracy"], ValueError, "no accuracy with the loss mse_loss: its outputs are numbers"),
        ("mse", 1, ["pinball_1"], ValueError, "a number between 0 and 1 behind pinball_, got 'pinball_1'"),
        ("binary_cross_entropy_with_logits", 1, ["f1"], ValueError, "for f1 targets that are classes, 0 to 1, got"),
    ],
)
def test_metrics_that_there_cannot_be_are_refused_before_the_first_step(x, named, outputs, metrics, error, match):
    y = np.arange(50) % 3 if outputs == 3 else np.full(50, 0.25)
    trainer = trainer_of(named, 4, outputs)
    with pytest.raises(error, match=match):
        trainer.evaluate(x, y, metrics=metrics)
    with pytest.raises(error, match=match):
        trainer.fit(x, y, validation_data=(x, y), metrics=metrics, progress=False)
    with pytest.raises(error, match=match):
        trainer.fit(x, y, validation_split=0.2, metrics=metrics, progress=False)
    assert trainer.steps == 0


def test_fit_records_them_of_the_validation_rows(rng, x):
    y = rng.integers(0, 3, 50)
    trainer = trainer_of("softmax_cross_entropy", 4, 3)
    asked = {"validation_data": (x[:20], y[:20], rng.random(20)), "metrics": ["accuracy", "f1_macro", "top_2"]}
    history = trainer.fit(x, y, epochs=3, rng=0, progress=False, **asked)
    names = ["accuracy", "f1_macro", "top_2"]
    assert list(history) == ["loss", "accuracy", "val_loss", *(f"val_{name}" for name in names)]
    last = trainer.evaluate(*asked["validation_data"], metrics=names)
    assert {f"val_{name}": value for name, value in last.items()} == {
        name: history[name][-1] for name in list(history)[2:]
    }
    with pytest.raises(ValueError, match="validation_data or validation_split for metrics"):
        trainer.fit(x, y, metrics=["f1_macro"], progress=False)

    class Own(fastbp.Trainer):
        def evaluate(self, x, y):
            return super().evaluate(x, y)

    with pytest.raises(TypeError, match="metrics"):
        Own(trainer.model).fit(x, y, validation_split=0.1, metrics=["f1_macro"], progress=False)


def test_the_table_says_what_is_better():
    better = {
        name: larger_is_better(f"val_{name}") for name in ("f1_macro", "top_5", "r2", "rmse", "pinball_0.9", "loss")
    }
    assert better == {
        "f1_macro": True, "top_5": True, "r2": True, "rmse": False, "pinball_0.9": False, "loss": False
    }  # fmt: skip


def test_a_network_that_is_not_finite_has_no_area_and_no_top():
    judged = Classes(np.array([0, 1, 2]), np.array([[0.0, 1, 2], [np.nan, 1, 2], [0, 1, 2]]))
    assert np.isnan([METRICS["auc"].function(judged, np.ones(3)), METRICS["top"].function(judged, np.ones(3), 2)]).all()


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (fastbp.QuantileLoss(quantiles=(0.1, 0.9)), "numbers, 2 for each of the targets"),
        (fastbp.PoissonNLLLoss(), "rates or their logarithms"),
    ],
)
def test_outputs_that_are_not_those_of_the_targets_have_no_metrics_but_functions(x, loss, says):
    trainer = fastbp.Trainer(fastbp.mlp([4, 2], rng=0), loss)
    y = abs(x[:, : loss.target_width(2)])
    with pytest.raises(ValueError, match=f"no mae with the loss {loss._who}: its outputs are {says}"):
        trainer.evaluate(x, y, metrics=["mae"])
    assert trainer.evaluate(x, y, metrics=[mine])["mine"] == 0.0
