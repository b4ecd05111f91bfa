"""What is compared: a name, the module that has it, and what a fit gives back."""

from collections.abc import Callable
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
    "fastbp train": "_fastbp",
    "pytabkit RealMLP TD-S": "_pytabkit",
    "pytabkit RealMLP TD": "_pytabkit",
    "pytabkit TabM-mini": "_pytabkit",
    "scikit-learn MLP": "_sklearn",
    "HistGradientBoosting": "_sklearn",
    "LightGBM": "_lightgbm",
    "CatBoost": "_catboost",
}


def predictor(model: Any) -> Predict:
    """Return what a fitted estimator says of a frame."""
    if hasattr(model, "predict_proba"):
        return lambda x: np.asarray(model.predict_proba(x), np.float64)
    return lambda x: np.asarray(model.predict(x), np.float64).reshape(-1)
