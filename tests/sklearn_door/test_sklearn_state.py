"""`fastbp.sklearn`: what an estimator keeps from call to call, drawn at random and compared with scikit-learn's own."""

import copy
import gc
import io
import pickle
import weakref

import numpy as np
import pytest

sklearn_missing = None
try:
    import joblib
    import scipy.sparse
    import sklearn.neural_network as theirs

    import fastbp.sklearn as ours
except ImportError as error:
    sklearn_missing = error

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning") if not sklearn_missing else []


@pytest.fixture(autouse=True, scope="module")
def _peers(library):
    library("sklearn")
    if sklearn_missing:
        raise sklearn_missing


KINDS = ("MLPClassifier", "MLPRegressor")
SIZES = {"hidden_layer_sizes": (6, 4), "activation": "tanh", "random_state": 0, "learning_rate_init": 0.05}
PREDICTS = {"MLPClassifier": "predict_proba", "MLPRegressor": "predict"}


def problem(kind, rng, rows=60, of=3):
    """Return rows, and for a classifier two or three classes or "labels", for a regressor so many numbers."""
    x = rng.standard_normal((rows, 5))
    y = x @ rng.standard_normal((5, 3)) + 0.5 * rng.standard_normal((rows, 3))
    if kind == "MLPRegressor":
        return x, np.abs(y[:, 0] if of == 1 else y)
    if of == "labels":
        return x, np.r_[np.ones((1, 3), int), y[1:] > 0]
    return x, np.r_[np.arange(of), y[:, :of].argmax(1)[of:]]


def assert_same(mine, other, x, tolerance=1e-7):
    """Compare all that a fit leaves, up to rounding."""
    for a, b in zip([*mine.coefs_, *mine.intercepts_], [*other.coefs_, *other.intercepts_], strict=True):
        np.testing.assert_allclose(a, b, tolerance, tolerance)
    name = PREDICTS[type(other).__name__]
    np.testing.assert_allclose(getattr(mine, name)(x), getattr(other, name)(x), tolerance, tolerance)
    for name in ("loss_", "loss_curve_", "validation_scores_", "best_loss_", "best_validation_score_"):
        a, b = (vars(m).get(name) for m in (mine, other))
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_allclose(a, b, tolerance, tolerance, err_msg=name)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "_no_improvement_count"):
        assert vars(mine).get(name) == vars(other).get(name), name


def one_of(rng, *values):
    return values[rng.integers(len(values))]


def number_of(rng, solver):
    """Draw a parameter that may change between two calls."""
    numbers = {
        "alpha": (0.0, 1e-4, 1.0),
        "max_iter": (1, 2, 5),
        "n_iter_no_change": (1, 3, 10),
        "tol": (0.0, 1e-4, 0.05),
        "batch_size": (7, 20, "auto"),
        "shuffle": (True, False),
        "momentum": (0.0, 0.9),
        "learning_rate": ("constant", "invscaling", "adaptive"),
        "warm_start": (True, True, False),
        "validation_fraction": (0.1, 0.4),
        "learning_rate_init": (0.01, 0.05),
        "activation": ("tanh", "logistic"),
    }
    if solver == "lbfgs":
        numbers = {name: numbers[name] for name in ("alpha", "max_iter", "warm_start")}
    name = one_of(rng, *numbers)
    return {name: one_of(rng, *numbers[name])}


def copies(rng, model):
    """Return a model as a user gets it back from somewhere."""
    how = rng.integers(4)
    if how == 0:
        return copy.deepcopy(model)
    if how == 1:
        file = io.BytesIO()
        joblib.dump(model, file)
        file.seek(0)
        return joblib.load(file)
    return pickle.loads(pickle.dumps(model, protocol=int(rng.integers(2, 6))))


