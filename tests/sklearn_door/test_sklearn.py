"""`fastbp.sklearn`: scikit-learn's numbers, and what there is beside."""

import copy
import inspect
import itertools
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

sklearn_missing = None
try:
    import sklearn.neural_network as theirs
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_multilabel_classification

    import fastbp.sklearn as ours
    from fastbp.sklearn import _by_hand, _networks, _objectives, _solvers
except ImportError as error:
    sklearn_missing = error

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning") if not sklearn_missing else []


@pytest.fixture(autouse=True, scope="module")
def _peers(library):
    library("sklearn")
    if sklearn_missing:
        raise sklearn_missing


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x[:400] / 16, y[:400]


WEIGHTED = np.random.default_rng(0).integers(0, 3, 400).astype(float)
FEW = {"max_iter": 4, "random_state": 0, "hidden_layer_sizes": (20,), "batch_size": 32}


def assert_same(a, b, x, rtol=1e-7, atol=1e-10):
    for mine, other in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(mine, other, rtol, atol)
    name = "predict_proba" if hasattr(b, "predict_proba") else "predict"
    np.testing.assert_allclose(getattr(a, name)(x), getattr(b, name)(x), rtol, atol)
    np.testing.assert_allclose(a.loss_, b.loss_, rtol)
    np.testing.assert_allclose(getattr(a, "loss_curve_", []), getattr(b, "loss_curve_", []), rtol)
    assert (a.n_iter_, a.t_, a.n_layers_, a.n_outputs_, a.out_activation_) == (
        b.n_iter_, b.t_, b.n_layers_, b.n_outputs_, b.out_activation_
    )  # fmt: skip


@pytest.mark.parametrize("weights", [None, WEIGHTED], ids=["", "weighted"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"alpha": 1.0, "activation": "tanh", "hidden_layer_sizes": (15, 10)},
        {"alpha": 0.0, "activation": "logistic", "shuffle": False},
        {"epsilon": 0.1, "beta_1": 0.0, "beta_2": 0.5},
        {"activation": "identity", "hidden_layer_sizes": ()},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1, "max_iter": 12},
        {"solver": "sgd", "nesterovs_momentum": False, "alpha": 1.0},
        {"solver": "sgd", "momentum": 0.0},
        {"solver": "lbfgs", "alpha": 0.1},
        {"early_stopping": True, "tol": 0.05, "n_iter_no_change": 1, "max_iter": 12},
    ],
    ids=str,
)
def test_classifier_has_scikit_learns_numbers(digits, arguments, weights):
    x, y = digits
    arguments = {**FEW, **arguments}
    a = ours.MLPClassifier(**arguments).fit(x, y, weights)
    b = theirs.MLPClassifier(**arguments).fit(x, y, weights)
    assert_same(a, b, x)
    assert a.validation_scores_ == b.validation_scores_ if "early_stopping" in arguments else True


def test_two_classes_and_several_labels_have_scikit_learns_numbers():
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    assert_same(ours.MLPClassifier(**FEW).fit(x, y), theirs.MLPClassifier(**FEW).fit(x, y), x)
    x, y = make_multilabel_classification(random_state=0)
    assert_same(ours.MLPClassifier(**FEW).fit(x, y), theirs.MLPClassifier(**FEW).fit(x, y), x)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_regressor_has_scikit_learns_numbers(loss, solver, outputs):
    x, y = load_diabetes(return_X_y=True)
    y = np.stack([y / 100] * outputs, 1) if outputs > 1 else y / 100
    weights = np.random.default_rng(1).random(len(x))
    arguments = {**FEW, "solver": solver}
    for w in (None, weights):
        a, b = (m.MLPRegressor(loss, **arguments).fit(x, y, w) for m in (ours, theirs))
        assert_same(a, b, x, rtol=1e-6)


