"""Which rows of a table that is read a block at a time are trained on, and which are held out.

Rules look at a row's number, its group or its time, and at no other row: so a block is parted without the others.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.beside import read_times, read_weights, time_form, weight_form
from fastbp.data.columns.column import Column
from fastbp.data.columns.labels import find_labels
from fastbp.data.columns.numbers import NumberForm
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.survey import at_ranks
from fastbp.data.columns.target import Target
from fastbp.data.columns.values import column_of, plain
from fastbp.data.reading.large import LargeTable
from fastbp.data.reading.table import Table, TableError, Trouble
from fastbp.tables.answers import AnswerFacts

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """Says which rows are held out.

    Attributes
    ----------
    columns : tuple of str
        What it looks at.
    held : callable
        Takes a block that has these columns, returns a bool for each row.
    """

    columns: tuple[str, ...]
    held: Callable[[Table], Mask]


def by_number(fraction: float, seed: int) -> Rule:
    """Hold rows out by a hash of their number in the table and the seed."""
    return Rule((), lambda block: _part(_numbers(block), seed) < fraction)


def by_group(table: LargeTable, name: str, fraction: float, seed: int) -> Rule:
    """Hold groups out by a hash of their name; a row without one as `by_number`."""
    form = find_labels(column_of(table, name), table.decimal)

    def held(block: Table) -> Mask:
        labels = form.read(plain(block.columns.column(name)))
        names = [int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") for text in labels.names]
        hashes = np.array([*names, 0], np.uint64)[labels.codes]
        return _part(np.where(labels.codes < 0, _numbers(block), hashes), seed) < fraction

    return Rule((name,), held)


def by_time(table: LargeTable, name: str, fraction: float, among: "Part") -> Rule:
    """Hold the latest rows of a part out: of rows of one time the last ones."""
    form = time_form(table, name)

    def times() -> Iterator[tuple[Any, NDArray[np.uint64]]]:
        return ((read_times(block, name, form), _numbers(block)) for block in among.blocks([name]))

    count = math.ceil(fraction * len(among))
    dtype = np.result_type(*{values.dtype for values, _ in times()})
    values = Column(lambda: (values.astype(dtype, copy=False) for values, _ in times()))
    (first,) = at_ranks(values, len(among), [len(among) - count]).tolist()
    same = np.concatenate([numbers[values == first] for values, numbers in times()])
    later = sum(int((values > first).sum()) for values, _ in times())
    number = same[len(same) - (count - later)]

    def held(block: Table) -> Mask:
        values = read_times(block, name, form)
        return np.asarray((values > first) | ((values == first) & (_numbers(block) >= number)))

    return Rule((name,), held)


@dataclass(frozen=True)
class Weights:
    """The weights of rows: their column, and how it is written in all of a table."""

    column: str
    form: NumberForm

    def read(self, block: Table) -> NDArray[np.float64]:
        """Return those of a block, (rows,)."""
        return read_weights(block, self.column, self.form)


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a large table that have an answer and are of one part; it is a table of them to those who fit to it.

    Attributes
    ----------
    table : LargeTable
    target : Target
    weights : Weights or None
    rules : tuple of Rule
        Each says which of the rows that those before have left are held out.
    which : int
        The rule that holds these rows out; as many as there are rules: those that are left.
    """

    table: LargeTable
    target: Target
    weights: Weights | None = None
    rules: tuple[Rule, ...] = ()
    which: int = 0

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.table.name

    @property
    def read_as(self) -> str:
        """What was found out."""
        return self.table.read_as

    @property
    def decimal(self) -> str:
        """The decimal mark."""
        return self.table.decimal

    @property
    def index(self) -> tuple[str, ...]:
        """Columns that number the rows."""
        return self.table.index

    @property
    def column_names(self) -> list[str]:
        """The names of all columns."""
        return self.table.column_names

    @property
    def names(self) -> list[str]:
        """The names of the columns, but for those of the index."""
        return self.table.names

    @property
    def schema(self) -> Any:
        """Names and types of all columns."""
        return self.table.schema

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def where(self, row: int) -> str:
        """Say where a row of the table is."""
        return self.table.where(row)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Table]:
        """Yield these rows, block by block, of all columns or of some."""
        for block in range(len(self.table.sizes)):
            found = self.table.read(block, columns)
            rows = self._rows(block)
            yield found if len(rows) == len(found) else found.take(rows)

    def read(self, block: int, columns: Sequence[str]) -> tuple[Table, NDArray[Any]]:
        """Read these rows of a block of the table, of some columns; return them, and their answers."""
        found = self.table.read(block, list(dict.fromkeys([*columns, *self.target.columns])))
        found = found.take(self._rows(block))
        return found, self.target.read(found).y

    def _rows(self, block: int) -> NDArray[np.intp]:
        """Return which rows of a block these are."""
        return np.flatnonzero(np.unpackbits(self._found.chosen[block], count=int(self.table.sizes[block])))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many of the rows of each block are of this part."""
        return self._found.answers.sizes

    @property
    def answers(self) -> AnswerFacts:
        """What there is of their answers."""
        return self._found.answers

    @cached_property
    def _found(self) -> "_Found":
        """Look at all rows once: for each a bit is kept."""
        needed = [*self.target.columns, *(name for rule in self.rules for name in rule.columns)]
        facts, chosen = AnswerFacts(self.target), []
        for block in self.table.blocks(list(dict.fromkeys(needed))):
            y, rows = self.target.read(block)
            part = np.full(len(block), len(self.rules))
            for i, rule in reversed(list(enumerate(self.rules))):
                part[rule.held(block)] = i
            ours = part[rows] == self.which
            mask = np.zeros(len(block), bool)
            mask[rows[ours]] = True
            chosen.append(np.packbits(mask))
            facts.add(y[ours])
        return _Found(facts, chosen)


class _Found(NamedTuple):
    """What is known of a part's rows: their answers, and of each block in bits which rows they are."""

    answers: AnswerFacts
    chosen: list[NDArray[np.uint8]]


