"""What predicts looks at its rows no longer than it has to, and refuses what scikit-learn refuses."""

import warnings

import numpy as np
import pytest
import sklearn.neural_network

import fastbp.sklearn
from fastbp._base import check, inputs
from fastbp.sklearn import _multilayer
from fastbp.train import staging

X = np.random.default_rng(0).standard_normal((60, 3))
Y = np.arange(60) % 3


def fitted(module=fastbp.sklearn, x=X, kind="MLPClassifier"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(module, kind)(hidden_layer_sizes=(4,), max_iter=2, random_state=0).fit(x, Y)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_array_of_floats_is_seen_to_be_valid_at_once(monkeypatch, kind, dtype):
    model, rows = fitted(kind=kind), X[::2].astype(dtype)
    expected = model.predict(rows)

    def refused(*arguments, **options):
        raise AssertionError("scikit-learn's validation is asked")

    monkeypatch.setattr(_multilayer, "validate_data", refused)
    for same in (rows, np.asfortranarray(rows)):
        np.testing.assert_array_equal(model.predict(same), expected)
    for other in (
        rows.tolist(),
        np.full((1, 3), 1e308),
        rows.astype("float16"),
        rows.view(type("Own", (np.ndarray,), {})),
    ):
        with pytest.raises(AssertionError, match="is asked"):
            model.predict(other)


@pytest.mark.parametrize("family", ["csr_matrix", "csr_array"])
def test_a_sparse_matrix_of_floats_is_seen_to_be_valid_at_once(monkeypatch, family):
    make, model = getattr(pytest.importorskip("scipy.sparse"), family), fitted()
    expected = model.predict(X)
    monkeypatch.setattr(_multilayer, "validate_data", None)
    np.testing.assert_array_equal(model.predict(make(X)), expected)
    monkeypatch.undo()
    for wrong in (np.full((2, 3), np.nan), X[:, :2], X.astype(complex)):
        with pytest.raises(ValueError):  # noqa: PT011  # in scikit-learn's words
            model.predict(make(wrong))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes_are_those_of_the_first_largest_probability(dtype):
    """Numbers so close that their probabilities are the same: the first counts, though another is larger."""
    eps = np.finfo(dtype).eps
    z = np.array([[0, 1e-30, -1], [0, eps / 4, 0], [1, 1 + eps, 1 + 2 * eps], [5, 1, 2], [-3, 4, 4]], dtype)
    for rows in (z, z[3:4], np.vstack([z, [[np.nan, 1, 2]]]).astype(dtype), np.array([[1, np.inf, 3]], dtype)):
        model = fitted()
        model._outputs = lambda _, rows=rows: rows.copy()
        with np.errstate(all="ignore"):
            expected = model.classes_[model.predict_proba(X).argmax(axis=1)]
            np.testing.assert_array_equal(model.predict(X), expected)


def test_numbers_whose_sum_is_infinite_are_valid():
    rows = np.full((2, 3), 1e308)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (fitted().predict(rows) == fitted(sklearn.neural_network).predict(rows)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        np.full((2, 3), np.nan), np.array([[0, 0, np.inf]]), X[:, :2], X[:0], X[0],
        X[None], X.astype(complex), X.astype(str),
    ],
)  # fmt: skip
def test_what_scikit_learn_refuses_is_refused_in_its_words(wrong):
    said = []
    for module in (sklearn.neural_network, fastbp.sklearn):
        with pytest.raises(ValueError) as error:  # noqa: PT011  # whatever it says
            fitted(module).predict_proba(wrong)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_rows_without_the_names_of_the_fit_are_warned_of():
    pandas = pytest.importorskip("pandas")
    model = fitted(x=pandas.DataFrame(X, columns=["a", "b", "c"]))
    with pytest.warns(UserWarning, match="feature names"):
        model.predict(X)


def test_a_network_of_given_coefficients_predicts_without_a_fit():
    model, given = fastbp.sklearn.MLPRegressor(), fitted(kind="MLPRegressor")
    for name in ("coefs_", "intercepts_", "n_outputs_", "out_activation_", "n_layers_"):
        setattr(model, name, getattr(given, name))
    np.testing.assert_array_equal(model.predict(X), given.predict(X))


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_numbers_of_more_than_64_bits_are_taken_as_float64(kind):
    wide, y = X.astype(np.longdouble), Y.astype(np.longdouble) if kind == "MLPRegressor" else Y
    model = fitted(kind=kind)
    for method in ("predict", "predict_proba") if kind == "MLPClassifier" else ("predict",):
        np.testing.assert_array_equal(getattr(model, method)(wide), getattr(model, method)(X))
    assert model.score(wide, y) == pytest.approx(model.score(X, Y))
    for solver in ("adam", "lbfgs"):
        models = [
            getattr(fastbp.sklearn, kind)(
                hidden_layer_sizes=(4,), solver=solver, max_iter=2, random_state=0, early_stopping=early
            )
            for early in (False, True)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for model in models:
                weights = [model.fit(*data).coefs_[0].copy() for data in ((X, Y), (wide, y))]
                np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_what_only_a_trainer_reads_is_refused_by_its_name(kind):
    model, scaled = fitted(kind=kind), fastbp.Scaled(X, 2.0)
    new = type(model)(max_iter=2)
    calls = [model.predict, lambda x: model.partial_fit(x, Y), lambda x: new.fit(x, Y), lambda x: new.fit(X, x)]
    if kind == "MLPClassifier":
        calls.append(model.predict_proba)
    for call in calls:
        with pytest.raises(TypeError, match=f"{kind} expects arrays or sparse matrices, got Scaled: put a scaler"):
            call(scaled)
    assert not hasattr(new, "coefs_")


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_features_that_stand_far_apart_are_gathered_for_many_steps_at_a_time(monkeypatch, kind):
    x, weight = np.random.default_rng(0).standard_normal((200, 30)), np.arange(200) % 3 + 1.0
    monkeypatch.setattr(check, "FEW_NUMBERS", 0)
    for module in (inputs, staging):
        monkeypatch.setattr(module, "STAGED_BYTES", 40 * 30 * 8)
    blocks, taken = [], staging.taken
    monkeypatch.setattr(staging, "taken", lambda *each: blocks.append(len(each[1])) or taken(*each))
    models = []
    for each in (x, np.asfortranarray(x)):
        model = getattr(fastbp.sklearn, kind)(hidden_layer_sizes=(4,), batch_size=10, max_iter=2, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            models.append(model.fit(each, np.arange(200) % 3, weight))
    assert sum(blocks) == 400
    assert max(blocks) < 50
    np.testing.assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])
    assert models[0].loss_curve_ == models[1].loss_curve_
