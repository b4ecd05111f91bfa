"""What earlier versions wrote of a table into a model's file still means the same."""

from datetime import datetime

import numpy as np
import pytest

import fastbp

pa = pytest.importorskip("pyarrow")

NUMBER = {"form": "number", "decimal": ".", "thousands": "", "lenient": False}  # without a unit
LABEL = {"form": "label", "words": "text", "decimal": "."}
SHOPS = [f"shop {i}" for i in range(10)]
# Nothing says here whether a category has codes, or how columns of 0 and 1 are scaled.
ENCODER = {
    "version": 1,
    "decimal": ".",
    "columns": [
        {"column": "v", "kind": "number", "form": NUMBER, "scale": {"center": 1.0, "spread": 2.0}, "has_missing": True},
        {"column": "colour", "kind": "category", "form": LABEL, "values": ["blue", "red"], "has_missing": True},
        {"column": "shop", "kind": "category", "form": LABEL, "values": SHOPS, "has_missing": False},
        {
            "column": "day", "kind": "time", "form": {"form": "time", "order": "y-m-d", "zone": ""},
            "elapsed": {"center": 19723.0, "spread": 4.0}, "year": {"center": 54.0, "spread": 0.0},
            "cycles": ["hour"], "has_missing": False,
        },
    ],
}  # fmt: skip
TARGET = {
    "forms": [NUMBER], "task": "regression", "why": "numbers", "missing": 0, "decimal": ".", "columns": ["y"],
    "classes": [], "names": [],
}  # fmt: skip
ROWS = {
    "v": ["3", None, "1"],
    "colour": ["red", None, "new"],
    "shop": ["shop 9", "new", "shop 0"],
    "day": [datetime(2024, 1, 1), datetime(2024, 1, 5), datetime(2024, 1, 1, 6)],
}
# v, elapsed; v missing, three places of a colour, two waves of the hour; the code of a shop
EXPECTED = [
    [1 / np.sqrt(1 + 1 / 9), 0.0, 0, 0, 1, 0, 0.0, 1.0, 10],
    [0.0, 1 / np.sqrt(1 + 1 / 9), 1, 0, 0, 1, 0.0, 1.0, 0],
    [0.0, 0.0625 / np.hypot(1, 0.0625 / 3), 0, 0, 0, 0, 1.0, 0.0, 1],
]


def test_model_of_an_earlier_version_predicts_from_the_same_features(tmp_path):
    network = fastbp.Sequential(fastbp.Embedding((11,), 2, (8,), rng=0), fastbp.Dense(10, 1, rng=0))
    scaler = {"kind": "standardize", "shift": [5.0], "scale": [2.0]}
    network.metadata = {"table": {"encoder": ENCODER, "target": TARGET, "task": None}, "target_scaler": scaler}
    network.save(tmp_path / "model.safetensors")
    model = fastbp.TableModel.load(tmp_path / "model.safetensors")
    table = pa.table(ROWS)
    x = model.encoder.transform(model.read(table), dtype="float64")
    np.testing.assert_allclose(x, EXPECTED, atol=1e-15)
    expected = network.predict(np.array(EXPECTED))[:, 0] * 2.0 + 5.0
    np.testing.assert_allclose(model.predict(table), expected, rtol=1e-5)
    model.save(tmp_path / "again.safetensors")
    again = fastbp.TableModel.load(tmp_path / "again.safetensors")
    np.testing.assert_array_equal(again.predict(table), model.predict(table))
