"""The features of a network, made of the columns of a table in the same way in training and ever after."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp.data.columns.column import Column
from fastbp.data.columns.encoding import USUAL, Encoding
from fastbp.data.columns.features import KINDS, CategoryColumn, FeatureColumn, Outputs
from fastbp.data.columns.options import meant
from fastbp.data.columns.roles import Role, features_of
from fastbp.data.columns.scale import Scale
from fastbp.data.columns.values import column_of, is_text, plain
from fastbp.data.reading.table import AnyTable, Table, TableError, Trouble

if TYPE_CHECKING:
    import pyarrow

VERSION = 1
BLOCK = 1 << 15  # rows that are read at a time


@dataclass(frozen=True, eq=False)
class Encoder:
    """Columns of a table as (rows, features) of float32.

    First come the scaled numbers of all columns, then what is of a fixed size (is it missing, which of a few values,
    cycles), then the codes of categories that have an embedding; each in the order of the columns.

    Attributes
    ----------
    columns : tuple of NumberColumn, CategoryColumn, TimeColumn
    decimal : {".", ","}
        The decimal mark of the table that it was fitted to.
    flag_scales : tuple of Scale
        Of each feature of a fixed size, where those are scaled as well; else there are none.

    Examples
    --------
    >>> import pyarrow
    >>> from fastbp.data.reading.table import Table
    >>> from fastbp.data.columns.roles import find_roles
    >>> colours = pyarrow.table({"size": ["1", "5", "3", None], "colour": ["red", "blue", "red", "red"]})
    >>> table = Table(colours, "colours.csv")
    >>> encoder = Encoder.fit(table, find_roles(table))
    >>> encoder.feature_names
    ('size', 'size missing', 'colour=red')
    >>> encoder.transform(table)
    array([[-0.94868,  0.     ,  1.     ],
           [ 0.94868,  0.     , -1.     ],
           [ 0.     ,  0.     ,  1.     ],
           [ 0.     ,  1.     ,  1.     ]], dtype=float32)
    """

    columns: tuple[FeatureColumn, ...]
    decimal: str = "."
    flag_scales: tuple[Scale, ...] = ()

    @classmethod
    def fit(
        cls, table: AnyTable, roles: Sequence[Role], rows: NDArray[np.intp] | None = None, encoding: Encoding = USUAL
    ) -> Self:
        """Fit to the training rows of a table; without `rows` to all.

        Raises
        ------
        TableError
            If no column is a feature: it says what each is.
        """
        chosen = list(features_of(tuple(roles)))
        if not chosen or len(table) == 0 or (rows is not None and len(rows) == 0):
            why = [Trouble(f"column {role.column!r}", f"is none: {role.why}") for role in roles]
            raise TableError(
                table.name, [Trouble("", "has no feature to learn from" if not chosen else "has no rows"), *why]
            )
        columns, scales = [], []
        for role in chosen:
            values = column_of(table, role.column)
            values = values if rows is None else values.map(lambda block: block.take(rows))
            column = KINDS["category" if role.kind == "boolean" else role.kind].fit(role, values, encoding)
            columns.append(column)
            if encoding.scaled_flags:
                scales += _flag_scales(column, values)
        return cls(tuple(columns), table.decimal, tuple(scales))

    @cached_property
    def _outputs(self) -> list[Outputs]:
        return [column.outputs for column in self.columns]

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """What each feature is called: ``"age"``, ``"age missing"``, ``"colour=red"``, ``"date hour sin"``."""
        codes = [column.column for column in self.columns if column.outputs.codes]
        return (
            *(name for outputs in self._outputs for name in outputs.numbers),
            *(name for outputs in self._outputs for name in outputs.flags),
            *codes,
        )

    @cached_property
    def numbers(self) -> int:
        """How many of the first features are scaled numbers."""
        return sum(len(outputs.numbers) for outputs in self._outputs)

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """How many codes there are of each category with an embedding, as `fastbp.Embedding` takes them."""
        return tuple(outputs.codes for outputs in self._outputs if outputs.codes)

    @cached_property
    def code_columns(self) -> tuple[int, ...]:
        """Which features are codes: the last ones."""
        count = len(self.feature_names)
        return tuple(range(count - len(self.cardinalities), count))

    def transform(
        self, table: Table, *, dtype: DTypeLike = np.float32, unseen: Counter[str] | None = None
    ) -> NDArray[Any]:
        """Return the features of all rows, in their order.

        Parameters
        ----------
        table : Table
            Columns in any order; those that were no features of training are not looked at.
        dtype : {float32, float64}
            Of the features.
        unseen : Counter, optional
            Receives how many rows have a value that training did not, for each column where some do.

        Returns
        -------
        x : ndarray, (rows, features)

        Raises
        ------
        TableError
            That names each column that is missing, is of another kind, or holds what cannot be read.
        """
        sources = self._sources(table)
        x = np.zeros((len(table), len(self.feature_names)), dtype)
        wrong: dict[str, tuple[int, int]] = {}
        forms = [column.form.of_decimal(self.decimal, table.decimal) for column in self.columns]
        for start in range(0, len(table), BLOCK):
            rows = x[start : start + BLOCK]
            number, flag, code = 0, self.numbers, len(self.feature_names) - len(self.cardinalities)
            for column, form, source in zip(self.columns, forms, sources, strict=True):
                block, places = _block(column, source.slice(start, BLOCK))
                found = column.encode(block, form)  # type: ignore[arg-type]  # its own form
                for values in found.numbers:
                    rows[:, number] = values[places]
                    number += 1
                for values in found.flags:
                    rows[:, flag] = self._scaled(values, flag - self.numbers)[places]
                    flag += 1
                if found.code is not None:
                    rows[:, code] = found.code[places]
                    code += 1
                if found.wrong is not None and found.wrong.any():
                    first, count = wrong.get(column.column, (start + int(np.argmax(found.wrong)), 0))
                    wrong[column.column] = first, count + int(found.wrong.sum())
                if unseen is not None and found.unseen is not None and found.unseen.any():
                    unseen[column.column] += int(found.unseen[places].sum())
        if wrong:
            raise TableError(table.name, [self._unreadable(table, name, *where) for name, where in wrong.items()])
        return x

    def _scaled(self, values: NDArray[Any], flag: int) -> NDArray[Any]:
        if not self.flag_scales:
            return values
        if values.dtype == bool:
            return np.asarray(np.where(values, *self._on_and_off[flag]))
        return self.flag_scales[flag].apply(values.astype(np.float64))

    @cached_property
    def _on_and_off(self) -> list[NDArray[np.float64]]:
        """What true and false become of each feature of a fixed size that is scaled."""
        return [scale.apply(np.array([1.0, 0.0])) for scale in self.flag_scales]

    def _sources(self, table: Table) -> "list[pyarrow.ChunkedArray]":
        """Return the columns, or raise the error that names all that do not fit."""
        import pyarrow as pa

        names, troubles, sources = table.columns.column_names, [], []
        for column in self.columns:
            name = column.column
            if name not in names:
                troubles.append(Trouble("", f"has no column {name!r}, which the model reads{meant(name, names)}"))
                continue
            source = table.columns.column(name)
            kind = source.type.value_type if pa.types.is_dictionary(source.type) else source.type
            if not (pa.types.is_null(kind) or column.takes(kind)):
                troubles.append(Trouble(f"column {name!r}", f"should hold a {column.kind}, got {source.type}"))
            sources.append(source)
        if troubles:
            raise TableError(table.name, troubles)
        return sources

    def _unreadable(self, table: Table, name: str, row: int, count: int) -> Trouble:
        kind = next(column.kind for column in self.columns if column.column == name)
        value = str(table.columns.column(name)[row].as_py()).strip()
        more = f" and {count - 1} more" * (count > 1)
        what = f"should hold a {kind}, got {value!r} in {table.where(row)}{more}"
        return Trouble(f"column {name!r}", what, f"--missing {value}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, which `from_dict` turns back without loss."""
        columns = [{"column": each.column, "kind": each.kind, **each.to_dict()} for each in self.columns]
        scales = [scale.to_dict() for scale in self.flag_scales]
        return {"version": VERSION, "decimal": self.decimal, "columns": columns, "flag_scales": scales}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Make the encoder that `to_dict` described.

        Raises
        ------
        ValueError
            If it is of a newer version, or damaged.
        """
        if not isinstance(state, Mapping) or type(state.get("version")) is not int:
            raise ValueError("an encoder's state is damaged: it has no version")
        if state["version"] != VERSION:
            raise ValueError(f"the encoder is of version {state['version']}, and this fastbp reads version {VERSION}")
        columns, where = [], ""
        try:
            for each in state["columns"]:
                where = f" in column {each['column']!r}"
                columns.append(KINDS[each["kind"]].from_dict(each["column"], each))
            names = [column.column for column in columns]
            if not columns or len(set(names)) < len(names) or any(type(name) is not str for name in names):
                raise ValueError("names of columns should be texts that differ")
            if state["decimal"] not in (".", ","):
                raise ValueError(f"decimal should be '.' or ',', got {state['decimal']!r}")
            scales = tuple(map(Scale.from_dict, state.get("flag_scales", ())))  # those of earlier versions have none
            if scales and len(scales) != sum(len(column.outputs.flags) for column in columns):
                raise ValueError("there should be a scale for each feature of a fixed size")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"an encoder's state is damaged{where}: {error}") from None
        return cls(tuple(columns), state["decimal"], scales)


def _block(column: FeatureColumn, rows: "pyarrow.ChunkedArray") -> "tuple[pyarrow.Array, slice | NDArray[np.int64]]":
    """Return values of a column, and which of them each row has: of text that is a category each value once."""
    import pyarrow as pa

    coded = pa.types.is_dictionary(rows.type)
    kind = rows.type.value_type if coded else rows.type
    if not (isinstance(column, CategoryColumn) and column.form.words != "number" and is_text(kind)):
        return plain(rows), slice(None)
    rows = rows.unify_dictionaries() if coded else rows.dictionary_encode()
    values = rows.chunk(0).dictionary if rows.num_chunks else pa.array([], kind)
    places = [chunk.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False) for chunk in rows.chunks]
    return plain(pa.concat_arrays([values, pa.nulls(1, kind)])), np.concatenate([np.empty(0, np.int64), *places])


def _flag_scales(column: FeatureColumn, values: Column[Any]) -> list[Scale]:
    """Return the scale of each feature of a fixed size that a column has."""

    def flag(of: int) -> Column[NDArray[np.float64]]:
        form: Any = column.form
        return values.map(lambda block: column.encode(block, form).flags[of].astype(np.float64))

    return [Scale.fit(flag(of)) for of in range(len(column.outputs.flags))]