def test_partial_fit_goes_on_as_in_scikit_learn_and_through_pickle(digits):
    x, y = digits
    for solver in ("adam", "sgd"):
        arguments = {**FEW, "solver": solver, "learning_rate": "invscaling"}
        a, b = ours.MLPClassifier(**arguments), theirs.MLPClassifier(**arguments)
        for turn in range(4):
            a.partial_fit(x, y, WEIGHTED, classes=np.arange(10))
            b.partial_fit(x, y, WEIGHTED, classes=np.arange(10))
            if turn == 1:
                a = pickle.loads(pickle.dumps(a))
            if turn == 2:
                a = copy.deepcopy(a)
        assert_same(a, b, x)


def test_float32_and_float64_are_kept(digits):
    x, y = digits
    for dtype, tolerance in ((np.float32, 1e-3), (np.float64, 1e-7)):
        for solver in ("adam", "lbfgs"):
            a = ours.MLPClassifier(**FEW, solver=solver).fit(x.astype(dtype), y)
            b = theirs.MLPClassifier(**FEW, solver=solver).fit(x.astype(dtype), y)
            assert {c.dtype for c in a.coefs_ + a.intercepts_} == {np.dtype(dtype)}
            assert a.predict_proba(x.astype(dtype)).dtype == dtype
            np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(x), atol=tolerance)


@pytest.fixture
def never_dense(monkeypatch):
    """Let a sparse matrix that is made dense be an error."""
    import scipy.sparse

    def refuse(*_, **__):
        raise AssertionError("a sparse matrix is made dense")

    for kind in (scipy.sparse.csr_matrix, scipy.sparse.csc_array):
        monkeypatch.setattr(kind, "toarray", refuse)


@pytest.mark.parametrize("container", ["csr_matrix", "csc_array"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_sparse_rows_are_dense_ones(digits, container, solver, never_dense):
    """To the bit, but for the sign of zeros; and no row is made dense."""
    import scipy.sparse

    x, y = digits
    rows = getattr(scipy.sparse, container)(x)
    for more in ({}, {"early_stopping": True, "hidden_layer_sizes": (30, 20)}):
        more = more if solver != "lbfgs" else {}
        dense, sparse = (ours.MLPClassifier(**FEW | more, solver=solver).fit(given, y, WEIGHTED) for given in (x, rows))
        for a, b in zip(dense.coefs_ + dense.intercepts_, sparse.coefs_ + sparse.intercepts_, strict=True):
            np.testing.assert_array_equal(a, b)
        assert sparse.loss_ == dense.loss_
        assert sparse.n_iter_ == dense.n_iter_
        np.testing.assert_array_equal(dense.predict_proba(rows), dense.predict_proba(x))
        assert dense.score(rows, y) == dense.score(x, y)


def test_sparse_rows_go_through_partial_fit_and_other_losses(digits, never_dense):
    import scipy.sparse

    x, y = digits
    for make, target in [
        (lambda: ours.MLPClassifier(**FEW), y),
        (lambda: ours.MLPRegressor(**FEW), np.column_stack([y, -y])),
        (lambda: ours.MLPRegressor("poisson", **FEW), y),
        (lambda: ours.MLPRegressor("poisson", **FEW, solver="lbfgs"), y),
    ]:
        dense, sparse = make(), make()
        for _ in range(2):
            for model, given in ((dense, x), (sparse, scipy.sparse.csr_matrix(x))):
                model.fit(given, target) if model.solver == "lbfgs" else model.partial_fit(
                    given, target, **({"classes": np.arange(10)} if hasattr(model, "predict_proba") else {})
                )
        for a, b in zip(dense.coefs_, sparse.coefs_, strict=True):
            np.testing.assert_array_equal(a, b)


def test_sparse_rows_with_dropout_are_made_dense_a_batch_at_a_time(digits):
    import scipy.sparse

    x, y = digits
    dense, sparse = (ours.MLPClassifier(**FEW, dropout=0.3).fit(given, y) for given in (x, scipy.sparse.csr_matrix(x)))
    np.testing.assert_array_equal(dense.coefs_[0], sparse.coefs_[0])


def test_parameters_and_their_order_are_scikit_learns():
    for name in ("MLPClassifier", "MLPRegressor"):
        mine = list(inspect.signature(getattr(ours, name)).parameters.values())
        original = list(inspect.signature(getattr(theirs, name)).parameters.values())
        for a, b in zip(mine, original, strict=False):
            assert (a.name, a.kind, a.default) == (b.name, b.kind, b.default)
        assert all(p.kind is p.KEYWORD_ONLY for p in mine[len(original) :])
    assert isinstance(ours.MLPClassifier(), theirs.MLPClassifier)


def test_weights_are_live_and_may_be_replaced(digits):
    x, y = digits
    model = ours.MLPClassifier(**FEW).fit(x, y)
    before = model.predict_proba(x)
    model.intercepts_[-1][3] += 100
    assert (model.predict(x) == 3).all()
    model.intercepts_[-1] = model.intercepts_[-1] - 200 * (np.arange(10) == 3)
    assert (model.predict(x) != 3).all()
    model.intercepts_[-1][3] += 100
    np.testing.assert_allclose(model.predict_proba(x), before, atol=1e-9)
    model.set_params(activation="tanh")
    assert not np.allclose(model.predict_proba(x), before)


def test_a_batch_in_which_nothing_counts_makes_no_step(digits):
    x, y = digits
    weights = np.repeat([0.0, 1.0], 200)
    arguments = {**FEW, "batch_size": 200, "shuffle": False}
    a = ours.MLPClassifier(**arguments).fit(x, y, weights)
    b = ours.MLPClassifier(**arguments).fit(x[200:], y[200:])
    np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], rtol=1e-9, atol=1e-12)


