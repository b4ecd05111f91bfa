"""Estimators of tables: frames of any library, options in combination, files, pickles, the same bits on any threads."""

import copy
import itertools
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")

from fastbp.tabular import RealMLPClassifier, RealMLPRegressor  # noqa: E402

ROWS = 120
SMALL = {"hidden": (8,), "epochs": 3, "batch_size": 32, "random_state": 0}
VARIANTS = ("td", "td-s")


def frame(rows=ROWS, seed=0):
    """Return columns of all kinds, with missing values in most."""
    rng = np.random.default_rng(seed)
    made = pd.DataFrame(
        {
            "size": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
            "count": rng.integers(0, 50, rows),
            "colour": rng.choice(["red", "blue", "green", None], rows),
            "shop": pd.Categorical(rng.choice([f"shop {i}" for i in range(12)], rows)),
            "open": rng.random(rows) < 0.5,
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D"),
        }
    )
    return made


def answers(table, kind):
    if kind is RealMLPRegressor:
        return table["count"].to_numpy() / 10 + table["open"]
    return np.where(table["count"] + 9 * (table["colour"] == "red") > 27, "much", "little")


def outputs(model, table):
    return model.predict_proba(table) if isinstance(model, RealMLPClassifier) else model.predict(table)


@pytest.fixture(scope="module")
def fitted():
    """Return a fitted estimator of a class and a variant, made once."""
    table = frame()
    made = {}

    def of(kind, variant):
        if (kind, variant) not in made:
            made[kind, variant] = kind(variant, **SMALL).fit(table, answers(table, kind))
        return made[kind, variant]

    return of


EACH = pytest.mark.parametrize(
    ("kind", "variant"), list(itertools.product((RealMLPClassifier, RealMLPRegressor), VARIANTS))
)


@EACH
def test_frames_of_all_libraries_say_the_same(fitted, kind, variant, library):
    table, model = frame(40, 1), fitted(kind, variant)
    expected = outputs(model, table)
    np.testing.assert_array_equal(outputs(model, pa.Table.from_pandas(table, preserve_index=False)), expected)
    polars = library("polars")
    np.testing.assert_array_equal(outputs(model, polars.from_pandas(table)), expected)


@EACH
def test_the_same_seed_gives_the_same_bits_on_any_threads(fitted, kind, variant):
    table, model = frame(), fitted(kind, variant)
    for n_jobs in (1, 2, -1):
        again = kind(variant, **SMALL, n_jobs=n_jobs).fit(table, answers(table, kind))
        np.testing.assert_array_equal(outputs(again, table), outputs(model, table))
    other = kind(variant, **SMALL | {"random_state": 1}).fit(table, answers(table, kind))
    assert (outputs(other, table) != outputs(model, table)).any()


@EACH
def test_file_copy_and_pickle_predict_the_same_bits(fitted, kind, variant, tmp_path):
    table, model = frame(30, 2), fitted(kind, variant)
    for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(outputs(same, table), outputs(model, table))
    path = tmp_path / "model.safetensors"
    model.model_.save(path)
    loaded = fastbp.TableModel.load(path)
    if kind is RealMLPClassifier:
        assert loaded.target.classes == tuple(model.classes_)
        np.testing.assert_array_equal(loaded.predict_proba(table), model.predict_proba(table))
    np.testing.assert_array_equal(loaded.predict(table), model.predict(table))


values = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-5, 5).map(float))
texts = st.one_of(st.none(), st.sampled_from(["a", "b", "c", " d ", "NA", "ä"]))


@settings(max_examples=8)
@given(
    st.lists(st.tuples(values, texts, st.booleans(), texts), min_size=12, max_size=30),
    st.booleans(),
    st.sampled_from(VARIANTS),
)
def test_any_frame_predicts_the_same_after_a_file_and_a_pickle(tmp_path_factory, rows, numbers, variant):
    table = pd.DataFrame(rows, columns=["v", "t", "b", "u"]).assign(i=np.linspace(0, 1, len(rows)))
    kind = RealMLPRegressor if numbers else RealMLPClassifier
    y = np.linspace(-1, 1, len(rows)) if numbers else np.arange(len(rows)) % 3
    model = kind(variant, **SMALL | {"epochs": 1}).fit(table, y)
    expected = outputs(model, table)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(outputs(pickle.loads(pickle.dumps(model)), table), expected)
    np.testing.assert_array_equal(outputs(model, table.iloc[3:5]), expected[3:5])
    path = tmp_path_factory.mktemp("any") / "model.safetensors"
    model.model_.save(path)
    loaded = fastbp.TableModel.load(path)
    found = loaded.predict(table) if numbers else loaded.predict_proba(table)
    np.testing.assert_array_equal(found, expected)