def moved(model, cls):
    """Return what a model is, in an estimator of another class."""
    twin = cls()
    twin.__setstate__(model.__getstate__())
    return twin


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_any_sequence_of_calls_goes_as_in_scikit_learn(kind, solver):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        early = bool(rng.random() < 0.5) and solver != "lbfgs"
        arguments = {**SIZES, "solver": solver, "max_iter": 3, "early_stopping": early, "warm_start": True}
        if kind == "MLPClassifier":
            of = one_of(rng, 2, 3, "labels")
            classes = {"classes": np.arange(3 if of == "labels" else of)}
        else:
            of, classes = one_of(rng, 1, 3), {}
            arguments["loss"] = one_of(rng, "squared_error", "poisson")
        a, b = (getattr(module, kind)(**arguments) for module in (ours, theirs))
        x, y = problem(kind, rng, of=of)
        for _ in range(8):
            move = one_of(rng, "fit", "fit", "partial", "numbers", "data", "copy", "weights", "there", "back")
            weights = one_of(rng, None, rng.random(len(x)), 2.0 * (rng.random(len(x)) < 0.9))
            if move == "partial" and not early and solver != "lbfgs":
                for model in (a, b):
                    model.partial_fit(x, y, weights, **classes)
            elif move == "numbers":
                numbers = number_of(rng, solver)
                for model in (a, b):
                    model.set_params(**numbers)
            elif move == "data":
                x, y = problem(kind, rng, int(rng.integers(30, 80)), of)
            elif move == "copy":
                a, b = copies(rng, a), copies(rng, b)
            elif move == "weights" and hasattr(b, "coefs_"):
                new = [c + 0.1 * rng.standard_normal(c.shape) for c in b.coefs_]
                a.coefs_, b.coefs_ = [c.copy() for c in new], new
                # scikit-learn would bring the old ones back in place of these
                for model in (a, b):
                    model._best_coefs, model._best_intercepts = model.coefs_, model.intercepts_
            elif move == "there":  # scikit-learn's own class goes on with it
                a = moved(a, getattr(theirs, kind))
            elif move == "back":
                a = moved(one_of(rng, a, b), getattr(ours, kind))
            else:
                for model in (a, b):
                    model.fit(x, y, weights)
            if hasattr(b, "coefs_"):
                assert_same(a, b, x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stopping", [True, "loss"])
def test_a_warm_start_moves_the_weights_wherever_the_best_score_is(kind, stopping):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        arguments = {**SIZES, "early_stopping": stopping, "warm_start": True, "max_iter": int(rng.integers(1, 4))}
        model = getattr(ours, kind)(**arguments).fit(*problem(kind, rng))
        for _ in range(6):
            before, best = model.coefs_[0].copy(), model.best_validation_score_
            x, y = problem(kind, rng)
            model.fit(x, y if kind == "MLPRegressor" else np.r_[0, 1, 2, rng.integers(0, 3, len(y) - 3)])
            assert (model.coefs_[0] != before).all()
            assert stopping == "loss" or model.best_validation_score_ >= best


@pytest.mark.parametrize("kind", KINDS)
def test_another_way_to_stop_may_follow_in_a_warm_start(kind):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, y = problem(kind, rng)
        model = getattr(ours, kind)(**SIZES, warm_start=True, max_iter=2).fit(x, y)
        for _ in range(6):
            model.set_params(
                early_stopping=one_of(rng, False, True, "loss"), solver=one_of(rng, "adam", "sgd", "lbfgs")
            )
            model.fit(x, y)
            if model.solver == "lbfgs":
                continue
            if not model.early_stopping:
                model.partial_fit(x, y)
                assert model.best_loss_ < np.inf
                assert model.validation_scores_ is None
            else:
                assert len(model.validation_scores_) == len(model.validation_loss_curve_) >= model.n_iter_
                assert (model.best_loss_ is None) == (model.early_stopping is True)


def holder(rng, arrays, folder):
    """Return other arrays with the numbers of these, and how to change them from outside."""
    flat = np.concatenate([a.ravel() for a in arrays]).astype(float)
    ends = np.cumsum([a.size for a in arrays])
    kind = one_of(rng, "vector", "fortran", "float32", "strided", "mapped", "longdouble", "read-only", "list", "sparse")
    if kind in ("vector", "mapped"):
        if kind == "mapped":
            mapped = np.memmap(folder / f"{rng.integers(1 << 60)}", np.float64, "w+", shape=flat.shape)
            mapped[...] = flat
            flat = mapped
        return [part.reshape(a.shape) for part, a in zip(np.split(flat, ends[:-1]), arrays, strict=True)]
    if kind == "strided":
        return [np.repeat(a, 2, axis=0)[::2] for a in arrays]
    if kind == "list":
        return tuple(a.tolist() for a in arrays)
    if kind == "sparse":
        return [scipy.sparse.csr_array(a) if a.ndim == 2 else a.copy() for a in arrays]
    if kind == "read-only":
        held = [a.copy() for a in arrays]
        for a in held:
            a.flags.writeable = False
        return held
    if kind == "fortran":
        return [np.asfortranarray(a) for a in arrays]
    return [a.astype(kind) for a in arrays]


def in_numpy(model, x):
    """Return what the arrays of a tanh network give, at this moment."""
    a = x
    arrays = [(c.toarray() if scipy.sparse.issparse(c) else np.asarray(c)) for c in model.coefs_]
    for i, (c, b) in enumerate(zip(arrays, model.intercepts_, strict=True)):
        a = a @ c.astype(float) + np.asarray(b, float)
        a = np.tanh(a) if i < len(arrays) - 1 else a
    if model.out_activation_ == "softmax":
        a = np.exp(a - a.max(1, keepdims=True))
        a /= a.sum(1, keepdims=True)
    return a


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_takes_what_coefs_hold_at_that_moment(kind, tmp_path):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = problem(kind, rng)
        model = getattr(ours, kind)(**SIZES, max_iter=2, solver=one_of(rng, "adam", "sgd")).fit(x, y)
        for _ in range(12):
            arrays = [(c.toarray() if scipy.sparse.issparse(c) else np.array(c, float)) for c in model.coefs_]
            i = int(rng.integers(3))
            move = one_of(
                rng, "hold", "hold intercepts", "change", "change", "one", "train", "train", "warm", "copy", "shallow",
                "reversed", "same memory",
            )  # fmt: skip
            if move == "hold":
                model.coefs_ = holder(rng, arrays, tmp_path)
            elif move == "hold intercepts":
                model.intercepts_ = holder(rng, [np.array(b, float) for b in model.intercepts_], tmp_path)
            elif move == "change":
                for a in (*model.coefs_, *model.intercepts_):
                    if isinstance(a, np.ndarray) and a.flags.writeable:
                        a += 0.1 * rng.standard_normal(a.shape)
            elif move == "one" and isinstance(model.coefs_, list):
                model.coefs_[i] = arrays[i] * 0.9
            elif move == "reversed":  # a view of what the kernels read
                model.coefs_ = [np.asarray(a)[::-1] for a in arrays[:1]] + arrays[1:]
                if all(isinstance(c, np.ndarray) for c in model.coefs_):
                    model.coefs_ = [c[::-1] for c in model.coefs_]
            elif move == "same memory" and isinstance(model.coefs_, list):
                model.coefs_ = [c[:] for c in model.coefs_]
            elif move == "copy":
                model = copies(rng, model)
            elif move == "shallow":
                model = copy.copy(model)
            elif move in ("train", "warm"):
                model.set_params(warm_start=True)
                held = list(model.coefs_)
                before = [np.array(a) for a in arrays]
                model.partial_fit(x, y) if move == "train" else model.fit(x, y)
                for a, b, c in zip(held, before, model.coefs_, strict=True):
                    if isinstance(a, np.ndarray) and a.flags.writeable:
                        assert a is c
                    assert (np.asarray(c, float) != b).any()
            expected = in_numpy(model, x)
            np.testing.assert_allclose(getattr(model, PREDICTS[kind])(x), expected, 1e-6, 1e-6)


def test_a_vector_behind_coefs_is_what_is_trained():
    rng = np.random.default_rng(0)
    x, y = problem("MLPRegressor", rng)
    model = ours.MLPRegressor(**SIZES).fit(x, y)
    vector = np.concatenate([c.ravel() for c in model.coefs_])
    parts = np.split(vector, np.cumsum([c.size for c in model.coefs_])[:-1])
    model.coefs_ = [part.reshape(c.shape) for part, c in zip(parts, model.coefs_, strict=True)]
    for change in (lambda: model.predict(x), lambda: model.partial_fit(x, y), lambda: vector.__imul__(0.5)):
        change()
        np.testing.assert_allclose(model.predict(x), in_numpy(model, x))
        assert np.shares_memory(model.coefs_[1], vector)
    before = vector.copy()
    model.partial_fit(x, y)
    assert (vector != before).all()


def test_arrays_that_are_no_network_are_refused_by_name():
    rng = np.random.default_rng(0)
    x, y = problem("MLPRegressor", rng)
    model = ours.MLPRegressor(**SIZES).fit(x, y)
    good = model.coefs_
    for wrong, message in (
        ([good[0], good[1].T, good[2]], r"coefs_\[1\] of shape \(6, outputs\), got \(4, 6\)"),
        ([good[0] * 1j, *good[1:]], r"coefs_\[0\] to hold real numbers, got dtype complex128"),
        (good[:2], "as many intercepts_ as coefs_, got 3 and 2"),
    ):
        model.coefs_ = wrong
        with pytest.raises((ValueError, TypeError), match=message):
            model.predict(x)
        pickle.loads(pickle.dumps(model))
    square = rng.standard_normal((5, 5))
    model.coefs_, model.intercepts_ = [square, square.T], [np.zeros(5), np.zeros(5)]
    model.predict(x)
    with pytest.raises(ValueError, match=r"coefs_\[0\] and coefs_\[1\] to share no memory"):
        model.partial_fit(x, y)
    model.coefs_ = [square[:4], square.copy()]
    with pytest.raises(ValueError, match="a network with 5 inputs"):
        model.partial_fit(x, y)
    model.coefs_ = [square, square.copy()]
    with pytest.raises(ValueError, match=r"expects .* \(60, 5\)"):
        model.partial_fit(x, y)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_copy_goes_on_to_the_same_bits(dropout):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, y = problem("MLPClassifier", rng)
        arguments = {"solver": one_of(rng, "adam", "sgd"), "learning_rate": one_of(rng, "constant", "invscaling")}
        arguments |= {"momentum": one_of(rng, 0.0, 0.7), "dropout": dropout}
        a = ours.MLPClassifier(**SIZES, **arguments, max_iter=3).fit(x.astype(one_of(rng, "f4", "f8")), y)
        b = copies(rng, a)
        for _ in range(4):
            for model in (a, b):
                model.partial_fit(x, y)
            for p, q in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
                np.testing.assert_array_equal(p, q)
            b = copies(rng, b)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_moments_stay_when_dropout_comes_and_goes(solver):
    rng = np.random.default_rng(0)
    x, y = problem("MLPRegressor", rng)
    arguments = {**SIZES, "solver": solver, "learning_rate": "invscaling"}
    a, b = ours.MLPRegressor(**arguments), theirs.MLPRegressor(**arguments)
    for turn in range(6):
        a.set_params(dropout=1e-300 * (turn % 2))  # by hand, and nothing left out
        for model in (a, b):
            model.partial_fit(x, y)
    np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], 1e-9)


