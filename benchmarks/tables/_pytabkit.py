"""pytabkit: the authors' own RealMLP, and TabM."""

from importlib.metadata import version

import numpy as np
import pandas as pd
import pytabkit
import torch

from benchmarks.tables.data import Split
from benchmarks.tables.methods import Predict, predictor

VERSION = version("pytabkit")


def fit(name: str, split: Split, seed: int, threads: int, **options: object) -> Predict:
    """Fit one of its estimators, which takes no missing numbers: the median, and a column that tells of them."""
    torch.set_num_threads(threads)
    kind = getattr(pytabkit, f"{name}_{'Classifier' if split.classes else 'Regressor'}")
    model = kind(device="cpu", random_state=seed, n_threads=threads, **options)
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


def td_s(split: Split, seed: int, threads: int) -> Predict:
    """Fit RealMLP TD-S."""
    return fit("RealMLP_TD_S", split, seed, threads)


def td(split: Split, seed: int, threads: int) -> Predict:
    """Fit RealMLP TD."""
    return fit("RealMLP_TD", split, seed, threads)


def tabm(split: Split, seed: int, threads: int) -> Predict:
    """Fit TabM-mini with its parameters for TabM."""
    return fit("TabM_D", split, seed, threads, arch_type="tabm-mini")


METHODS = {"pytabkit RealMLP TD-S": td_s, "pytabkit RealMLP TD": td, "pytabkit TabM-mini": tabm}
