"""A network and what belongs to it, in one file: scaling of the inputs, names of the answers, units of the targets."""

import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.data.datasets import Dataset, load_dataset
from fastbp.data.preprocessing import Scaler
from fastbp.data.reading.table import FOUND, ReadOptions, Table
from fastbp.data.scaled import Scaled
from fastbp.data.sources import opened
from fastbp.nn.loss import Loss
from fastbp.nn.losses import CrossEntropyLoss, MSELoss
from fastbp.nn.saving import load
from fastbp.nn.sequential import Sequential
from fastbp.train.evaluation import chosen_metrics, scores
from fastbp.train.samples import Samples

Array = NDArray[Any]
ROWS_AT_ONCE = 4096  # of which a digest is made
# What the metadata of a model holds; "options" and "seed" tell how it was trained.
FIELDS = {"task", "classes", "feature_names", "target", "scaler", "target_scaler", "data", "options", "seed"}


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Features as they stand in a file → network → class names and probabilities, or quantities in their own units.

    ``model.metadata`` holds all of it but the parameters; `load` reads it back from a saved model.
    """

    model: Sequential
    scaler: Scaler
    target_scaler: Scaler | None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Pipeline":
        """Read what `train` of the command line saved; ValueError if the file holds a bare model."""
        model = load(path)
        meta = model.metadata
        if missing := FIELDS - meta.keys():
            raise ValueError(
                f"{os.fspath(path)} holds a model that `fastbp train` did not write: no {', '.join(sorted(missing))}"
            )
        try:
            return cls._from_metadata(model)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)} is damaged: its metadata does not fit ({error})") from None

    @classmethod
    def _from_metadata(cls, model: Sequential) -> "Pipeline":
        meta = model.metadata
        if meta["classes"] and len(meta["classes"]) != model.out_features:
            raise ValueError(f"{model.out_features} outputs for {len(meta['classes'])} classes")
        target_scaler = meta["target_scaler"]
        result = cls(
            model,
            Scaler.from_dict(meta["scaler"]),
            None if target_scaler is None else Scaler.from_dict(target_scaler),
        )
        if not isinstance(meta["feature_names"], list) or not isinstance(meta["data"]["test_rows"], str):
            raise TypeError("feature_names should be a list, test_rows a digest")
        _ = result.loss, result.reading  # made from the options, which they check
        return result

    @property
    def classes(self) -> list[str]:
        """Class names by index; none for a regression."""
        return list(self.model.metadata["classes"])

    @property
    def loss(self) -> Loss:
        """The loss that the network was trained with."""
        if self.classes:
            return CrossEntropyLoss(label_smoothing=self.model.metadata["options"]["label_smoothing"])
        return MSELoss()

    def outputs(self, x: Array, name: str) -> Array:
        """Run the network on unscaled features, (rows, features); `name` is what errors call them."""
        if x.shape[1] != self.model.in_features:
            raise ValueError(f"{name} has {x.shape[1]} features, and the model was trained on {self.model.in_features}")
        return self.model.predict(self.inputs(x))

    def inputs(self, x: Array) -> Array | Scaled:
        """Return unscaled features as the network takes them: scaled, bytes where they are read, to the same bits."""
        if x.dtype == np.uint8 and self.model.dtype == np.float32:
            return Scaled(x, self.scaler.scale, self.scaler.shift)
        return self.scaler.transform(x)

    def probabilities(self, z: Array) -> NDArray[np.float64]:
        """Softmax of the logits."""
        shifted = np.exp(z - z.max(axis=1, keepdims=True), dtype=np.float64)
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))

    def quantities(self, z: Array) -> NDArray[np.float64]:
        """Undo the standardisation of the targets."""
        assert self.target_scaler is not None
        return np.asarray(z * self.target_scaler.scale + self.target_scaler.shift)

    def targets(self, y: Array) -> Array:
        """Return targets as the network's loss takes them."""
        return y if self.target_scaler is None else self.target_scaler.transform(y)

    def evaluate(self, x: Array, y: Array, name: str) -> dict[str, float]:
        """Return the loss, the accuracy or the error and the explained part of the variance, and the metrics asked for.

        Errors of quantities are in the units of the targets.
        """
        z = self.outputs(x, name)
        loss = self.loss.value(z, self.targets(y))
        if self.classes:
            return {"loss": loss} | self.metrics(z, y)
        wrong = self.quantities(z) - y
        spread = y - y.mean(axis=0, dtype=np.float64)
        figures = {"loss": loss}
        if y.shape[1] == 1:  # several outputs have several units
            figures["rmse"] = float(np.sqrt((wrong**2).mean()))
        with np.errstate(divide="ignore", invalid="ignore"):
            figures["r2"] = float((1 - (wrong**2).sum(axis=0) / (spread**2).sum(axis=0)).mean())
        return figures | (self.metrics(self.quantities(z), y) | figures)

    def metrics(self, z: Array, y: Array) -> dict[str, float]:
        """Return of outputs, or quantities, the accuracy if there are classes, and the metrics that were asked for."""
        asked, loss = self.model.metadata["options"].get("metric", ()), self.loss
        samples = Samples(z, loss.targets(y, len(y), z.shape[1], z.dtype), np.empty(0))
        return scores(chosen_metrics(asked, loss, samples, z.shape[1], "train"), loss, samples, z)

    @property
    def reading(self) -> ReadOptions:
        """How text of the same table is read where it does not tell: as in training."""
        return ReadOptions(**self.model.metadata.get("reading", {}))

    def load_rows(self, source: str, target: str | None, reading: ReadOptions = FOUND) -> tuple[Array, Array, str]:
        """Load rows to evaluate on, and say which: what training held out of the same source, or else all there are."""
        meta = self.model.metadata
        asked: dict[str, Any] = {"task": meta["task"], "classes": meta["classes"] or None, "keep_bytes": True}
        found = opened(source, reading, self.reading)
        if isinstance(found, Table):
            asked |= {"target": target or meta["target"], "feature_names": meta["feature_names"] or None}
        else:
            asked |= {"target": target, "reading": reading}  # load_dataset says what is wrong with that
        unseen = "the test rows, which training did not see"
        try:
            held_out = load_dataset(found, **asked)
        except ValueError:  # too few rows to hold any out, or a mistake that the next call names
            pass
        else:
            if fingerprint(held_out) == meta["data"]["test_rows"]:
                return held_out.x_test, held_out.y_test, unseen
        data = load_dataset(found, test_fraction=1.0, **asked)
        if fingerprint(data) == meta["data"]["test_rows"]:
            return data.x_test, data.y_test, unseen
        return data.x_test, data.y_test, "its test rows" if len(data.x_train) else "all rows"


def fingerprint(data: Dataset) -> str:
    """Return a digest of the test rows: by it `evaluate` knows the data that a model was trained on."""
    digest = hashlib.sha256(repr((data.x_test.shape, data.classes)).encode())
    for rows in _as_float32(data.x_test):
        digest.update(rows)
    digest.update(data.y_test.tobytes())
    return digest.hexdigest()


def checksum(data: Dataset) -> int:
    """Return a checksum of the training rows: by it a run that goes on knows its data."""
    found = 0
    for rows in _as_float32(data.x_train):
        found = zlib.crc32(rows, found)
    return zlib.crc32(data.y_train.tobytes(), found)


def _as_float32(x: Array) -> Iterator[bytes]:
    """Yield the bytes of some rows after others, as float32: those of a file that is kept as bytes, too."""
    for start in range(0, len(x), ROWS_AT_ONCE):
        yield x[start : start + ROWS_AT_ONCE].astype(np.float32, copy=False).tobytes()