def find_weights(table: LargeTable, name: str, target: Target) -> Weights:
    """Return the weights in a column; TableError if one is none, or all that count are 0."""
    weights, rows, total = Weights(name, weight_form(table, name)), 0, 0.0
    for block in table.blocks(list(dict.fromkeys([name, *target.columns]))):
        of_each = weights.read(block)[target.read(block).rows]
        rows, total = rows + len(of_each), total + of_each.sum()
    if rows and not total:
        raise TableError(table.name, [Trouble(f"--weight {name!r}", "is 0 in each row that has an answer")])
    return weights


def parted(whole: Part, fractions: Sequence[tuple[float, int]], columns: ColumnOptions) -> list[Part]:
    """Hold parts out of rows, each of those that are left: by groups, by times, or by the numbers of rows.

    Parameters
    ----------
    whole : Part
    fractions : sequence of (float, int)
        Of each part, and the seed that it depends on.
    columns : ColumnOptions
        Of which ``group`` and ``time`` decide.

    Returns
    -------
    parts : list of Part
        Those that are held out, and at last the rows that are left.

    Raises
    ------
    ValueError
        If a part would be empty.
    """
    table, left = whole.table, whole
    for i, (fraction, seed) in enumerate(fractions):
        seed = 2 * seed + i  # so that parts of one seed are not of the same rows
        if columns.group is not None:
            rule = by_group(table, columns.group, fraction, seed)
        elif columns.time is not None:
            rule = by_time(table, columns.time, fraction, left)
        else:
            rule = by_number(fraction, seed)
        left = replace(left, rules=(*left.rules, rule), which=i + 1)
    parts = [replace(left, which=i) for i in range(len(fractions) + 1)]
    if not all(map(len, parts)):
        by = "" if columns.group is None else f" by --group {columns.group!r}"
        sizes = ", ".join(str(len(part)) for part in parts)
        raise ValueError(f"{table.name}: its {len(whole)} rows cannot be parted{by}: the parts would have {sizes} rows")
    return parts


def _numbers(block: Table) -> NDArray[np.uint64]:
    assert block.rows is not None  # a block of a large table
    return block.rows.astype(np.uint64)


def _part(keys: NDArray[np.uint64], seed: int) -> NDArray[np.float64]:
    """Return a number from 0 to below 1 for each key: the first bits of SplitMix64."""
    z = keys + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2.0**53
