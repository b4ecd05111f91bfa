"""A network and what belongs to it, in one file: how rows become inputs, names of answers, units of quantities."""

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp.app import blocks
from fastbp.app.arrays import ArrayData, ArrayFeatures
from fastbp.app.options import Options
from fastbp.app.source import Source
from fastbp.app.streamed import StreamedData
from fastbp.app.tables import TableData, TableFeatures
from fastbp.data.preprocessing import Scaler
from fastbp.data.reading.large import LargeTable
from fastbp.data.reading.table import ReadOptions, Table
from fastbp.data.split import Answered
from fastbp.nn.loss import Loss
from fastbp.nn.losses import CrossEntropyLoss, MSELoss
from fastbp.nn.member_outputs import average_members
from fastbp.nn.saving import load
from fastbp.nn.sequential import Sequential
from fastbp.tables.blocks import TableBlocks
from fastbp.tables.limits import Limits
from fastbp.tables.model import class_probabilities
from fastbp.tables.recipes.recipe import Layout
from fastbp.train.evaluation import chosen_metrics, scores
from fastbp.train.samples import Samples

Array = NDArray[Any]
# What the metadata of a model holds; "options" and "seed" tell how it was trained. Of a table there is "table" too.
FIELDS = {"task", "classes", "feature_names", "target", "scaler", "target_scaler", "data", "options", "seed"}


class Features(Protocol):
    """How the rows of a source become a network's inputs: fitted on the training rows, kept in the model's metadata."""

    @property
    def width(self) -> int:
        """How many inputs there are."""

    @property
    def layout(self) -> Layout:
        """What stands in which columns."""

    def inputs(self, rows: Any, name: str, unseen: Counter[str] | None = None) -> Any:
        """Return rows as the network takes them; `name` is what errors call them.

        `unseen` receives how many rows have a value that training did not, for each column where some do.
        """

    def load(self, source: Source, assumed: ReadOptions) -> Any:
        """Load rows to predict from."""

    def load_column(self, rows: Any, name: str) -> Array:
        """Return the values of a column of those."""

    def load_answered(
        self, source: Source, targets: tuple[str, ...], assumed: ReadOptions
    ) -> tuple[Answered | TableBlocks, str]:
        """Load inputs and answers to evaluate on, and say which rows these are."""

    def to_dict(self) -> dict[str, Any]:
        """Return what the metadata of a model keeps."""


