"""pytabkit: the authors' own RealMLP, and TabM."""

from importlib.metadata import version

import numpy as np
import pandas as pd
import pytabkit
import torch

from benchmarks.tables.data import Split
from benchmarks.tables.methods import Asked, Predict, predictor

VERSION = version("pytabkit")


def fit(name: str, split: Split, asked: Asked, **options: object) -> Predict:
    """Fit one of its estimators, which takes no missing numbers: the median, and a column that tells of them."""
    torch.set_num_threads(asked.threads)
    kind = getattr(pytabkit, f"{name}_{'Classifier' if split.classes else 'Regressor'}")
    model = kind(device="cpu", random_state=asked.seed, n_threads=asked.threads, n_epochs=asked.epochs, **options)
    median = split.x_train.median(numeric_only=True)
    told = [c for c in median.index if split.x_train[c].isna().any()]

    def filled(x: pd.DataFrame) -> pd.DataFrame:
        flags = {f"{c} is missing": x[c].isna().astype("float64") for c in told}
        return x.fillna(median).assign(**flags)

    y = split.y_train, split.y_validation
    y = y if split.classes else tuple(part.astype(np.float32) for part in y)
    model.fit(filled(split.x_train), y[0], filled(split.x_validation), y[1])
    predict = predictor(model)
    return lambda x: predict(filled(x))


def td_s(split: Split, asked: Asked) -> Predict:
    """Fit RealMLP TD-S."""
    return fit("RealMLP_TD_S", split, asked)


def td(split: Split, asked: Asked) -> Predict:
    """Fit RealMLP TD."""
    return fit("RealMLP_TD", split, asked)


def tabm(split: Split, asked: Asked) -> Predict:
    """Fit TabM-mini with its parameters for TabM."""
    patience = {} if asked.epochs is None else {"patience": asked.epochs}
    return fit("TabM_D", split, asked, arch_type="tabm-mini", **patience)


METHODS = {"pytabkit RealMLP TD-S": td_s, "pytabkit RealMLP TD": td, "pytabkit TabM-mini": tabm}