def objectives():
    if sklearn_missing:
        return []
    rng = np.random.default_rng(3)
    one_of_four = np.eye(4, dtype=bool)[rng.integers(0, 4, 7)]
    numbers = rng.standard_normal((7, 2))
    return [
        pytest.param(_objectives.softmax(0.0), one_of_four, 4, id="softmax"),
        pytest.param(_objectives.softmax(0.2), one_of_four, 4, id="softmax smoothed"),
        pytest.param(_objectives.logistic(0.0), one_of_four, 4, id="logistic"),
        pytest.param(_objectives.logistic(0.2), one_of_four, 4, id="logistic smoothed"),
        pytest.param(_objectives.regression("squared_error", 1), numbers[:, :1], 1, id="squared_error"),
        pytest.param(_objectives.regression("poisson", 2), numbers**2, 2, id="poisson"),
        pytest.param(_objectives.regression("gaussian_nll", 2), numbers, 4, id="gaussian_nll"),
    ]


@pytest.mark.parametrize("dropped", [False, True], ids=["", "dropout"])
@pytest.mark.parametrize(("objective", "y", "outputs"), objectives())
def test_gradients_are_those_of_the_loss(objective, y, outputs, dropped):
    rng = np.random.default_rng(0)
    shapes = [(5, 6), (6, 3), (3, outputs)]
    coefs, intercepts = [rng.standard_normal(s) for s in shapes], [rng.standard_normal(s[1]) for s in shapes]
    model = _networks.model_of(None, coefs, intercepts, "tanh")
    x, weight = rng.standard_normal((7, 5)), rng.random(7)
    targets = objective.targets(y, outputs, np.dtype(np.float64))
    masks = [2.0 * (rng.random((7, s[1])) < 0.5) for s in shapes[:-1]]
    passes = _by_hand.Passes(model, 7, sparse=False)

    def loss():
        if dropped:
            return _by_hand.with_dropout(model, objective, x, targets, weight, masks)
        return passes.loss_and_gradients(objective, x, targets, weight)

    loss()
    gradient, numeric = model._grads.copy(), []
    for i in range(model._params.size):
        at = model._params[i]
        values = []
        for step in (1e-6, -1e-6):
            model._params[i] = at + step
            values.append(loss())
        model._params[i] = at
        numeric.append((values[0] - values[1]) / 2e-6)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)


