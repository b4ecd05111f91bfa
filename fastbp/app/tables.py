"""Rows of tables, and how their columns become a network's inputs."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._base.console import thousands
from fastbp.app import blocks
from fastbp.app.arrays import UNSEEN, checksum, fingerprint
from fastbp.app.options import Options, columns_of
from fastbp.app.source import Source
from fastbp.data.columns.describe import described_target, left_out
from fastbp.data.columns.encoder import Encoder
from fastbp.data.columns.encoding import Encoding
from fastbp.data.columns.roles import find_roles
from fastbp.data.columns.target import Target, find_target
from fastbp.data.reading.large import LargeTable
from fastbp.data.reading.table import AnyTable, ReadOptions, Table, TableError, Trouble
from fastbp.data.sources import opened
from fastbp.data.split import Answered
from fastbp.tables.blocks import TableBlocks
from fastbp.tables.parts import parted
from fastbp.tables.recipes.recipe import Layout
from fastbp.tables.rows import answered, part

Array = NDArray[Any]
TEST_FRACTION, TEST_SEED = 0.2, 0  # the same rows whatever the seed of a run is, as of arrays


@dataclass(frozen=True, eq=False)
class TableFeatures:
    """Features of a table: its columns as the encoder of the training rows has them.

    meta : the metadata of the model
    task : that was asked for
    """

    encoder: Encoder
    target: Target
    dtype: DTypeLike
    meta: dict[str, Any]
    task: str | None

    @classmethod
    def of_metadata(cls, meta: dict[str, Any], width: int, dtype: DTypeLike) -> "TableFeatures":
        """Make them of what `to_dict` has put into a model's metadata."""
        table = meta["table"]
        encoder, target = Encoder.from_dict(table["encoder"]), Target.from_dict(table["target"])
        made = cls(encoder, target, dtype, meta, table.get("task"))
        if made.width != width or list(made.target.classes) != list(meta["classes"]):
            raise ValueError(f"{width} inputs and classes {meta['classes']} for those of the encoder and the target")
        columns_of(meta["options"])
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return what the metadata of a model keeps of them: what `fastbp.TableModel` reads."""
        return {
            "feature_names": list(self.encoder.feature_names),
            "table": {"encoder": self.encoder.to_dict(), "target": self.target.to_dict(), "task": self.task},
        }

    @property
    def width(self) -> int:
        """How many features there are."""
        return len(self.encoder.feature_names)

    @property
    def layout(self) -> Layout:
        """What stands in which columns."""
        return Layout.of(self.encoder)

    def inputs(self, table: Table, name: str, unseen: Counter[str] | None = None) -> Array:
        """Return rows as the network takes them."""
        return self.encoder.transform(table, dtype=self.dtype, unseen=unseen)

    def load(self, source: Source, assumed: ReadOptions) -> Table | LargeTable:
        """Load rows to predict from."""
        return _table(source, assumed)

    def load_column(self, table: Table, name: str) -> Array:
        """Return the values of a column as they stand: text, or whole numbers where none is missing."""
        if name not in table.columns.column_names:
            raise TableError(table.name, [Trouble("--id", f"names no column: {name!r}")])
        column = table.columns.column(name)
        values = column.to_pylist()
        if not all(type(value) is int for value in values):
            values = ["" if value is None else str(value) for value in values]
        return np.array(values)

    def load_answered(
        self, source: Source, targets: tuple[str, ...], assumed: ReadOptions
    ) -> tuple[Answered | TableBlocks, str]:
        """Load rows to evaluate on, and say which: what training held out of the same table, or else all there are."""
        if self.meta["options"].get("stream"):
            source = source.in_blocks()
        table, target, columns = _table(source, assumed), self.target, columns_of(self.meta["options"])
        if targets:
            if len(targets) != len(target.columns):
                raise ValueError(f"evaluate expects as many --target as training had, {len(target.columns)}")
            target = replace(target, columns=targets)
        weight = columns.weight if columns.weight in table.column_names else None
        said = f", weighted by {weight}" * (weight is not None)
        if isinstance(table, LargeTable):
            return self._blocks(table, target, weight, said)
        rows = answered(table, target, weight)
        if lost := len(table) - len(rows.y):
            said += f"; {thousands(lost)} without an answer are left out"
        try:
            held_out = self._ready(part(rows, TEST_FRACTION, TEST_SEED, columns)[1])
        except ValueError:  # too few rows to hold any out, or a mistake that the next call names
            pass
        else:
            if self._were_held_out(held_out):
                return held_out, f"{UNSEEN}{said}"
        rows = self._ready(rows)
        return rows, f"{UNSEEN if self._were_held_out(rows) else 'all rows'}{said}"

    def _blocks(self, table: LargeTable, target: Target, weight: str | None, said: str) -> tuple[TableBlocks, str]:
        """Return rows of a table that is read a block at a time, and say which."""
        part, columns = blocks.answered(table, target, weight), columns_of(self.meta["options"])
        if lost := len(table) - len(part):
            said += f"; {thousands(lost)} without an answer are left out"
        files, held_out = blocks.file_digest(table.name), self.meta["data"]["test_rows"]
        which = UNSEEN if blocks.test_digest(files, None) == held_out else "all rows"
        if blocks.test_digest(files, columns) == held_out:
            part, which = parted(part, [(TEST_FRACTION, TEST_SEED)], columns)[0], UNSEEN
        return TableBlocks(part, self.encoder, self.dtype, bool(target.classes)), f"{which}{said}"

    def _ready(self, rows: Answered) -> Answered:
        return rows._replace(x=self.inputs(rows.x, rows.x.name))

    def _were_held_out(self, rows: Answered) -> bool:
        return bool(fingerprint(rows.x, rows.y, self.target.classes) == self.meta["data"]["test_rows"])


class TargetedTable:
    """A table to train on: what its columns are, and what is predicted. A subclass has the rows of each part.

    Raises
    ------
    TableError, ValueError
        If it does not suit the options: all that is wrong.
    """

    def __init__(self, table: Table | LargeTable, options: Options, task: str | None) -> None:
        columns = options.columns
        if not columns.target:
            raise ValueError(f"{table.name} needs --target, the column to predict; it has {', '.join(table.names)}")
        self.name, self.read_as, self.rows = table.name, table.read_as, len(table)
        self.reading = options.reading.over(table.options)
        self.roles = find_roles(table, columns)
        self.target, self._asked = find_target(table, columns.target, task), task
        self.task, self.classes = self.target.task, self.target.classes

    def _training(self) -> AnyTable:
        """Return the table of the training rows."""
        raise NotImplementedError

    def _how_read(self) -> dict[str, str]:
        """Say what the table was read as, if that had to be found out."""
        return {"read as": self.read_as} if self.read_as else {}

    def scaling(self, asked: str) -> str:
        """Refuse what only arrays have: an encoder scales the numbers of a table in its own way."""
        if asked != "auto":
            raise ValueError(f"train expects no --scaling {asked} for a table, whose numbers are scaled by quartiles")
        return asked

    def fit(self, encoding: Encoding, options: dict[str, Any], meta: dict[str, Any]) -> TableFeatures:
        """Fit the encoder to the training rows."""
        encoder = Encoder.fit(self._training(), self.roles, encoding=encoding)
        return TableFeatures(encoder, self.target, np.dtype(options["dtype"]), meta, self._asked)

    def facts(self, features: TableFeatures) -> dict[str, str | list[str]]:
        """Say what the data is, what it was read as, what is predicted, and which columns are left out."""
        said: dict[str, str | list[str]] = {"data": self.name}
        said |= self._how_read()
        said["target"] = described_target(self.target, self.rows)
        said["features"] = f"{thousands(features.width)}, made of {thousands(len(features.encoder.columns))} columns"
        said |= {"left out": lost} if (lost := left_out(self.roles)) else {}
        return said


class TableData(TargetedTable):
    """A table in memory to train on: the rows of each part. Raises what its base class does."""

    def __init__(self, table: Table, options: Options, task: str | None) -> None:
        super().__init__(table, options, task)
        columns = options.columns
        rest = answered(table, self.target, columns.weight)
        try:
            if options.test is None:
                rest, test = part(rest, TEST_FRACTION, TEST_SEED, columns)
            else:
                test = answered(_in_memory(options.test, options.reading, self.reading), self.target, columns.weight)
            self.parts = {"train": rest, "test": test}
            if options.validation_fraction:
                rest, watched = part(rest, options.validation_fraction, options.seed, columns)
                self.parts = {"train": rest, "validation": watched, "test": test}
        except TableError:
            raise
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def ready(self, features: TableFeatures) -> dict[str, Answered]:
        """Return the rows of each part as the network takes them."""
        return {name: rows._replace(x=features.inputs(rows.x, self.name)) for name, rows in self.parts.items()}

    def _training(self) -> Table:
        rows: Table = self.parts["train"].x
        return rows

    def digests(self, parts: dict[str, Answered]) -> tuple[str, int]:
        """Return a digest of the test rows and a checksum of the training rows, both as the network takes them."""
        found = 0
        for name in ("train", "validation"):
            if name in parts:
                x, y, weight = parts[name]
                found = checksum(x, y, *(() if weight is None else (weight,)), before=found)
        return fingerprint(parts["test"].x, parts["test"].y, self.classes), found


def _table(source: Source, assumed: ReadOptions) -> Table | LargeTable:
    found = source.open(assumed)
    if not isinstance(found, (Table, LargeTable)):
        raise ValueError(f"{source.name} is no table, and the model was trained on one")
    return found


def _in_memory(source: str, reading: ReadOptions, assumed: ReadOptions) -> Table:
    found = opened(source, reading, assumed)
    if not isinstance(found, Table):
        raise ValueError(f"{source} is no table, and the model was trained on one")
    return found
