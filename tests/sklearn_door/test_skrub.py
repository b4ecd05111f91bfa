"""The estimators end pipelines that skrub makes of data frames of pandas and polars, with columns of all kinds."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

from fastbp.sklearn import MLPClassifier, MLPRegressor
from fastbp.tabular import RealMLPClassifier

ROWS = 300


@pytest.fixture(scope="module")
def skrub(peer):
    return peer("skrub")


def people(rows=ROWS, seed=0):
    """Return columns of numbers with gaps, categories, dates and booleans, and who left."""
    rng = np.random.default_rng(seed)
    age, city = rng.integers(18, 70, rows), rng.integers(0, 3, rows)
    columns = {
        "age": np.where(rng.random(rows) < 0.1, np.nan, age),
        "city": np.array(["Oslo", "Rome", None], object)[city],
        "hired": np.datetime64("2010-01-01") + rng.integers(0, 4000, rows),
        "flag": rng.random(rows) < 0.5,
    }
    return columns, np.where(age + 10 * city > 50, "yes", "no")


@pytest.fixture
def frame(peer):
    """Make a frame of columns."""

    def frame(columns, library="pandas"):
        made = peer(library)
        if library == "pandas":
            return made.DataFrame(columns)
        return made.DataFrame({name: made.Series(values, strict=False) for name, values in columns.items()})

    return frame


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Found unknown categories")
        yield


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize(
    "model",
    [
        MLPClassifier(learning_rate_init=0.02, max_iter=30, random_state=0),
        RealMLPClassifier("td-s", epochs=20, random_state=0),
    ],
    ids=["MLP", "RealMLP"],
)
def test_a_classifier_ends_a_pipeline_of_a_frame(skrub, frame, model, library):
    columns, left = people()
    pipeline = skrub.tabular_pipeline(model).fit(frame(columns, library), left)
    others, truth = people(100, seed=1)
    others["city"][:5] = "Bern"  # which training did not have
    others = frame(others, library)
    assert pipeline.score(others, truth) > 0.8
    probabilities = pipeline.predict_proba(others)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(pipeline.classes_[probabilities.argmax(axis=1)], pipeline.predict(others))


def test_a_network_learns_from_the_features_of_the_pipeline_as_from_an_array(skrub, frame):
    columns, _ = people()
    table, age = frame(columns | {"age": np.arange(ROWS) / ROWS}), np.sin(np.arange(ROWS) / 50)
    pipeline = skrub.tabular_pipeline(MLPRegressor(max_iter=20, random_state=0)).fit(table, age)
    features = np.asarray(pipeline[:-1].transform(table), np.float32)
    alone = MLPRegressor(max_iter=20, random_state=0).fit(features, age)
    np.testing.assert_array_equal(pipeline.predict(table), alone.predict(features))


def test_a_pipeline_is_cross_validated(skrub, frame):
    columns, left = people()
    pipeline = skrub.tabular_pipeline(MLPClassifier(learning_rate_init=0.02, max_iter=20, random_state=0))
    scores = cross_val_score(pipeline, frame(columns), left, cv=3)
    assert scores.mean() > 0.8
    np.testing.assert_array_equal(cross_val_score(clone(pipeline), frame(columns), left, cv=3), scores)