def test_label_smoothing_is_softer_targets(digits):
    x, y = digits
    one_step = {**FEW, "alpha": 0.0, "max_iter": 1, "batch_size": 400}
    model = ours.MLPClassifier(**one_step, label_smoothing=0.3).fit(x, y)
    start = ours.MLPClassifier(**one_step, learning_rate_init=1e-300).fit(x, y)
    log_p = start.predict_log_proba(x)
    targets = 0.7 * np.eye(10)[y] + 0.03
    assert model.loss_ == pytest.approx(-(targets * log_p).sum(1).mean(), rel=1e-12)
    log_p = model.predict_log_proba(x)
    model.set_params(label_smoothing=0.0).partial_fit(x, y)
    assert model.loss_ == pytest.approx(-log_p[np.arange(400), y].mean(), rel=1e-12)


def test_steps_by_hand_are_the_compiled_ones(digits, monkeypatch):
    x, y = digits
    for arguments in ({}, {"solver": "sgd", "learning_rate": "invscaling"}):
        compiled = ours.MLPClassifier(**{**FEW, **arguments}).fit(x, y, WEIGHTED)
        with monkeypatch.context() as patch:
            patch.setattr(ours.MLPClassifier, "_steps_by_hand", lambda self: True)
            patch.setattr(_solvers.ByHandSolver, "_mask", lambda self, rows, units: np.ones((rows, units)))
            by_hand = ours.MLPClassifier(**{**FEW, **arguments}).fit(x, y, WEIGHTED)
        assert_same(by_hand, compiled, x)


def test_dropout_leaves_out_its_part_and_repeats(digits):
    x, y = digits
    arguments = {**FEW, "hidden_layer_sizes": (100, 100), "max_iter": 15, "dropout": 0.5}
    a, b = (ours.MLPClassifier(**arguments).fit(x, y) for _ in range(2))
    np.testing.assert_array_equal(a.coefs_[1], b.coefs_[1])
    assert a.score(x, y) > 0.9
    plain = ours.MLPClassifier(**{**arguments, "dropout": 0.0}).fit(x, y)
    assert a.loss_ > 2 * plain.loss_  # of steps in which half the units are missing
    twin = pickle.loads(pickle.dumps(a))
    for model in (a, twin):
        model.partial_fit(x, y)
    np.testing.assert_array_equal(a.coefs_[1], twin.coefs_[1])
    before = a.coefs_[1].copy()
    a.set_params(dropout=0.0).partial_fit(x, y)
    b = a.coefs_[1].copy()
    a.set_params(dropout=0.5).partial_fit(x, y)
    assert (before != b).all()
    assert (b != a.coefs_[1]).any()


def test_every_activation_learns(digits):
    x, y = digits
    for activation in _networks.NAMES.keys() - {"identity"}:
        model = ours.MLPClassifier(activation=activation, solver="lbfgs", max_iter=30, random_state=0).fit(x, y)
        assert model.score(x, y) > 0.98
    with pytest.raises(ValueError, match="activation"):
        ours.MLPClassifier(activation="sigmoid").fit(x, y)


def test_gaussian_nll_knows_the_noise():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2000, 1))
    noise = np.where(x[:, 0] > 0, 0.5, 0.1)
    y = np.sin(3 * x[:, 0]) + noise * rng.standard_normal(2000)
    model = ours.MLPRegressor("gaussian_nll", (30, 30), "tanh", solver="lbfgs", random_state=0, max_iter=150).fit(x, y)
    mean, std = model.predict([[-0.5], [0.5]], return_std=True)
    np.testing.assert_allclose(mean, np.sin([-1.5, 1.5]), atol=0.1)
    np.testing.assert_allclose(std, [0.1, 0.5], rtol=0.2)
    np.testing.assert_array_equal(model.predict([[-0.5], [0.5]]), mean)
    fast = ours.MLPRegressor("gaussian_nll", max_iter=5, random_state=0).fit(x, np.stack([y, -y], 1))
    assert fast.predict(x).shape == (2000, 2)
    assert fast.loss_curve_[-1] < fast.loss_curve_[0]
    with pytest.raises(ValueError, match="return_std only with loss='gaussian_nll'"):
        ours.MLPRegressor(max_iter=1).fit(x, y).predict(x, return_std=True)


