"""What is compared: a name, the module that has it, what a fit is asked for, and what it gives back."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

# Probabilities (rows, classes) or numbers (rows,) of a frame.
Predict = Callable[[pd.DataFrame], np.ndarray]

# Each method by the module that has it.
MODULES = {
    "fastbp RealMLP TD-S": "_fastbp",
    "fastbp RealMLP TD": "_fastbp",
    "fastbp TabM-mini": "_fastbp",
    "fastbp plain": "_fastbp",
    "pytabkit RealMLP TD-S": "_pytabkit",
    "pytabkit RealMLP TD": "_pytabkit",
    "pytabkit TabM-mini": "_pytabkit",
    "tabm TabM-mini": "_tabm",
    "scikit-learn MLP": "_sklearn",
    "HistGradientBoosting": "_sklearn",
    "LightGBM": "_lightgbm",
    "CatBoost": "_catboost",
}


@dataclass(frozen=True)
class Asked:
    """What a fit is asked for beside its rows.

    ``epochs`` takes the place of a network's own number, and then no epoch is the last before them.
    """

    seed: int
    threads: int
    epochs: int | None = None


def module_of(name: str) -> Any:
    """Return the module whose ``METHODS[name]`` fits a split as it is asked to; ImportError without its package."""
    return importlib.import_module(f"benchmarks.tables.{MODULES[name]}")


def predictor(model: Any) -> Predict:
    """Return what a fitted estimator says of a frame."""
    if hasattr(model, "predict_proba"):
        return lambda x: np.asarray(model.predict_proba(x), np.float64)
    return lambda x: np.asarray(model.predict(x), np.float64).reshape(-1)
