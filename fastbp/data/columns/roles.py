"""The rules by which each column of a table becomes a feature, or is left out, with the reason in words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fastbp.data.columns.column import Column
from fastbp.data.columns.dates import OF_DAY, TimeForm, find_times
from fastbp.data.columns.labels import LabelForm, find_labels, has_labels, labelled
from fastbp.data.columns.numbers import NumberForm, find_numbers
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.survey import (
    MOST_LABELS,
    Numbers,
    count_distinct,
    first_of,
    known_values,
    survey,
    survey_labels,
)
from fastbp.data.columns.values import Read, column_of, is_numeric, is_text
from fastbp.data.reading.table import AnyTable, TableError, Trouble

if TYPE_CHECKING:
    import pyarrow

    Arrays = Column[pyarrow.Array]

Kind = Literal["number", "boolean", "category", "time", "left out", "target", "weight", "group"]
FEATURES: tuple[Kind, ...] = ("number", "boolean", "category", "time")

MOST_ONE_HOT = 9  # values of a category that has a column for each
ROWS_OF_FEW, ROWS_OF_MANY = 2, 5  # on which a value of text stands on average, of up to 9 values, and of more
_ID_NAME = re.compile(r"(?:^|[\W_])(?:id|idx|index|uuid|guid|key|row(?:[\W_]?(?:id|number|names?))?)$", re.IGNORECASE)
_ID_IN_CAPITALS = re.compile(r"[a-z](?:Id|ID)$")


@dataclass(frozen=True)
class Role:
    """What a column is, and why.

    Attributes
    ----------
    column : str
    kind : {"number", "boolean", "category", "time", "left out", "target", "weight", "group"}
    why : str
        The rule that decided, in words.
    form : NumberForm, LabelForm or TimeForm, optional
        How its values are read.
    missing : int
        In how many rows it has no value.
    values : int
        How many a category has.
    """

    column: str
    kind: Kind
    why: str
    form: NumberForm | LabelForm | TimeForm | None = None
    missing: int = 0
    values: int = 0


def find_roles(table: AnyTable, options: ColumnOptions | None = None) -> tuple[Role, ...]:
    """Find what each column of a table is, in their order; with `features`, those come first, in the order given.

    Raises
    ------
    TableError
        That names all that does not fit in the options.
    """
    options = options or ColumnOptions()
    options.check(table)
    roles: list[Role] = []
    seen: dict[bytes, str] = {}
    troubles: list[Trouble] = []
    for name in sorted(table.column_names, key=lambda name: _place(name, options)):
        role = _said(name, table, options)
        if role is None:
            try:
                role, digest = _judged(name, table, options)
            except TableError as error:
                troubles += error.troubles
                continue
            if role.kind in FEATURES:
                same = seen.setdefault(digest, name)
                if same != name:
                    role = Role(name, "left out", f"the same values as column {same!r}", missing=role.missing)
        roles.append(role)
    if troubles:
        raise TableError(table.name, troubles)
    if not any(role.kind in FEATURES for role in roles):  # then what counts the rows is better than nothing
        roles = [replace(r, kind="number", why=f"numbers; {r.why}, but there is nothing else") if r.form and
                 r.kind == "left out" else r for r in roles]  # fmt: skip
    return tuple(roles)


def features_of(roles: tuple[Role, ...]) -> Iterator[Role]:
    """Yield the roles of the columns that are learnt from."""
    return (role for role in roles if role.kind in FEATURES)


def _place(name: str, options: ColumnOptions) -> int:
    return options.features.index(name) if name in options.features else len(options.features)


def _said(name: str, table: AnyTable, options: ColumnOptions) -> Role | None:
    """Return the role of a column that needs no rule."""
    if name in options.target:
        return Role(name, "target", "--target")
    if name == options.weight:
        return Role(name, "weight", "--weight: no feature")
    if name == options.group:
        return Role(name, "group", "--group: no feature")
    if name in options.drop:
        return Role(name, "left out", "--drop")
    if options.features and name not in options.features:
        return Role(name, "left out", "not among --features")
    if name in table.index and name not in options.features:
        return Role(name, "left out", "an index: it numbers the rows")
    return None


def _judged(name: str, table: AnyTable, options: ColumnOptions) -> tuple[Role, bytes]:
    """Return the role by the rules, and what tells columns of different values apart."""
    import pyarrow as pa

    raw = table.schema.field(name).type
    try:
        column = column_of(table, name)
        known = any(block.null_count < len(block) for block in column)
    except (pa.ArrowInvalid, UnicodeError):
        way = f"{options.dashes}drop {name}"
        raise TableError(table.name, [Trouble(f"column {name!r}", "should hold text in UTF-8", way)]) from None
    if name in options.categorical:
        return _category(name, table, column, f"{options.dashes}categorical")
    if name in options.numeric:
        return _numeric(name, table, column, f"{options.dashes}numeric")
    if pa.types.is_null(column.type) or not known:
        return Role(name, "left out", "no value in any row", missing=len(table)), b""
    if is_text(column.type) and not pa.types.is_dictionary(raw):
        return _text(name, table, column)
    if pa.types.is_dictionary(raw) and has_labels(column.type):
        return _category(name, table, column, "categories in the file", must_repeat=True)
    if pa.types.is_boolean(column.type):
        return _category(name, table, column, "")
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        zone = getattr(column.type, "tz", None) or ""
        return _time(name, column, TimeForm(zone=zone), f" of {zone}" if zone else "")
    if pa.types.is_time(column.type):
        return _time(name, column, TimeForm(OF_DAY), " of a day")
    if is_numeric(column.type):
        return _number(name, column.map(NumberForm().read), NumberForm(table.decimal), "numbers")
    return Role(name, "left out", f"{column.type} has no single values"), b""


def _text(name: str, table: AnyTable, column: "Arrays") -> tuple[Role, bytes]:
    """Judge text: numbers, dates, categories, or none of them."""
    found = find_numbers(column, table.decimal)
    if found.form is not None and found.readable == found.known and not found.doubt:
        return _number(name, column.map(found.form.read), found.form, _written(found.form, table))
    times = find_times(column)
    if times is not None:
        how = " of a day" if times.form.order == OF_DAY else f" written {times.form.order}"
        how += f", {times.doubt}" * bool(times.doubt)
        return _time(name, column, times.form, how)
    role, digest = _category(name, table, column, found.doubt, must_repeat=True)
    if role.kind == "left out" and found.doubt:
        return replace(role, why=f"{found.doubt}; {role.why}"), digest
    if role.kind == "left out" and 2 * found.readable > found.known and found.form is not None:
        row, value, _ = first_of(column, lambda block: found.form.read(block).wrong)  # type: ignore[union-attr]
        example = f"{value!r} in {table.where(row)}"
        why = f"text among numbers: {example}; --numeric {name} takes what is no number for missing"
        return replace(role, why=why), digest
    return role, digest


def _number(name: str, reads: Column[Read], form: NumberForm, how: str) -> tuple[Role, bytes]:
    found = survey(reads)
    low, high, missing = found.low, found.high, found.missing
    if not found.known:
        return Role(name, "left out", "no value in any row", missing=missing), found.digest
    if not missing:
        if low == high:
            return Role(name, "left out", f"constant: {low:g}"), found.digest
        if found.known > 1 and _counts_rows(name, reads, found):
            return Role(name, "left out", "counts the rows" if low in (0, 1) else "id-like: whole numbers, all differ",
                        form), found.digest  # fmt: skip
    return Role(name, "number", how, form, missing), found.digest


def _counts_rows(name: str, reads: Column[Read], found: Numbers) -> bool:
    """Tell whether values are 0 or 1 and up, each once, or by its name a column of whole numbers that all differ."""
    counting = found.low in (0, 1) and float(found.high) - float(found.low) == found.known - 1
    if not (counting or _ID_NAME.search(name) or _ID_IN_CAPITALS.search(name)):
        return False
    return found.whole and count_distinct(known_values(reads, found.dtype), found.known) == found.known


def _numeric(name: str, table: AnyTable, column: "Arrays", option: str) -> tuple[Role, bytes]:
    """Read what a user calls numbers; text that is none counts as missing."""
    import pyarrow as pa

    form = NumberForm(table.decimal)
    if is_text(column.type):
        form = replace(find_numbers(column, table.decimal).form or form, lenient=True)
    elif not (is_numeric(column.type) or pa.types.is_boolean(column.type)):
        raise TableError(table.name, [Trouble(option, f"names column {name!r}, which holds {column.type}")])
    found = survey(column.map(form.read))
    if not found.known:
        raise TableError(table.name, [Trouble(option, f"names column {name!r}, which holds no number")])
    lost = found.missing - sum(block.null_count for block in column)
    how = f"{option}: {lost} values that are no numbers count as missing" if lost and form.lenient else option
    return Role(name, "number", how, form, found.missing), found.digest


def _time(name: str, column: "Arrays", form: TimeForm, how: str) -> tuple[Role, bytes]:
    found = survey(column.map(form.read))
    low, high = found.low, found.high
    if low == high and not found.missing:
        return Role(name, "left out", f"constant: {form.written(low)}"), b""
    why = f"times{how}, from {form.written(low)} to {form.written(high)}"
    return Role(name, "time", why, form, found.missing), found.digest


def _category(
    name: str, table: AnyTable, column: "Arrays", why: str, *, must_repeat: bool = False
) -> tuple[Role, bytes]:
    """Judge labels; those of text should stand on several rows each."""
    if not has_labels(column.type):
        raise TableError(table.name, [Trouble(why, f"names column {name!r}, which holds {column.type}")])
    form = find_labels(column, table.decimal)
    found = survey_labels(column.map(form.read))
    values, missing, known = len(found.names), found.missing, found.known
    if values == 0:
        return Role(name, "left out", "no value in any row", missing=missing), b""
    if values == 1 and not missing:
        return Role(name, "left out", f"constant: {labelled(found.stood)}"), b""
    if found.too_many:
        if not must_repeat:
            what = f"names column {name!r}, of more than {MOST_LABELS} values; a table in memory may have them"
            raise TableError(table.name, [Trouble(why, what)])
        why = f"text of more than {MOST_LABELS} values, such as {labelled(found.stood, 1)}"
        return Role(name, "left out", why, missing=missing), b""
    if must_repeat and values == known:
        return Role(name, "left out", f"id-like: all values differ, such as {labelled(found.stood, 1)}",
                    missing=missing), b""  # fmt: skip
    if must_repeat and known < values * (ROWS_OF_FEW if values <= MOST_ONE_HOT else ROWS_OF_MANY):
        why = f"text of {values} values in {known} rows, such as {labelled(found.stood[:1])}; --categorical {name}"
        return Role(name, "left out", f"{why} takes it", missing=missing), b""
    kind: Kind = "boolean" if form.words == "boolean" else "category"
    told = f"{labelled(found.stood)}" if values <= MOST_ONE_HOT else f"{values} values"
    return Role(name, kind, f"{why}: {told}" if why else told, form, missing, values), found.digest


def _written(form: NumberForm, table: AnyTable) -> str:
    mark = f", {form.thousands!r} between thousands" if form.thousands else ""
    mark += f", {form.decimal!r} before decimals" * (form.decimal != table.decimal)
    return f"numbers{mark}" + f", each with {form.unit!r}" * bool(form.unit)