def test_poisson_takes_no_negative_targets():
    with pytest.raises(ValueError, match=r"y of at least 0 with loss='poisson', got -1"):
        ours.MLPRegressor("poisson").fit([[0.0], [1.0]], [-1.0, 1.0])


def test_class_weight_is_a_sample_weight(digits):
    x, y = digits
    for weight, given in (("balanced", None), ({3: 5.0}, WEIGHTED)):
        from sklearn.utils import compute_sample_weight

        a = ours.MLPClassifier(**FEW, class_weight=weight).fit(x, y, given)
        samples = compute_sample_weight(weight, y) * (1 if given is None else given)
        np.testing.assert_array_equal(a.coefs_[0], ours.MLPClassifier(**FEW).fit(x, y, samples).coefs_[0])
    with pytest.raises(ValueError, match="'balanced' would take all samples at once"):
        ours.MLPClassifier(class_weight="balanced").partial_fit(x, y, classes=np.arange(10))


class Listener:
    """A callback that notes what it hears."""

    def __init__(self, stop_at=None):
        self.stop_at, self.heard, self.fitted = stop_at, [], []

    def setup(self, estimator, context):
        self.heard.append("setup")

    def teardown(self, estimator, context):
        self.heard.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.heard.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        self.heard.append(f"end {context.task_name}")
        self.fitted.append(fitted_estimator)
        if self.stop_at == "interrupt" and context.task_name == "epoch":
            raise KeyboardInterrupt
        return len(self.fitted) == self.stop_at


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_columns_that_a_callback_spoils_end_a_fit_before_they_are_read(digits, solver):
    class Spoil(Listener):
        def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
            x.indices[:] = 10**9

    x = pytest.importorskip("scipy.sparse").csr_matrix(digits[0])
    with pytest.raises(ValueError, match="MLP expects X as it was: the columns of its stored numbers"):
        ours.MLPClassifier(**FEW, solver=solver).set_callbacks(Spoil()).fit(x, digits[1])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_hear_of_every_epoch(digits, solver):
    x, y = digits
    listener = Listener()
    model = ours.MLPClassifier(**FEW, solver=solver).set_callbacks(listener).fit(x, y)
    epochs = ["begin epoch", "end epoch"] * model.n_iter_
    assert listener.heard == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    scores = [fitted.score(x, y) for fitted in listener.fitted]
    assert scores[0] < scores[3] == scores[4] == model.score(x, y)
    stopped = ours.MLPClassifier(**FEW, solver=solver).set_callbacks(Listener(2)).fit(x, y)
    assert stopped.n_iter_ == 2
    np.testing.assert_array_equal(stopped.coefs_[0], listener.fitted[1].coefs_[0])


def test_progress_bar_of_scikit_learn_runs(digits, capsys):
    from sklearn.callback import ProgressBar
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ours.MLPClassifier(**FEW).set_callbacks(ProgressBar()).fit(*digits)
    assert "MLPClassifier - fit" in capsys.readouterr().out
    make_pipeline(StandardScaler(), ours.MLPClassifier(**FEW)).set_callbacks(ProgressBar()).fit(*digits)
    assert "MLPClassifier - fit" in capsys.readouterr().out


def test_interrupted_training_keeps_what_it_has(digits):
    x, y = digits
    model = ours.MLPClassifier(**FEW).set_callbacks(Listener("interrupt"))
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(x, y)
    assert model.n_iter_ == 1
    assert model.predict(x).shape == y.shape


@pytest.mark.parametrize("by", [True, "loss"])
def test_early_stopping_brings_back_the_best_epoch(digits, by):
    x, y = digits
    listener = Listener()
    arguments = {**FEW, "max_iter": 60, "learning_rate_init": 0.03, "n_iter_no_change": 5}
    model = ours.MLPClassifier(**arguments, early_stopping=by).set_callbacks(listener).fit(x, y)
    losses, scores = model.validation_loss_curve_, model.validation_scores_
    assert len(losses) == len(scores) == model.n_iter_ < 60
    best = int(np.argmin(losses) if by == "loss" else np.argmax(scores))
    assert best < model.n_iter_ - 1
    np.testing.assert_array_equal(model.coefs_[0], listener.fitted[best].coefs_[0])
    assert model.best_validation_score_ == scores[best]
    assert model.best_loss_ == (losses[best] if by == "loss" else None)