CLASSES = {
    "int": [3, 5, 7, 11],
    "negative": [-1, 1],
    "str": ["a", "b", "c"],
    "digits": ["1", "2", "10"],
    "float": [0.0, 2.0, 5.0],
    "bool": [False, True],
}


@pytest.mark.parametrize("names", CLASSES)
def test_class_weight_counts_in_any_batch(names):
    classes = np.array(CLASSES[names])
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, _ = problem("MLPClassifier", rng)
        named = [c for c in classes.tolist() if rng.random() < 0.6]
        given = {c: float(rng.integers(1, 5)) for c in named}
        if len(named) == len(classes):
            given["no such class"] = 3.0  # as in scikit-learn, if all others are there
        a, b = ours.MLPClassifier(**SIZES, class_weight=given), theirs.MLPClassifier(**SIZES)
        for turn in range(4):
            y = rng.choice(classes if turn else classes[:1], len(x))  # the first batch is of one class
            weight = one_of(rng, None, rng.random(len(x)))
            counts = np.array([given.get(c, 1.0) for c in y.tolist()]) * (1.0 if weight is None else weight)
            more = {"classes": classes} if turn == 0 else {}
            a.partial_fit(x, y, weight, **more)
            b.partial_fit(x, y, counts, **more)
            assert_same(a, b, x)
        if "no such class" not in given:
            with pytest.raises(ValueError, match=r"class_weight expects some of the classes .*, got \['other'\]"):
                a.set_params(class_weight={"other": 2.0, **given}).partial_fit(x, y)