OPTIONS = {
    "hidden": [(8,), (6, 5)],
    "activation": [None, "relu"],
    "lr": [None, 0.01],
    "weight_decay": [None, 0.1],
    "dropout": [None, 0.0, 0.3],
    "batch_size": [16, 500],
    "patience": [None, 1],
    "validation_fraction": [0.3, 0.0],
    "dtype": ["float32", "float64"],
    "drop": [None, ["day"]],
    "categorical": [None, ["count"]],
}
OF_CLASSES = {
    "label_smoothing": [None, 0.0],
    "class_weight": [None, "balanced", {"much": 2.0, "little": 1.0}],
    "calibration": [None, "temperature"],
}


@pytest.mark.parametrize("seed", range(12))
@EACH
def test_options_hold_together(kind, variant, seed):
    rng = np.random.default_rng(seed)
    choices = OPTIONS | (OF_CLASSES if kind is RealMLPClassifier else {})
    chosen = {name: values[rng.integers(len(values))] for name, values in choices.items()}
    table = frame()
    weight = rng.random(ROWS) if rng.integers(2) else None
    given = {}
    if rng.integers(2):
        other = frame(40, 3)
        given = {"X_val": other, "y_val": answers(other, kind), "sample_weight_val": rng.random(40)}
    elif not chosen["validation_fraction"]:
        chosen |= {"calibration": None} if "calibration" in chosen else {}
    model = kind(variant, epochs=2, random_state=0, **chosen)
    model.fit(table, answers(table, kind), sample_weight=weight, **given)
    assert np.isfinite(outputs(model, table)).all()
    assert model.model_.network.dtype == np.dtype(chosen["dtype"])
    dense = [layer for layer in model.model_.network if isinstance(layer, fastbp.Dense)]
    assert tuple(layer.out_features for layer in dense[:-1]) == tuple(chosen["hidden"])
    assert 1 <= model.best_epoch_ <= model.n_iter_ <= 2
    held_out = bool(given) or chosen["validation_fraction"] > 0
    assert ("val_loss" in model.history_) == held_out
    assert all(column.column != "day" for column in model.model_.encoder.columns) == (chosen["drop"] is not None)


def test_weights_of_rows_and_classes_multiply():
    table = frame()
    y = answers(table, RealMLPClassifier)
    weight = np.linspace(0.1, 1, ROWS)
    both = RealMLPClassifier("td-s", **SMALL, class_weight={"much": 3.0, "little": 1.0})
    both.fit(table, y, sample_weight=weight)
    one = RealMLPClassifier("td-s", **SMALL).fit(table, y, sample_weight=weight * np.where(y == "much", 3, 1))
    np.testing.assert_array_equal(both.predict_proba(table), one.predict_proba(table))


def test_calibration_divides_logits_and_changes_no_class():
    table = frame()
    y = answers(table, RealMLPClassifier)
    plain = RealMLPClassifier(**SMALL).fit(table, y)
    calibrated = RealMLPClassifier(**SMALL, calibration="temperature").fit(table, y)
    np.testing.assert_array_equal(calibrated.predict(table), plain.predict(table))
    assert plain.temperature_ == 1.0
    logits = [np.log(model.predict_proba(table)) for model in (plain, calibrated)]
    margins = [z[:, 0] - z[:, 1] for z in logits]
    np.testing.assert_allclose(margins[1] * calibrated.temperature_, margins[0], rtol=1e-4, atol=1e-5)


def test_quantities_of_td_stay_in_the_range_of_the_training_rows():
    table = frame()
    y = answers(table, RealMLPRegressor)
    model = RealMLPRegressor(**SMALL | {"epochs": 1}, lr=5.0).fit(table, y)
    limits = model.model_.limits
    found = model.predict(table)
    assert found.min() >= limits.low[0] >= y.min()
    assert found.max() <= limits.high[0] <= y.max()
    assert RealMLPRegressor("td-s", **SMALL).fit(table, y).model_.limits is None


def test_several_quantities_and_a_column_keep_their_shape():
    table = frame()
    y = answers(table, RealMLPRegressor)
    two = RealMLPRegressor(**SMALL).fit(table, np.column_stack([y, -y]))
    assert two.predict(table).shape == (ROWS, 2)
    one = RealMLPRegressor(**SMALL).fit(table, pd.DataFrame({"price": y}))
    assert one.predict(table).shape == (ROWS, 1)
    assert one.model_.target.columns == ("price",)


def test_missing_and_new_values_are_0_in_every_feature(fitted):
    table = frame()
    encoder = fitted(RealMLPClassifier, "td-s").model_.encoder
    assert not encoder.cardinalities
    missing = [name for name in encoder.feature_names if name.startswith(("colour", "shop"))]
    assert not any("missing" in name for name in missing)
    read = fitted(RealMLPClassifier, "td-s").model_.read
    changed = table.assign(colour=[None, "violet"] * (ROWS // 2), shop=None)
    x = encoder.transform(read(changed))
    columns = [encoder.feature_names.index(name) for name in missing]
    assert (x[:, columns] == x[0, columns]).all()


def test_more_than_8_values_have_an_embedding_in_td(fitted):
    encoder = fitted(RealMLPClassifier, "td").model_.encoder
    assert encoder.cardinalities == (13,)  # of the shops, with what training does not have
    assert fitted(RealMLPClassifier, "td").model_.network[0].dims == (8,)


def test_arrays_have_columns_of_numbers_and_nan_is_missing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4))
    x[::5, 1] = np.nan
    x[:, 3] = 7.0
    model = RealMLPClassifier(**SMALL).fit(x, x[:, 0] > 0)
    assert model.model_.encoder.feature_names == ("x0", "x1", "x2", "x3", "x1 missing")
    assert model.predict(x).dtype == bool
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named = model.predict_proba(pd.DataFrame(x, columns=list("abcd")))
    np.testing.assert_array_equal(named, model.predict_proba(x))


