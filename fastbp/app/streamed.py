"""Tables to train on that are read a block at a time."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp._base.console import thousands
from fastbp.app.blocks import answered, file_digest, test_digest
from fastbp.app.options import Options
from fastbp.app.tables import TEST_FRACTION, TEST_SEED, TableFeatures
from fastbp.data.columns.describe import described_target, left_out
from fastbp.data.columns.encoder import Encoder
from fastbp.data.columns.encoding import Encoding
from fastbp.data.columns.roles import find_roles
from fastbp.data.columns.target import find_target
from fastbp.data.reading.large import LargeTable, open_large
from fastbp.tables.blocks import TableBlocks
from fastbp.tables.parts import parted


class StreamedData:
    """A table to train on that is read a block at a time: the rows of each part.

    Raises
    ------
    TableError, ValueError
        If it does not suit the options: all that is wrong.
    """

    def __init__(self, table: LargeTable, options: Options, task: str | None) -> None:
        columns = options.columns
        if not columns.target:
            raise ValueError(f"{table.name} needs --target, the column to predict; it has {', '.join(table.names)}")
        if options.metric:
            raise ValueError(f"train expects no --metric for a table that is read a block at a time: {table.name}")
        self.name, self.read_as, self._table = table.name, table.read_as, table
        self.reading = options.reading.over(table.options)
        self.roles = find_roles(table, columns)
        self.target, self._asked = find_target(table, columns.target, task), task
        self.task, self.classes = self.target.task, self.target.classes
        tables = [table]
        whole = answered(table, self.target, columns.weight)
        held = [(options.validation_fraction, options.seed)] if options.validation_fraction else []
        if options.test is None:
            test, *parts = parted(whole, [(TEST_FRACTION, TEST_SEED), *held], columns)
        else:
            tables.append(open_large(options.test, options.reading, self.reading))
            test = answered(tables[1], self.target, columns.weight)
            parts = parted(whole, held, columns)
        self._parts = {"train": parts[-1]} | ({"validation": parts[0]} if held else {}) | {"test": test}
        digests = [file_digest(each.name) for each in tables]
        test_rows = test_digest(digests[-1], columns if options.test is None else None)
        self._digests = test_rows, zlib.crc32("".join(digests).encode())

    def scaling(self, asked: str) -> str:
        """Refuse what only arrays have: an encoder scales the numbers of a table in its own way."""
        if asked != "auto":
            raise ValueError(f"train expects no --scaling {asked} for a table, whose numbers are scaled by quartiles")
        return asked

    def fit(self, encoding: Encoding, options: dict[str, Any], meta: dict[str, Any]) -> TableFeatures:
        """Fit the encoder to the training rows."""
        encoder = Encoder.fit(self._parts["train"], self.roles, encoding=encoding)
        return TableFeatures(encoder, self.target, np.dtype(options["dtype"]), meta, self._asked)

    def ready(self, features: TableFeatures) -> dict[str, TableBlocks]:
        """Return the rows of each part as the network takes them."""
        encoder, dtype, keep = features.encoder, features.dtype, bool(self.classes)  # their figures are two passes
        return {name: TableBlocks(part, encoder, dtype, keep or name != "test") for name, part in self._parts.items()}

    def digests(self, parts: Mapping[str, TableBlocks]) -> tuple[str, int]:
        """Return a digest of the files and of how test rows are held out, and a checksum of the files."""
        return self._digests

    def facts(self, features: TableFeatures) -> dict[str, str | list[str]]:
        """Say what the data is, what it was read as, what is predicted, and which columns are left out."""
        table = self._table
        copied = f", from a temporary copy of {table.copied / 1e9:.1f} GB" if table.copied else ""
        said: dict[str, str | list[str]] = {"data": self.name}
        said |= {"read as": self.read_as} if self.read_as else {}
        said["streamed"] = f"in {thousands(len(table.sizes))} blocks of rows{copied}"
        said["target"] = described_target(self.target, len(table))
        said["features"] = f"{thousands(features.width)} of {thousands(len(features.encoder.columns))} columns"
        said |= {"left out": lost} if (lost := left_out(self.roles)) else {}
        return said