def test_class_weight_of_several_labels_counts_in_any_batch():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, _ = problem("MLPClassifier", rng)
        given = [one_of(rng, {1: 5.0}, {0: 0.5}, {0: 2.0, 1: 3.0}, {}) for _ in range(3)]
        a, b = ours.MLPClassifier(**SIZES, class_weight=given), theirs.MLPClassifier(**SIZES)
        for turn in range(4):
            y = (rng.random((len(x), 3)) < (0.0, 0.5, 1.0, 0.3)[turn]).astype(int)
            y[0] = 1  # or it would be no indicator of several labels
            counts = np.prod([[w.get(label, 1.0) for label in column] for w, column in zip(given, y.T, strict=True)], 0)
            more = {"classes": np.arange(3)} if turn == 0 else {}
            a.partial_fit(x, y, **more)
            b.partial_fit(x, y, counts, **more)
            assert_same(a, b, x)
        for wrong in ({1: 2.0}, given[:2]):
            with pytest.raises(ValueError, match="'balanced' or a list of 3 dicts, one for each label"):
                a.set_params(class_weight=wrong).fit(x, y)
        with pytest.raises(ValueError, match="'balanced' would take all samples at once"):
            a.set_params(class_weight=["balanced", None, None]).partial_fit(x, y)


def test_class_weight_is_no_part_of_a_score():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x, y = problem("MLPClassifier", rng)
        weight = one_of(rng, None, rng.random(len(x)))
        arguments = {**SIZES, "early_stopping": True, "max_iter": 6, "validation_fraction": 0.4, "alpha": 0.0}
        weighted = ours.MLPClassifier(**arguments, class_weight={0: 9.0, 1: 0.1}).fit(x, y, weight)
        equal = ours.MLPClassifier(**arguments, class_weight=dict.fromkeys(range(3), 7.0)).fit(x, y, weight)
        plain = theirs.MLPClassifier(**arguments).fit(x, y, weight)
        np.testing.assert_allclose(equal.validation_scores_, plain.validation_scores_)
        out = np.sort(weighted.validation_scores_)
        if weight is None:  # accuracies of 24 rows
            np.testing.assert_allclose(out * 24, np.round(out * 24), atol=1e-9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_are_not_finite_end_as_in_scikit_learn(kind):
    ends = set()
    for seed in range(24):
        rng = np.random.default_rng(seed)
        x, y = problem(kind, rng)
        arguments = {**SIZES, "activation": one_of(rng, "relu", "tanh"), "solver": one_of(rng, "adam", "sgd")}
        arguments |= {"early_stopping": one_of(rng, False, True), "learning_rate_init": one_of(rng, 0.1, 1e5, 1e300)}
        x *= one_of(rng, 1.0, 1e3, 1e10)
        outcomes = []
        for module in (ours, theirs):
            model = getattr(module, kind)(**arguments, max_iter=20)
            try:
                model.fit(x, y)
                outcomes.append("fits")
            except ValueError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
        ends.add(outcomes[0])
    assert len(ends) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimator_goes_when_it_is_dropped(kind):
    rng = np.random.default_rng(0)
    x, y = problem(kind, rng)
    gc.collect()
    gc.disable()
    try:
        for solver in ("adam", "sgd", "lbfgs"):
            model = getattr(ours, kind)(**SIZES, solver=solver, early_stopping=solver == "sgd").fit(x, y)
            model.predict(x)
            watched = [weakref.ref(model), weakref.ref(model._model._params)]
            if solver != "lbfgs":
                watched.append(weakref.ref(model._solver))
            del model
            assert not any(ref() is not None for ref in watched)
    finally:
        gc.enable()
