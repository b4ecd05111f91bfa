"""fastbp: the estimators of `fastbp.tabular`, and the recipe ``plain`` of ``fastbp train``."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastbp
import fastbp.tabular
from benchmarks.tables.data import Split
from benchmarks.tables.methods import Asked, Predict, predictor

VERSION = fastbp.__version__


def plain(split: Split, asked: Asked) -> Predict:
    """Run ``fastbp train --preset plain`` on the training rows."""
    with tempfile.TemporaryDirectory() as folder:
        parts = {"train": (split.x_train, split.y_train), "held_out": (split.x_validation, split.y_validation)}
        for name, (x, y) in parts.items():
            answers = np.array(split.classes, object)[y] if split.classes else y
            x.assign(target=answers).to_parquet(Path(folder, f"{name}.parquet"))
        options = {
            "--preset": "plain",
            "--target": "target",
            "--task": "classification" if split.classes else "regression",
            "--test": "held_out.parquet",
            "--validation-fraction": "0",
            "--seed": str(asked.seed),
            "--threads": str(asked.threads),
            "--out": "run",
        } | ({} if asked.epochs is None else {"--epochs": str(asked.epochs)})
        command = [sys.executable, "-m", "fastbp", "train", "train.parquet", *sum(options.items(), ())]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        model = fastbp.TableModel.load(Path(folder, "run", "model.safetensors"))
    if not split.classes:
        return model.predict
    order = [model.target.classes.index(name) for name in split.classes]
    return lambda x: model.predict_proba(x)[:, order]


def estimator(name: str, **options: str) -> Callable[[Split, Asked], Predict]:
    """Return what fits an estimator of `fastbp.tabular`."""

    def fit(split: Split, asked: Asked) -> Predict:
        kind = getattr(fastbp.tabular, f"{name}{'Classifier' if split.classes else 'Regressor'}")
        model = kind(**options, random_state=asked.seed, n_jobs=asked.threads, epochs=asked.epochs)
        model.fit(split.x_train, split.y_train, X_val=split.x_validation, y_val=split.y_validation)
        return predictor(model)

    return fit


METHODS = {
    "fastbp RealMLP TD-S": estimator("RealMLP", variant="td-s"),
    "fastbp RealMLP TD": estimator("RealMLP", variant="td"),
    "fastbp TabM-mini": estimator("TabM"),
    "fastbp plain": plain,
}