def open_data(source: Source, options: Options, task: str | None) -> ArrayData | TableData | StreamedData:
    """Read a source to train on, and part its rows."""
    found = source.open()
    if isinstance(found, LargeTable):
        return StreamedData(found, options, task)
    return TableData(found, options, task) if isinstance(found, Table) else ArrayData(found, options, task)


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Rows as they stand in a file → network → class names and probabilities, or quantities in their own units.

    ``model.metadata`` holds all of it but the parameters; `load` reads it back from a saved model.
    """

    model: Sequential
    features: Features
    target_scaler: Scaler | None
    limits: Limits | None = None

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
        if meta["classes"] and len(meta["classes"]) != model._outputs:
            raise ValueError(f"{model._outputs} outputs for {len(meta['classes'])} classes")
        target_scaler, limits = meta["target_scaler"], meta.get("target_limits")
        kind: type[ArrayFeatures | TableFeatures] = TableFeatures if "table" in meta else ArrayFeatures
        result = cls(
            model,
            kind.of_metadata(meta, model.in_features, model.dtype),
            None if target_scaler is None else Scaler.from_dict(target_scaler),
            None if limits is None else Limits.from_dict(limits),
        )
        if len(meta.get("class_weight", meta["classes"])) != len(meta["classes"]):
            raise ValueError(f"weights {meta['class_weight']} of {len(meta['classes'])} classes")
        if not isinstance(meta["feature_names"], list) or not isinstance(meta["data"]["test_rows"], str):
            raise TypeError("feature_names should be a list, test_rows a digest")
        _ = result.loss, result.reading, result.answers  # made from the options, which they check
        return result

    @property
    def classes(self) -> list[str]:
        """Class names by index; none for a regression."""
        return list(self.model.metadata["classes"])

    @property
    def answers(self) -> list[str]:
        """Names of the quantities that are predicted."""
        target, outputs = self.model.metadata["target"] or "prediction", self.model._outputs
        if isinstance(target, list):
            return list(map(str, target))
        return [f"{target}_{j}" for j in range(outputs)] if outputs > 1 else [target]

    @property
    def loss(self) -> Loss:
        """The loss that the network was trained with."""
        return loss_of(self.model.metadata)

    def outputs(self, x: Any) -> Array:
        """Run the network on inputs; of members return the average."""
        return average_members(self.model.predict(x), self.model.members, "classes" if self.classes else "numbers")

    def probabilities(self, z: Array) -> NDArray[np.float64]:
        """Softmax of the logits."""
        return class_probabilities(z)

    def quantities(self, z: Array) -> NDArray[np.float64]:
        """Undo the standardisation of the targets, and stay in their limits if there are any."""
        assert self.target_scaler is not None
        values = np.asarray(z * self.target_scaler.scale + self.target_scaler.shift)
        return values if self.limits is None else self.limits.apply(values)

    def targets(self, y: Array) -> Array:
        """Return targets as the network's loss takes them."""
        return y if self.target_scaler is None else self.target_scaler.transform(y)

    def evaluate(self, rows: Answered | TableBlocks) -> dict[str, float]:
        """Return the loss, the accuracy or the error and the explained part of the variance, and the metrics asked for.

        Errors of quantities are in the units of the targets. The x of the rows are inputs of the network.
        """
        if isinstance(rows, TableBlocks):
            return blocks.figures(self, rows)
        x, y, weight = rows
        z = self.outputs(x)
        loss = self.loss.value(z, self.targets(y), weight)
        if self.classes:
            return {"loss": loss} | self.metrics(z, y, weight)
        each = 1.0 if weight is None else (weight / weight.mean())[:, None]
        wrong = each * (self.quantities(z) - y) ** 2
        mean = (each * y).mean(axis=0, dtype=np.float64)
        spread = each * (y - mean) ** 2
        figures = {"loss": loss}
        if y.shape[1] == 1:  # several outputs have several units
            figures["rmse"] = float(np.sqrt(wrong.mean()))
        with np.errstate(divide="ignore", invalid="ignore"):
            figures["r2"] = float((1 - wrong.sum(axis=0) / spread.sum(axis=0)).mean())
        return figures | (self.metrics(self.quantities(z), y, weight) | figures)

    def metrics(self, z: Array, y: Array, weight: Array | None = None) -> dict[str, float]:
        """Return of outputs, or quantities, the accuracy if there are classes, and the metrics that were asked for."""
        asked, loss = self.model.metadata["options"].get("metric", ()), self.loss
        targets = loss.targets(y, len(y), z.shape[1], z.dtype)
        samples = Samples(z, targets, np.empty(0) if weight is None else weight)
        return scores(chosen_metrics(asked, loss, samples, z.shape[1], "train"), loss, samples, z)

    def ready(self, rows: Answered | TableBlocks) -> Answered | TableBlocks:
        """Return rows with targets as the network's loss takes them."""
        if isinstance(rows, TableBlocks):
            return rows.scaled(self.target_scaler)
        return rows._replace(y=self.targets(rows.y))

    def confusion(self, rows: Answered | TableBlocks) -> NDArray[np.int64]:
        """Return how many rows there are of each class, by the class that is predicted: (classes, classes)."""
        if isinstance(rows, TableBlocks):
            return blocks.confusion(self, rows)
        found = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(found, (rows.y, self.outputs(rows.x).argmax(axis=1)), 1)
        return found

    def recall(self, rows: Answered | TableBlocks, code: int) -> float:
        """Return which part of the rows of a class is said to be of it; NaN where there is none."""
        if isinstance(rows, TableBlocks):
            return blocks.recall(self, rows, code)
        of_class = rows.y == code
        if not of_class.any():
            return float("nan")
        weight = None if rows.weight is None else rows.weight[of_class]
        return float(np.average(self.outputs(rows.x).argmax(axis=1)[of_class] == code, weights=weight))

    @property
    def reading(self) -> ReadOptions:
        """How text of the same table is read where it does not tell: as in training."""
        return ReadOptions(**self.model.metadata.get("reading", {}))


def loss_of(meta: dict[str, Any]) -> Loss:
    """Return the loss that a model's metadata says."""
    if not meta["classes"]:
        return MSELoss()
    return CrossEntropyLoss(label_smoothing=meta["options"]["label_smoothing"], weight=meta.get("class_weight"))


def class_weights(counts: NDArray[np.int64]) -> list[float]:
    """Return n / (k n_c) for each class c of n rows, as scikit-learn's "balanced"; 1 for those without a row.

    counts : rows of each class
    """
    present, rows = int((counts > 0).sum()), int(counts.sum())
    return [rows / (present * int(count)) if count else 1.0 for count in counts]
