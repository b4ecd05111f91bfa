"""Tables to train on that are read a block at a time."""

import zlib
from collections.abc import Mapping

from fastbp._base.console import thousands
from fastbp.app.blocks import answered, file_digest, test_digest
from fastbp.app.options import Options
from fastbp.app.tables import TEST_FRACTION, TEST_SEED, TableFeatures, TargetedTable
from fastbp.data.reading.large import LargeTable, open_large
from fastbp.data.reading.table import AnyTable
from fastbp.tables.blocks import TableBlocks
from fastbp.tables.parts import parted


class StreamedData(TargetedTable):
    """A table to train on that is read a block at a time: the rows of each part. Raises what its base class does."""

    def __init__(self, table: LargeTable, options: Options, task: str | None) -> None:
        super().__init__(table, options, task)
        if options.metric:
            raise ValueError(f"train expects no --metric for a table that is read a block at a time: {table.name}")
        columns, self._table = options.columns, table
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

    def _training(self) -> AnyTable:
        return self._parts["train"]

    def ready(self, features: TableFeatures) -> dict[str, TableBlocks]:
        """Return the rows of each part as the network takes them."""
        encoder, dtype, keep = features.encoder, features.dtype, bool(self.classes)  # their figures are two passes
        return {name: TableBlocks(part, encoder, dtype, keep or name != "test") for name, part in self._parts.items()}

    def digests(self, parts: Mapping[str, TableBlocks]) -> tuple[str, int]:
        """Return a digest of the files and of how test rows are held out, and a checksum of the files."""
        return self._digests

    def _how_read(self) -> dict[str, str]:
        table = self._table
        copied = f", from a temporary copy of {table.copied / 1e9:.1f} GB" if table.copied else ""
        return super()._how_read() | {"streamed": f"in {thousands(len(table.sizes))} blocks of rows{copied}"}