def test_number_of_threads_changes_no_bit(digits):
    x, y = digits
    models = [ours.MLPClassifier((150,), max_iter=3, random_state=0, n_jobs=n).fit(x, y) for n in (1, 2, -1, None)]
    for model in models[1:]:
        np.testing.assert_array_equal(model.coefs_[0], models[0].coefs_[0])
        np.testing.assert_array_equal(model.predict_proba(x), models[0].predict_proba(x))


def test_threads_may_predict_at_once(digits):
    x, y = digits
    model = pickle.loads(pickle.dumps(ours.MLPClassifier(**FEW).fit(x, y)))
    expected = copy.deepcopy(model).predict_proba(x)
    wrong = []

    def work():
        for _ in range(20):
            if not np.array_equal(model.predict_proba(x), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.filterwarnings("ignore")
def test_tools_of_scikit_learn_take_it(digits, tmp_path):
    import joblib
    from sklearn.base import clone
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = digits
    x = np.column_stack([y / 5 - 1, x[:, 20:30]])  # the first column says all
    model = ours.MLPClassifier((20,), max_iter=40, learning_rate_init=0.02, random_state=0)
    pipeline = make_pipeline(StandardScaler(), model)
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e3]}, n_jobs=2, cv=2).fit(x, y)
    assert search.best_params_ == {"mlpclassifier__alpha": 1e-4}
    assert cross_val_score(pipeline, x, y, cv=2).min() > 0.6
    importance = permutation_importance(search.best_estimator_, x, y, n_repeats=2, random_state=0, n_jobs=2)
    assert importance.importances_mean.argmax() == 0
    calibrated = CalibratedClassifierCV(model, cv=2).fit(x, y)
    np.testing.assert_allclose(calibrated.predict_proba(x).sum(1), 1)
    assert clone(model).get_params() == model.get_params()
    joblib.dump(search.best_estimator_, tmp_path / "model")
    loaded = joblib.load(tmp_path / "model", mmap_mode="r")
    np.testing.assert_array_equal(loaded.predict_proba(x), search.best_estimator_.predict_proba(x))


def test_set_output_and_names_of_columns(library):
    pandas = library("pandas")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = pandas.DataFrame(np.random.default_rng(0).random((40, 3)), columns=["a", "b", "c"])
    pipeline = make_pipeline(StandardScaler(), ours.MLPRegressor(hidden_layer_sizes=(5,), max_iter=2)).set_output(
        transform="pandas"
    )
    pipeline.fit(frame, frame["a"])
    assert list(pipeline[-1].feature_names_in_) == ["a", "b", "c"]
    assert pipeline.predict(frame).shape == (40,)


@pytest.mark.parametrize("data", ["digits", "diabetes"])
def test_mean_score_is_scikit_learns(data):
    load, kind = {"digits": (load_digits, "MLPClassifier"), "diabetes": (load_diabetes, "MLPRegressor")}[data]
    x, y = load(return_X_y=True)
    x, y = ((x / 16).astype(np.float32), y) if data == "digits" else (x / x.std(0), y / y.std())
    scores = {}
    for module, seed in itertools.product((ours, theirs), range(2)):
        model = getattr(module, kind)(hidden_layer_sizes=(50,), max_iter=40, random_state=seed).fit(x[::2], y[::2])
        scores.setdefault(module, []).append(model.score(x[1::2], y[1::2]))
    assert np.mean(scores[ours]) == pytest.approx(np.mean(scores[theirs]), abs=0.005)


def test_without_scikit_learn_the_error_names_the_extra():
    code = "import sys; sys.modules['sklearn'] = None; import fastbp; import fastbp.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: fastbp.sklearn needs scikit-learn 1.9: pip install 'fastbp[sklearn]'" in done.stderr
