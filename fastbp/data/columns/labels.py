"""Values of a column as labels: of categories, classes and groups."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.column import Column
from fastbp.data.columns.numbers import EXACT, LEADING_ZERO, NumberForm, other_mark
from fastbp.data.columns.values import AMONG_NUMBERS, is_numeric, is_text, plain, without

if TYPE_CHECKING:
    import pyarrow

Words = Literal["text", "number", "boolean"]
# What says yes and no: a column is one of booleans if it has both words of one of these pairs, and no other
BOOLEANS = (("true", "false"), ("t", "f"), ("yes", "no"), ("y", "n"), ("on", "off"))
_PLAIN_NUMBER = r"^(?:0|-?[1-9]\d{0,14})$"  # whole, and written as `number_name` does
MOST_SPELLINGS = 8  # of two words: YES, Yes, yes ...
_YES = {yes: "true" for yes, _ in (*BOOLEANS, ("1", "0"))}
_NO = {no: "false" for _, no in (*BOOLEANS, ("1", "0"))}


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of rows.

    Attributes
    ----------
    codes : ndarray of int64, (rows,)
        Which of the names a row has; -1 where it has none.
    names : tuple of str
        The labels, in the order of their first rows. What means the same has one name: ``"1"`` of 1, 1.0 and ``"1.0"``.
    stood : tuple of str
        The first text of each, as it stood.
    """

    codes: NDArray[np.int64]
    names: tuple[str, ...]
    stood: tuple[str, ...]


@dataclass(frozen=True)
class LabelForm:
    """What the labels of a column are: text, numbers or booleans, of which each may be written in several ways.

    Attributes
    ----------
    words : {"text", "number", "boolean"}
    decimal : {".", ","}
        Of numbers.
    """

    words: Words = "text"
    decimal: str = "."

    def read(self, column: "pyarrow.Array") -> Labels:
        """Read a `plain` column of any type that has labels."""
        import pyarrow.compute as pc

        if is_text(column.type):
            coded = (without(column, AMONG_NUMBERS) if self.words == "number" else column).dictionary_encode()
        else:
            coded = _distinct_text(column)
        codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        stood = coded.dictionary.to_pylist()
        names = self._names(coded.dictionary, stood)
        if names is stood:
            return Labels(codes, tuple(stood), tuple(stood))
        first = dict(zip(reversed(names), reversed(stood), strict=True))
        place = {name: i for i, name in enumerate(dict.fromkeys(names))}
        codes = np.array([place[name] for name in names] + [-1])[codes]
        return Labels(codes, tuple(place), tuple(first[name] for name in place))

    def of_decimal(self, known: str, now: str) -> "LabelForm":
        """Return the same form for a table with this decimal mark in place of that of the one it was found in."""
        return self if known == now else LabelForm(self.words, other_mark(self.decimal))

    def in_order(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return names of labels by size if they are numbers, else sorted."""
        return tuple(sorted(sorted(names), key=float if self.words == "number" else None))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"form": "label", **asdict(self)}

    def _names(self, texts: "pyarrow.Array", stood: list[str]) -> list[str]:
        """Return the names of distinct texts: the same list if each stands as its name already."""
        import pyarrow.compute as pc

        if self.words == "boolean":
            small = (text.lower() for text in stood)
            return [_YES.get(word) or _NO.get(word) or text for word, text in zip(small, stood, strict=True)]
        if self.words == "text" or pc.all(pc.match_substring_regex(texts, _PLAIN_NUMBER)).as_py():
            return stood
        read = NumberForm(self.decimal).read(texts)
        wrong = read.wrong | read.missing
        return [text if no else number_name(v) for text, no, v in zip(stood, wrong, read.values.tolist(), strict=True)]


def find_labels(column: "pyarrow.Array | Column[pyarrow.Array]", decimal: str) -> LabelForm:
    """Find what the labels of a `plain` column are. Codes such as "00501" are no numbers."""
    import pyarrow.compute as pc

    column = Column.of(column)
    if not is_text(column.type):
        return LabelForm("boolean" if str(column.type) == "bool" else "number" if is_numeric(column.type) else "text")
    distinct = column.map(lambda block: pc.unique(pc.drop_null(block)))
    spellings: set[str] = set()
    for block in distinct:
        spellings.update(block[: MOST_SPELLINGS + 1].to_pylist())
        if len(spellings) > MOST_SPELLINGS:
            break
    else:
        words = {word.lower() for word in spellings}
        if any(words == set(pair) for pair in BOOLEANS):
            return LabelForm("boolean")
    known, form = 0, NumberForm(decimal)
    for block in distinct:
        block = pc.drop_null(without(block, AMONG_NUMBERS))
        known += len(block)
        if (
            not pc.all(form.matches(block), min_count=0).as_py()
            or pc.any(pc.match_substring_regex(block, LEADING_ZERO)).as_py()
        ):
            return LabelForm()
    return LabelForm("number", decimal) if known else LabelForm()


def number_name(value: float | int) -> str:
    """Return a number as a label: ``"1"`` of 1.0."""
    return str(int(value)) if isinstance(value, int) or (abs(value) < EXACT and value == int(value)) else repr(value)


def has_labels(kind: Any) -> bool:
    """Tell whether a type of pyarrow, no dictionary, can be read as labels."""
    import pyarrow as pa

    kinds = ("is_boolean", "is_integer", "is_floating", "is_decimal", "is_date", "is_timestamp")
    return is_text(kind) or any(getattr(pa.types, each)(kind) for each in kinds)


def labelled(names: Sequence[str], most: int = 5) -> str:
    """Write some labels: ``'a', 'b' and 3 more``."""
    shown = ", ".join(repr(name if len(name) < 40 else name[:37] + "...") for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _distinct_text(column: "pyarrow.Array") -> "pyarrow.Array":
    """Return values of another type as a dictionary of text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    coded = column.dictionary_encode()
    if pa.types.is_floating(column.type):
        texts = pa.array([number_name(value) for value in coded.dictionary.to_pylist()], pa.large_string())
    else:
        texts = plain(coded.dictionary.cast(pa.large_string()))
    return pa.DictionaryArray.from_arrays(coded.indices, texts)
