"""CatBoost as it comes."""

import catboost
import pandas as pd

from benchmarks.tables.data import Split
from benchmarks.tables.methods import Asked, Predict, predictor

VERSION = catboost.__version__


def fit(split: Split, asked: Asked) -> Predict:
    """Fit `CatBoostClassifier` or `CatBoostRegressor`, which take categories as text and none that are missing."""
    names = [name for name in split.x_train if split.x_train[name].dtype == "category"]
    kind = catboost.CatBoostClassifier if split.classes else catboost.CatBoostRegressor
    model = kind(
        random_seed=asked.seed, thread_count=asked.threads, verbose=False, allow_writing_files=False, cat_features=names
    )
    predict = predictor(model.fit(_as_text(split.x_train, names), split.y_train))
    return lambda x: predict(_as_text(x, names))


def _as_text(x: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    return x.assign(**{name: x[name].astype(object).where(x[name].notna(), "missing").astype(str) for name in names})


METHODS = {"CatBoost": fit}
