"""LightGBM as it comes."""

import lightgbm

from benchmarks.tables.data import Split
from benchmarks.tables.methods import Asked, Predict, predictor

VERSION = lightgbm.__version__


def fit(split: Split, asked: Asked) -> Predict:
    """Fit `LGBMClassifier` or `LGBMRegressor`."""
    kind = lightgbm.LGBMClassifier if split.classes else lightgbm.LGBMRegressor
    return predictor(kind(random_state=asked.seed, n_jobs=asked.threads, verbose=-1).fit(split.x_train, split.y_train))


METHODS = {"LightGBM": fit}
