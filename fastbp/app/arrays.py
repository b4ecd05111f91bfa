"""Rows that are arrays: those of digits, IDX files and .npz, and how they become a network's inputs.

Model files of tables that were written before tables had encoders are read here too.
"""

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.app.options import TABLE_OPTIONS, Options
from fastbp.app.source import Source
from fastbp.data.columns.encoding import Encoding
from fastbp.data.datasets import Dataset, load_dataset, train_validation_split
from fastbp.data.preprocessing import Scaler
from fastbp.data.reading.table import ReadOptions, Table
from fastbp.data.scaled import Scaled
from fastbp.data.sources import load_features, opened
from fastbp.data.split import Answered
from fastbp.tables.recipes.recipe import Layout

Array = NDArray[Any]
ROWS_AT_ONCE = 4096  # of which a digest is made
UNSEEN = "the test rows, which training did not see"


@dataclass(frozen=True, eq=False)
class ArrayFeatures:
    """Features of arrays: scaled as those of the training rows.

    scaler : Scaler
    width : how many there are
    meta : the metadata of the model
    """

    scaler: Scaler
    width: int
    dtype: DTypeLike
    meta: dict[str, Any]

    @property
    def layout(self) -> Layout:
        """What stands in which columns."""
        return Layout(self.width, self.width)

    @classmethod
    def of_metadata(cls, meta: dict[str, Any], width: int, dtype: DTypeLike) -> "ArrayFeatures":
        """Make them of what `to_dict` has put into a model's metadata."""
        return cls(Scaler.from_dict(meta["scaler"]), width, dtype, meta)

    def to_dict(self) -> dict[str, Any]:
        """Return what the metadata of a model keeps of them."""
        return {"scaler": self.scaler.to_dict()}

    def inputs(self, x: Array, name: str, unseen: Counter[str] | None = None) -> Array | Scaled:
        """Return features as the network takes them: scaled, bytes where they are read, to the same bits.

        `name` is what errors call them; numbers are never `unseen`.
        """
        if x.shape[1] != self.width:
            raise ValueError(f"{name} has {x.shape[1]} features, and the model was trained on {self.width}")
        if x.dtype == np.uint8 and self.dtype == np.float32:
            return Scaled(x, self.scaler.scale, self.scaler.shift)
        return self.scaler.transform(x)

    def load(self, source: Source, assumed: ReadOptions) -> Array:
        """Load features to predict from."""
        source.refuse_stream()
        names = self.meta["feature_names"] or None
        return load_features(source.name, feature_names=names, keep_bytes=True, reading=source.reading, assumed=assumed)

    def load_column(self, rows: Array, name: str) -> Array:
        """Refuse to look for a column by its name."""
        raise ValueError(f"predict expects a table with --id {name}: arrays have no names of columns")

    def load_answered(self, given: Source, targets: tuple[str, ...], assumed: ReadOptions) -> tuple[Answered, str]:
        """Load rows to evaluate on, and say which: what training held out of the same source, or else all there are."""
        given.refuse_stream()
        source, reading = given.name, given.reading
        meta = self.meta
        asked: dict[str, Any] = {"task": meta["task"], "classes": meta["classes"] or None, "keep_bytes": True}
        found = opened(source, reading, assumed)
        target = targets[0] if targets else None
        if isinstance(found, Table):
            asked |= {"target": target or meta["target"], "feature_names": meta["feature_names"] or None}
        else:
            asked |= {"target": target, "reading": reading}  # load_dataset says what is wrong with that
        try:
            held_out = load_dataset(found, **asked)
        except ValueError:  # too few rows to hold any out, or a mistake that the next call names
            pass
        else:
            if fingerprint(held_out.x_test, held_out.y_test, held_out.classes) == meta["data"]["test_rows"]:
                return self._answered(held_out, source), UNSEEN
        data = load_dataset(found, test_fraction=1.0, **asked)
        rows = self._answered(data, source)
        if fingerprint(data.x_test, data.y_test, data.classes) == meta["data"]["test_rows"]:
            return rows, UNSEEN
        return rows, "its test rows" if len(data.x_train) else "all rows"

    def _answered(self, data: Dataset, name: str) -> Answered:
        return Answered(self.inputs(data.x_test, name), data.y_test)


