"""What is predicted: classes or quantities, by stated rules, and which rows have an answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.column import Column
from fastbp.data.columns.forms import form_from
from fastbp.data.columns.labels import LabelForm, find_labels, has_labels, labelled
from fastbp.data.columns.numbers import NumberForm, find_numbers
from fastbp.data.columns.options import meant
from fastbp.data.columns.survey import (
    MOST_LABELS,
    count_distinct,
    first_of,
    known_values,
    survey,
    survey_labels,
)
from fastbp.data.columns.values import Read, column_of, is_numeric, is_text, plain
from fastbp.data.reading.table import AnyTable, Table, TableError, Trouble

if TYPE_CHECKING:
    import pyarrow

    Arrays = Column[pyarrow.Array]

Task = Literal["classification", "regression"]

# Whole numbers are classes if there are two of them, or up to so many within such a range, on so many rows each
MOST_CLASSES, LARGEST_RANGE, ROWS_OF_CLASS = 20, 100, 2


class Answers(NamedTuple):
    """What rows should be answered with.

    y : ndarray of int64, (answered rows,), or of float64, (answered rows, outputs)
        Places in `Target.classes`, or quantities.
    rows : ndarray of intp, (answered rows,)
        Which rows of the table have an answer, in their order.
    """

    y: NDArray[Any]
    rows: NDArray[np.intp]


@dataclass(frozen=True)
class Target:
    """The columns to predict.

    Attributes
    ----------
    columns : tuple of str
        One, or several of quantities.
    task : {"classification", "regression"}
    why : str
        The rule that decided, in words.
    forms : tuple of LabelForm or NumberForm
        How each is read.
    classes : tuple of str
        As they stood in the table, in the order of the outputs: by size if they are numbers, else sorted.
    names : tuple of str
        What they are compared as: ``"1"`` of ``"1.0"``.
    missing : int
        In how many rows an answer was missing.
    decimal : {".", ","}
        The decimal mark of the table.
    """

    columns: tuple[str, ...]
    task: Task
    why: str
    forms: tuple[LabelForm | NumberForm, ...]
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    missing: int = 0
    decimal: str = "."

    def read(self, table: Table) -> Answers:
        """Read the answers of a table, the one of training or another.

        Raises
        ------
        TableError
            If columns are missing, or hold other classes or no numbers, all of them named.
        """
        troubles: list[Trouble] = _not_there(self.columns, table)
        if troubles:
            raise TableError(table.name, troubles)
        found = []
        for name, form in zip(self.columns, self.forms, strict=True):
            column = plain(table.columns.column(name))
            if isinstance(form, LabelForm):
                y, unknown = self._classes_of(form.of_decimal(self.decimal, table.decimal), column)
                if unknown:
                    what = f"has classes that training did not: {labelled(unknown)}; it had {labelled(self.classes)}"
                    troubles.append(Trouble(f"column {name!r}", what))
            else:
                read = form.of_decimal(self.decimal, table.decimal).read(column)
                y = np.where(read.missing, np.nan, read.values.astype(np.float64))
                wrong = read.wrong | np.isinf(y)
                if wrong.any():
                    row = int(np.argmax(wrong))
                    troubles.append(_no_number(name, table, row, column[row].as_py(), int(wrong.sum())))
            found.append(y)
        if troubles:
            raise TableError(table.name, troubles)
        if self.task == "classification":
            (codes,) = found
            rows = np.flatnonzero(codes >= 0)
            return Answers(codes[rows], rows)
        quantities = np.stack(found, axis=1)
        rows = np.flatnonzero(~np.isnan(quantities).any(axis=1))
        return Answers(quantities[rows], rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, which `from_dict` turns back."""
        forms = [form.to_dict() for form in self.forms]
        lists = {name: list(getattr(self, name)) for name in ("columns", "classes", "names")}
        rest = {name: getattr(self, name) for name in ("task", "why", "missing", "decimal")}
        return {"forms": forms, **rest, **lists}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Make the target that `to_dict` described; ValueError if it does not describe one."""
        try:
            lists: dict[str, Any] = {name: tuple(state[name]) for name in ("columns", "classes", "names")}
            forms = tuple(form_from(form, LabelForm, NumberForm) for form in state["forms"])
            rest: dict[str, Any] = {name: state[name] for name in ("task", "why", "missing", "decimal")}
            target = cls(forms=forms, **rest, **lists)
            kind = {"classification": LabelForm, "regression": NumberForm}[target.task]
            right = (
                all(type(text) is str for texts in (*lists.values(), (target.why,)) for text in texts)
                and type(target.missing) is int
                and target.decimal in (".", ",")
                and len(forms) == len(target.columns) >= 1
                and all(type(form) is kind for form in forms)
                and len(target.classes) == len(set(target.names)) == len(target.names)
                and (len(target.classes) > 1) == (target.task == "classification")
                and (len(forms) == 1 or target.task == "regression")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"a target's state is damaged: {error!r}") from None
        if not right:
            raise ValueError("a target's state is damaged: its columns, forms and classes do not fit together")
        return target

    def _classes_of(self, form: LabelForm, column: "pyarrow.Array") -> tuple[NDArray[np.int64], list[str]]:
        labels = form.read(column)
        place = {name: i for i, name in enumerate(self.names)}
        codes = np.array([place.get(name, -1) for name in labels.names] + [-1], np.int64)[labels.codes]
        return codes, [stood for name, stood in zip(labels.names, labels.stood, strict=True) if name not in place]


def find_target(table: AnyTable, columns: Sequence[str], task: str | None = None) -> Target:
    """Find whether columns hold classes or quantities, if `task` does not say it.

    Raises
    ------
    TableError
        If nothing can be learnt from them: all that is wrong, of all of them.
    """
    if task not in (None, "classification", "regression"):
        raise ValueError(f"task should be 'classification' or 'regression', got {task!r}")
    if not columns or isinstance(columns, str):
        raise TypeError(f"find_target expects a sequence of names of columns, got {columns!r}")
    troubles = _not_there(columns, table)
    if troubles:
        raise TableError(table.name, troubles)
    found = []
    for name in columns:
        try:
            found.append(_find_one(name, table, task))
        except TableError as error:
            troubles += error.troubles
    if len(columns) > 1:
        troubles += [
            Trouble(f"target {target.columns[0]!r}", f"has classes ({target.why}); several targets are quantities",
                    "--task regression" if _are_numbers(target) else "")
            for target in found
            if target.task == "classification"
        ]  # fmt: skip
    if troubles:
        raise TableError(table.name, troubles)
    if len(columns) == 1:
        return found[0]
    why = "; ".join(f"{target.columns[0]}: {target.why}" for target in found)
    forms = tuple(form for target in found for form in target.forms)
    target = Target(tuple(columns), "regression", why, forms, decimal=table.decimal)
    missing = len(table) - sum(len(target.read(block).rows) for block in table.blocks(columns))
    if missing == len(table):
        raise TableError(table.name, [Trouble("targets", "have no row in which none is missing")])
    return replace(target, missing=missing)


def _find_one(name: str, table: AnyTable, task: str | None) -> Target:
    column = column_of(table, name)
    where = f"target {name!r}"
    if not (has_labels(column.type) or is_numeric(column.type)):
        raise TableError(table.name, [Trouble(where, f"holds {column.type}, neither classes nor quantities")])
    quantity = _why_quantity(column, table) if task is None else "--task regression" * (task == "regression")
    if quantity:
        return _quantity(name, table, column, quantity)
    if task is None:
        _refuse_no_classes(name, table, column)
    form = find_labels(column, table.decimal)
    labels = survey_labels(column.map(form.read))
    if labels.too_many:
        raise TableError(table.name, [Trouble(where, f"holds no classes: more than {MOST_LABELS} values")])
    _check_several(where, table, len(labels.names), labelled(labels.stood, 1))
    missing = labels.missing
    if task is None and len(labels.names) == len(table) - missing > 2:
        what = f"holds no classes: its {len(labels.names)} values all differ, such as {labelled(labels.stood, 1)}"
        raise TableError(table.name, [Trouble(where, what, "--task classification")])
    stood = dict(zip(labels.names, labels.stood, strict=True))
    names = form.in_order(labels.names)
    kinds = {"text": "text", "number": "few whole numbers", "boolean": "booleans"}
    why = "--task classification" if task else kinds[form.words]
    classes = tuple(stood[each] for each in names)
    return Target((name,), "classification", why, (form,), classes, names, missing, table.decimal)


def _quantity(name: str, table: AnyTable, column: "Arrays", why: str) -> Target:
    form = NumberForm(table.decimal)
    if is_text(column.type):
        form = find_numbers(column, table.decimal).form or form
    elif not (is_numeric(column.type) or str(column.type) == "bool"):
        raise TableError(table.name, [Trouble(f"target {name!r}", f"holds {column.type}, no numbers")])
    _check_numbers(name, table, column, lambda block: _no_quantity(form.read(block)))
    found = survey(column.map(form.read))
    values = 2 if found.known and found.low < found.high else min(found.known, 1)
    _check_several(f"target {name!r}", table, values, f"{found.low:g}" if found.known else "")
    why += f", each with {form.unit!r}" * bool(form.unit)
    return Target((name,), "regression", why, (form,), missing=found.missing, decimal=table.decimal)


def _why_quantity(column: "Arrays", table: AnyTable) -> str:
    """Say why numbers are a quantity; "" if they are classes, or no numbers."""
    form = NumberForm(table.decimal)
    if is_text(column.type):
        numbers = find_numbers(column, table.decimal)
        if numbers.form is None or numbers.readable < numbers.known or numbers.doubt:
            return ""
        form = numbers.form
    elif not is_numeric(column.type):
        return ""
    reads = column.map(form.read)
    found = survey(reads)
    if not found.known:
        return ""
    if not found.whole:
        return "numbers with fractions"
    values = count_distinct(known_values(reads, found.dtype), found.known)
    if values <= 2:
        return ""
    if values > MOST_CLASSES:
        return f"{values} whole numbers, more than {MOST_CLASSES}"
    if float(found.high) - float(found.low) >= LARGEST_RANGE:
        return f"whole numbers from {found.low:g} to {found.high:g}, far apart"
    if found.known < ROWS_OF_CLASS * values:
        return f"{values} whole numbers in {found.known} rows"
    return ""


def _refuse_no_classes(name: str, table: AnyTable, column: "Arrays") -> None:
    """Refuse times, many numbers with text among them, and numbers that may be written in two ways."""
    if str(column.type).startswith(("timestamp", "date")):
        trouble = Trouble(f"target {name!r}", f"holds {column.type}, no quantity", "--task classification")
        raise TableError(table.name, [trouble])
    if not is_text(column.type):
        return
    numbers = find_numbers(column, table.decimal)
    if numbers.form is None or not _has_many(column):
        return
    form = numbers.form
    if numbers.readable < numbers.known < 2 * numbers.readable:
        _check_numbers(name, table, column, lambda block: form.read(block).wrong)
    if numbers.readable == numbers.known and form.thousands:
        raise TableError(table.name, [Trouble(f"target {name!r}", numbers.doubt, "--task regression or --decimal ,")])


def _has_many(column: "Arrays") -> bool:
    """Tell whether a column has more values than whole numbers that are classes."""
    import pyarrow.compute as pc

    found: set[str] = set()
    for block in column:
        found.update(pc.unique(pc.drop_null(block))[: MOST_CLASSES + 1].to_pylist())
        if len(found) > MOST_CLASSES:
            return True
    return False


def _no_quantity(read: Read) -> NDArray[np.bool_]:
    return read.wrong | (~read.missing & np.isinf(read.values))


def _check_numbers(name: str, table: AnyTable, column: "Arrays", wrong: Callable[[Any], NDArray[np.bool_]]) -> None:
    """Raise the error of the first row that is wrong, if there is one."""
    row, value, count = first_of(column, wrong)
    if count:
        raise TableError(table.name, [_no_number(name, table, row, value, count)])


def _no_number(name: str, table: AnyTable, row: int, value: Any, count: int) -> Trouble:
    told = f"should hold finite numbers, got {value!r} in {table.where(row)}" + f" and {count - 1} more" * (count > 1)
    return Trouble(f"target {name!r}", told, f"--missing {value}" if isinstance(value, str) else "")


def _check_several(where: str, table: AnyTable, values: int, only: str) -> None:
    if values == 0:
        raise TableError(table.name, [Trouble(where, "has no value in any row")])
    if values == 1:
        raise TableError(table.name, [Trouble(where, f"is {only} in each row that has one: there is nothing to learn")])


def _are_numbers(target: Target) -> bool:
    return all(isinstance(form, LabelForm) and form.words == "number" for form in target.forms)


def _not_there(columns: Sequence[str], table: AnyTable) -> list[Trouble]:
    names = table.column_names
    return [Trouble("", f"has no column {name!r}{meant(name, names)}") for name in columns if name not in names]
