"""Numbers of a column: how they are written in text, and what is read of them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.data.columns.column import Column
from fastbp.data.columns.units import find_unit, without_unit
from fastbp.data.columns.values import AMONG_NUMBERS, Array, Read, bools, is_text, without

if TYPE_CHECKING:
    import pyarrow

_DIGITS = r"(?:\d+%(point)s?\d*|%(point)s\d+)"
_NUMBER = r"^[+-]?(?:%(digits)s(?:[eE][+-]?\d+)?|(?i:inf|infinity))$"
_GROUPED = r"^[+-]?[1-9]\d{0,2}(?:%(mark)s\d{3})+(?:%(point)s\d*)?$"
LEADING_ZERO = r"^[+-]?0\d"
THOUSANDS = (",", ".", " ", "\u00a0", "\u202f", "'", "\u2019")
FEW = 1000  # texts that are looked at before all are
EXACT = 2**53  # float64 has each whole number up to it


@dataclass(frozen=True)
class NumberForm:
    """How numbers are written in a column; numbers that are no text need none.

    Attributes
    ----------
    decimal : {".", ","}
    thousands : str
        What stands between groups of three digits; ``""`` if nothing does.
    lenient : bool
        Whether what is no number counts as missing.
    unit : str
        What stands with each number: ``"%"`` of "5 %".
    """

    decimal: str = "."
    thousands: str = ""
    lenient: bool = False
    unit: str = ""

    def read(self, column: "pyarrow.Array") -> Read:
        """Read a `plain` column as numbers; text of several sorts, booleans and lengths of time among them."""
        if is_text(column.type):
            return self._read_text(column)
        return _read_numbers(column)

    def of_decimal(self, known: str, now: str) -> "NumberForm":
        """Return the same form for a table with this decimal mark in place of that of the one it was found in."""
        if known == now:
            return self
        return replace(self, decimal=other_mark(self.decimal), thousands=other_mark(self.thousands))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"form": "number", **asdict(self)}

    @property
    def is_plain(self) -> bool:
        """Whether numbers are written as programs write them."""
        return self.decimal == "." and not self.thousands and not self.unit

    def readable(self, texts: "pyarrow.Array") -> int:
        """Count the texts that are numbers without a unit of this form; none is null."""
        import pyarrow.compute as pc

        if self.is_plain and _floats(texts) is not None:
            return len(texts)
        return pc.sum(self.matches(texts)).as_py() or 0

    def matches(self, texts: "pyarrow.Array") -> "pyarrow.Array":
        """Say of each text whether it is a number of this form: null of null."""
        import pyarrow.compute as pc

        point = "\\" + self.decimal
        digits = _DIGITS % {"point": point}
        found = pc.match_substring_regex(texts, _NUMBER % {"digits": digits})
        if self.thousands:
            found = pc.or_(found, self.grouped(texts))
        return found

    def grouped(self, texts: "pyarrow.Array") -> "pyarrow.Array":
        """Say of each text whether it is a number with marks between thousands."""
        import pyarrow.compute as pc

        mark = "\\" + self.thousands if self.thousands.isascii() and not self.thousands.isspace() else self.thousands
        return pc.match_substring_regex(texts, _GROUPED % {"mark": mark, "point": "\\" + self.decimal})

    def _read_text(self, texts: "pyarrow.Array") -> Read:
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = without(texts, AMONG_NUMBERS)
        missing = bools(pc.is_null(texts))
        if self.is_plain and (floats := _floats(texts)) is not None:
            return Read(floats, missing, np.zeros_like(missing))
        if self.unit:
            texts = without_unit(texts, self.unit)
        right = bools(pc.fill_null(self.matches(texts), False))
        wrong = ~(right | missing)
        if wrong.any():
            texts = pc.if_else(pa.array(wrong), pa.scalar(None, texts.type), texts)
        if self.thousands:
            texts = pc.replace_substring(texts, self.thousands, "")
        if self.decimal != ".":
            texts = pc.replace_substring(texts, self.decimal, ".")
        values = pc.fill_null(_cast(texts), 0).to_numpy(zero_copy_only=False)
        if self.lenient:
            missing, wrong = missing | wrong, np.zeros_like(wrong)
        return Read(_narrow(values), missing, wrong)


@dataclass(frozen=True)
class FoundNumbers:
    """Whether texts are numbers.

    Attributes
    ----------
    form : NumberForm or None
        How to read the most of them.
    readable, known : int
        How many can be read so, of how many that are not missing.
    doubt : str
        Why they are taken for no numbers all the same.
    """

    form: NumberForm | None
    readable: int
    known: int
    doubt: str = ""


def find_numbers(column: "pyarrow.Array | Column[pyarrow.Array]", decimal: str) -> FoundNumbers:
    """Find how numbers are written in a `plain` column of text of a file with this decimal mark.

    Marks between thousands are taken for such where nothing else can be meant: see `_is_sure`. All may have one unit.
    """
    import pyarrow.compute as pc

    texts = Column.of(column).map(lambda block: pc.drop_null(without(block, AMONG_NUMBERS)))
    found = _find_bare(texts, decimal)
    if found.readable or not (unit := find_unit(texts)):
        return found
    with_unit = _find_bare(texts.map(lambda block: without_unit(block, unit)), decimal)
    return replace(with_unit, form=replace(with_unit.form, unit=unit)) if with_unit.form else found


def _find_bare(texts: "Column[pyarrow.Array]", decimal: str) -> FoundNumbers:
    """Find how numbers without a unit are written; no text is null."""
    import pyarrow.compute as pc

    best = FoundNumbers(None, 0, 0)
    for form in _forms(texts, decimal):
        known = readable = 0
        for block in texts:
            known, readable = known + len(block), readable + form.readable(block)
        if readable == known > 0:
            doubt = ""
            if any(_any(pc.match_substring_regex(block, LEADING_ZERO)) for block in texts):
                doubt = "codes with leading zeros"
            elif form.thousands == "," and not _is_sure(form, texts):
                example = next(found[0] for block in texts if len(found := block.filter(form.grouped(block)))).as_py()
                doubt = f"{example!r} may have a mark of thousands or of decimals, and nothing tells which"
            return FoundNumbers(form, readable, known, doubt)
        if readable > best.readable or not best.known:
            best = FoundNumbers(form if readable else None, readable, known)
    return best


def _forms(texts: "Column[pyarrow.Array]", decimal: str) -> Iterator[NumberForm]:
    """Yield the forms that numbers among texts may have, those with the decimal mark of the file first."""
    import pyarrow.compute as pc

    yield NumberForm(decimal)
    has_digits, found = False, set[str]()
    for block in texts:
        has_digits = has_digits or _any(pc.match_substring_regex(block, r"^[+-]?[.,]?\d"))
        found |= {mark for mark in THOUSANDS if mark not in found and _any(pc.match_substring(block, mark))}
    if not has_digits:
        return
    marks, other = [mark for mark in THOUSANDS if mark in found], other_mark(decimal)
    points = [decimal, other] if other in marks else [decimal]
    forms = [NumberForm(point, mark) for point in points for mark in ("", *marks) if mark != point]
    yield from forms[1:]


def _is_sure(form: NumberForm, texts: "Column[pyarrow.Array]") -> bool:
    """Tell whether commas of numbers such as "1,234" stand between thousands: each group has three digits here.

    A number of two marks shows it, and whole numbers below 1000 do, unless a larger one has no mark.
    """
    import pyarrow.compute as pc

    if any(_any(pc.match_substring_regex(block, r",\d{3}[,.]")) for block in texts):
        return True
    rest = texts.map(lambda block: block.filter(pc.invert(form.grouped(block))))
    small = [
        pc.all(pc.match_substring_regex(block, r"^[+-]?\d{1,3}(?:\.\d*)?$")).as_py() for block in rest if len(block)
    ]
    return len(small) > 0 and all(small)


def _any(found: "pyarrow.Array") -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(found).as_py())


def other_mark(mark: str) -> str:
    """Return a comma for a point and the other way, and any other mark itself."""
    return {".": ",", ",": "."}.get(mark, mark)


def _read_numbers(column: "pyarrow.Array") -> Read:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    missing = bools(pc.is_null(column))
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int64())
    elif pa.types.is_duration(kind):
        column = column.cast(pa.duration("us"), safe=False).cast(pa.int64())
    elif pa.types.is_time(kind):
        column = column.cast(pa.time64("us"), safe=False).cast(pa.int64())
    values = pc.fill_null(column, 0) if column.null_count else column
    array = values.to_numpy(zero_copy_only=False)
    if array.dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
        missing |= np.isnan(array)
    elif array.dtype == np.uint64 and len(array) and array.max() > np.iinfo(np.int64).max:
        array = array.astype(np.float64)
    else:
        array = array.astype(np.int64, copy=False)
    return Read(_narrow(array), missing, np.zeros(len(array), bool))


def _floats(texts: "pyarrow.Array") -> Array | None:
    """Return numbers of text at once, 0 of null; None if some are none or need care: "+1", infinity, many digits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        for some in (texts[:FEW], texts):  # what is no number mostly shows at once
            floats = pc.cast(some, pa.float64())
    except pa.ArrowInvalid:
        return None
    values: Array = pc.fill_null(floats, 0).to_numpy(zero_copy_only=False)
    return values if bool((np.abs(values) <= EXACT).all()) else None  # not of NaN


def _cast(texts: "pyarrow.Array") -> "pyarrow.Array":
    """Return numbers of text: of int64 if it holds them all."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.all(pc.match_substring_regex(texts, r"^[+-]?\d{1,19}$")).as_py():
        try:
            return pc.cast(texts, pa.int64())
        except pa.ArrowInvalid:  # larger
            pass
    return pc.cast(texts, pa.float64())


def _narrow(values: Array) -> Array:
    """Return whole numbers as float64 if it has each of them."""
    if values.dtype == np.int64 and (not len(values) or (values.max() <= EXACT and values.min() >= -EXACT)):
        return values.astype(np.float64)
    return values