class ArrayData:
    """Arrays to train on: the rows of each part, as they stand in the source.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_dataset`, and for options that suit tables alone.
    """

    def __init__(self, source: str, options: Options, task: str | None) -> None:
        refused = [f"--{name.replace('_', '-')}" for name in TABLE_OPTIONS if getattr(options, name) not in (None, ())]
        refused += [f"--preset {options.preset}"] if options.preset != "plain" else []
        if refused:
            raise ValueError(f"{source} is no table, and so takes no {', '.join(refused)}")
        data = load_dataset(source, task=task, keep_bytes=True, test=options.test, reading=options.reading)  # type: ignore[arg-type]  # it checks the task
        if not len(data.x_test):
            raise ValueError(f"{data.name} leaves no rows for the test")
        self._data = data
        self.name, self.task, self.classes, self.reading = data.name, data.task, data.classes, data.reading
        x, y = data.x_train, data.y_train
        self.parts = {"train": Answered(x, y), "test": Answered(data.x_test, data.y_test)}
        if options.validation_fraction:
            x, x_val, y, y_val = train_validation_split(
                x, y, fraction=options.validation_fraction, seed=options.seed, stratify=y if data.classes else None
            )
            self.parts = {"train": Answered(x, y), "validation": Answered(x_val, y_val), "test": self.parts["test"]}

    def ready(self, features: ArrayFeatures) -> dict[str, Answered]:
        """Return the rows of each part as the network takes them."""
        return {name: rows._replace(x=features.inputs(rows.x, self.name)) for name, rows in self.parts.items()}

    def scaling(self, asked: str) -> str:
        """Settle how features are scaled: pixels share a unit; columns of other data may not."""
        if asked != "auto":
            return asked
        return "standardize" if self.name.endswith(".npz") else "scale"

    def fit(self, encoding: Encoding, options: dict[str, Any], meta: dict[str, Any]) -> ArrayFeatures:
        """Find how features are scaled on the training rows; there are no columns to encode."""
        x = self.parts["train"].x
        return ArrayFeatures(Scaler.fit(x, options["scaling"]), x.shape[1], np.dtype(options["dtype"]), meta)

    def digests(self, parts: dict[str, Answered]) -> tuple[str, int]:
        """Return a digest of the test rows and a checksum of the training rows, before they are scaled."""
        data = self._data
        return fingerprint(data.x_test, data.y_test, data.classes), checksum(data.x_train, data.y_train)

    def facts(self, features: ArrayFeatures) -> dict[str, str | list[str]]:
        """Say what the data is."""
        kind = f"{len(self.classes)} classes" if self.classes else "regression"
        return {"data": f"{self.name}, {kind}, {features.width} features ({features.scaler.kind})"}


def fingerprint(x: Array, y: Array, classes: tuple[str, ...]) -> str:
    """Return a digest of the test rows: by it `evaluate` knows the data that a model was trained on."""
    digest = hashlib.sha256(repr((x.shape, classes)).encode())
    for rows in _as_float32(x):
        digest.update(rows)
    digest.update(y.tobytes())
    return digest.hexdigest()


def checksum(x: Array, *answers: Array, before: int = 0) -> int:
    """Return a checksum of the training rows: by it a run that goes on knows its data."""
    for rows in _as_float32(x):
        before = zlib.crc32(rows, before)
    for array in answers:
        before = zlib.crc32(array.tobytes(), before)
    return before


def _as_float32(x: Array) -> Iterator[bytes]:
    """Yield the bytes of some rows after others, as float32: those of a file that is kept as bytes, too."""
    for start in range(0, len(x), ROWS_AT_ONCE):
        yield x[start : start + ROWS_AT_ONCE].astype(np.float32, copy=False).tobytes()