@pytest.mark.parametrize("labels", [[3, 1], [2.0, 1.0], [True, False], ["b", "a"], np.array(["x", "y"], object)])
def test_classes_are_labels_as_they_were_given(labels):
    x = np.random.default_rng(0).normal(size=(40, 2))
    y = np.array(labels)[np.arange(40) % 2]
    model = RealMLPClassifier(**SMALL).fit(x, y)
    np.testing.assert_array_equal(model.classes_, np.unique(y))
    assert set(model.predict(x)) <= set(y)
    assert model.classes_.dtype == y.dtype


def test_callbacks_are_called_and_can_stop():
    x = np.random.default_rng(0).normal(size=(40, 2))
    stop = fastbp.LambdaCallback(on_epoch_end=lambda trainer, epoch, figures: epoch == 2)
    model = RealMLPRegressor(**SMALL | {"epochs": 9}, callbacks=[stop]).fit(x, x[:, 0])
    assert model.n_iter_ == 2


WRONG = [
    ({"variant": "tabm"}, {}, "variant"),
    ({"hidden": (0,)}, {}, "hidden"),
    ({"hidden": 64}, {}, "RealMLPClassifier expects hidden to be a list of sizes, got 64"),
    ({"callbacks": 5}, {}, "RealMLPClassifier expects callbacks to be a list of them, got 5"),
    ({"activation": "no"}, {}, "activation"),
    ({"lr": -1.0}, {}, "lr"),
    ({"dropout": 1.0}, {}, "dropout"),
    ({"epochs": 0}, {}, "epochs"),
    ({"batch_size": 0}, {}, "batch_size"),
    ({"patience": 0}, {}, "patience"),
    ({"dtype": "float16"}, {}, "dtype"),
    ({"validation_fraction": 1.0}, {}, "validation_fraction"),
    ({"calibration": "platt"}, {}, "calibration"),
    ({"calibration": "temperature", "validation_fraction": 0.0}, {}, "calibration"),
    ({"drop": ["nothing"]}, {}, "X: drop names no column: 'nothing'"),
    ({"drop": ["day"], "categorical": ["day"]}, {}, "X: drop and categorical both name 'day'"),
    ({"numeric": ["colour"]}, {}, "X: numeric names column 'colour', which holds no number"),
    ({"categorical": ["list"]}, {"X": frame().assign(list=[[1]] * ROWS)}, "X: categorical names column 'list'"),
    ({"drop": "day"}, {}, "RealMLPClassifier expects drop to be a list of names, got 'day'"),
    ({"numeric": 5}, {}, "RealMLPClassifier expects numeric to be a list of names, got 5"),
    ({"categorical": [3]}, {}, "RealMLPClassifier expects categorical to be a list of names, got 3 in it"),
    ({}, {"X_val": frame(9)}, "y_val"),
    ({}, {"y_val": ["much"]}, "X_val"),
    ({}, {"sample_weight_val": [1.0]}, "X_val"),
    ({}, {"X_val": frame(9), "y_val": ["else"] * 9}, "classes that y has"),
    ({}, {"X_val": frame(9), "y_val": [True] * 9}, "expects y_val of classes that y has, got True"),
    ({}, {"y": [True, False] * (ROWS // 2), "X_val": frame(9), "y_val": ["much"] * 9}, "that y has, got 'much'"),
    ({}, {"X_val": frame(9), "y_val": []}, "inconsistent numbers of samples"),
    ({}, {"y": ["much"] * ROWS}, "got 1 class: 'much'"),
    ({}, {"X": pd.DataFrame(index=range(ROWS))}, "X has no columns"),
    ({}, {"X": frame(3), "y": list("abc")}, "expects validation_fraction=0, or X_val and y_val, .*label is there once"),
    ({"validation_fraction": 0.9}, {"X": frame(3), "y": list("aab")}, "expects validation_fraction=0, .*leaves no row"),
    ({}, {"sample_weight": np.zeros(ROWS)}, "non-zero"),
    ({}, {"sample_weight": -np.ones(ROWS)}, "[Nn]egative"),
]


@pytest.mark.parametrize(("parameters", "arguments", "said"), WRONG)
def test_what_does_not_fit_is_refused(parameters, arguments, said):
    table = frame()
    with pytest.raises((ValueError, TypeError), match=said):
        RealMLPClassifier(**SMALL | parameters).fit(**{"X": table, "y": answers(table, RealMLPClassifier)} | arguments)
