"""scikit-learn: its network with what a pipeline usually does before it, and its boosted trees."""

import warnings

import sklearn
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.tables.data import Split
from benchmarks.tables.methods import Asked, Predict, predictor

VERSION = sklearn.__version__


def mlp(split: Split, asked: Asked) -> Predict:
    """Fit `MLPClassifier` or `MLPRegressor` as they come, on scaled numbers, one-hot categories, a scaled target."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    encoder = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_include="category")),
    )
    kind = MLPClassifier if split.classes else MLPRegressor
    network = kind(random_state=asked.seed, **({} if asked.epochs is None else {"max_iter": asked.epochs}))
    if not split.classes:
        network = TransformedTargetRegressor(network, transformer=StandardScaler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs that it has are a part of how it comes
        return predictor(make_pipeline(encoder, network).fit(split.x_train, split.y_train))


def trees(split: Split, asked: Asked) -> Predict:
    """Fit `HistGradientBoosting...` as they come."""
    kind = HistGradientBoostingClassifier if split.classes else HistGradientBoostingRegressor
    return predictor(kind(random_state=asked.seed).fit(split.x_train, split.y_train))


METHODS = {"scikit-learn MLP": mlp, "HistGradientBoosting": trees}
