"""Dates and times: how text is read as such, and which parts of a time are told to a network."""

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.column import Column
from fastbp.data.columns.values import AMONG_NUMBERS, Array, Read, is_text, without

if TYPE_CHECKING:
    import pyarrow

_CLOCK = (
    r"(?:[T ]+(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<fraction>\.\d{1,9})?)?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?(?P<zone> ?(?:Z|UTC|[+-]\d{2}:?\d{2}))?)?$"
)
_DAY, _MONTH, _YEAR = r"(?P<day>\d{1,2})", r"(?P<month>\d{1,2})", r"(?P<year>\d{4}|\d{2})"
_NAME = r"(?P<month>[A-Za-z]{3,9})\.?"
# The orders in which dates are looked for: a column is of the first one in which all of its values are dates. Where
# each number is at most 12, "12/11/2024" is read as month first, which is what most files with slashes mean.
ORDERS = {
    "y-m-d": rf"^(?P<year>\d{{4}})[-/.]{_MONTH}(?:[-/.]{_DAY})?",
    "d.m.y": rf"^{_DAY}\.{_MONTH}\.{_YEAR}",
    "m/d/y": rf"^{_MONTH}[-/]{_DAY}[-/]{_YEAR}",
    "d/m/y": rf"^{_DAY}[-/]{_MONTH}[-/]{_YEAR}",
    "m.d.y": rf"^{_MONTH}\.{_DAY}\.{_YEAR}",
    "d month y": rf"^{_DAY}[-/. ]+{_NAME}[-/., ]+{_YEAR}",
    "month d, y": rf"^{_NAME}[- ]+{_DAY}(?:st|nd|rd|th)?,?[- ]+(?P<year>\d{{4}})",
}
_MONTHS = ["january", "february", "march", "april", "may", "june"]
_MONTHS += ["july", "august", "september", "october", "november", "december"]
NAMES = {short: i for i, name in enumerate(_MONTHS) for short in (name, name[:3])} | {"sept": 8}
CENTURY = 69  # two digits from here on are years of 1900, as POSIX has it
DAY = 86_400_000_000  # microseconds
FEW = 1000  # texts that are looked at before all are


@dataclass(frozen=True)
class TimeForm:
    """How dates and times are written in a column.

    Attributes
    ----------
    order : str
        One of `ORDERS`, for text.
    zone : str
        The time zone whose clock counts: that of a column of times that has one, UTC for text that says how far from
        it each time is; ``""`` where times are told without.
    """

    order: str = "y-m-d"
    zone: str = ""

    def read(self, column: "pyarrow.Array") -> Read:
        """Read a `plain` column as microseconds since 1970 on the clock of the zone."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if is_text(column.type):
            return self._read_text(column)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
            if column.type.tz is not None:
                column = _clock(column, self.zone or column.type.tz)
        else:
            column = column.cast(pa.timestamp("us"))
        missing = np.array(pc.is_null(column).to_numpy(zero_copy_only=False), bool)
        values = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        return Read(values, missing, np.zeros(len(values), bool))

    def of_decimal(self, known: str, now: str) -> "TimeForm":
        """Return itself: decimal marks are none of its."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"form": "time", **asdict(self)}

    def _read_text(self, texts: "pyarrow.Array") -> Read:
        """Read each text once, however often it stands there."""
        import pyarrow as pa
        import pyarrow.compute as pc

        coded = without(texts, AMONG_NUMBERS).dictionary_encode()
        codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
        values, right = _parse(coded.dictionary, self.order, zoned=bool(self.zone))
        if self.zone not in ("", "UTC"):
            times = pa.array(values, pa.timestamp("us", "UTC"))
            values = _clock(times, self.zone).cast(pa.int64()).to_numpy(zero_copy_only=False)
        missing = codes < 0
        values, right = np.append(values, 0), np.append(right, True)  # of which a missing one takes the last
        return Read(values[codes], missing, ~right[codes])


@dataclass(frozen=True)
class FoundTimes:
    """How texts are read as times, and `doubt`, what is not certain about it."""

    form: TimeForm
    doubt: str = ""


def find_times(column: "pyarrow.Array | Column[pyarrow.Array]") -> FoundTimes | None:
    """Find how dates are written in a `plain` column of text; None if they are no dates."""
    import pyarrow.compute as pc

    found, known = [TimeForm(order, zone) for order in ORDERS for zone in ("", "UTC")], 0
    for block in Column.of(column):
        distinct = pc.unique(pc.drop_null(without(block[:FEW], AMONG_NUMBERS)))
        for size in (1, FEW, len(block)):  # what is no date mostly shows at once
            if size > FEW:
                distinct = pc.unique(pc.drop_null(without(block, AMONG_NUMBERS)))
            some = distinct[:size]
            found = [form for form in found if _parse(some, form.order, zoned=bool(form.zone))[1].all()]
            if not found:
                return None
        known += len(distinct)
    if not known:
        return None
    doubt = ""
    if [form.order for form in found[:2]] == ["m/d/y", "d/m/y"]:
        doubt = "taken for month/day/year, though no number tells day and month apart"
    return FoundTimes(found[0], doubt)


def _clock(times: "pyarrow.Array", zone: str) -> "pyarrow.Array":
    """Return what the clocks of a zone show at these times."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.local_timestamp(times.cast(pa.timestamp("us", zone)))


def _parse(texts: "pyarrow.Array", order: str, *, zoned: bool) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return microseconds since 1970, and which texts are dates of this order, with their distance from UTC or not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if order == "y-m-d":
        try:  # what is all of ISO 8601, in a tenth of the time
            times = pc.cast(texts, pa.timestamp("us", "UTC" if zoned else None))
            return times.cast(pa.int64()).to_numpy(zero_copy_only=False), np.ones(len(texts), bool)
        except pa.ArrowInvalid:
            pass
    fields = pc.extract_regex(texts, ORDERS[order] + _CLOCK)
    right = np.array(pc.is_valid(fields).to_numpy(zero_copy_only=False), bool)
    if not right.any():
        return np.zeros(len(texts), np.int64), right

    def field(name: str) -> Any:
        return pc.fill_null(pc.struct_field(fields, name), "")

    year, day = _number(field("year"), 0), _number(field("day"), 1)
    short = np.array(pc.equal(pc.utf8_length(field("year")), 2).to_numpy(zero_copy_only=False), bool)
    year += np.where(short, np.where(year < CENTURY, 2000, 1900), 0)
    month = _month(field("month")) if "month" in order else _number(field("month"), 1) - 1
    hour, minute, second = (_number(field(name), 0) for name in ("hour", "minute", "second"))
    half = pc.utf8_lower(field("half"))
    noon, morning = _equal(half, "p"), _equal(half, "a")
    right &= (month >= 0) & (month < 12) & (day >= 1) & (minute < 60) & (second < 61)
    right &= np.where(noon | morning, (hour >= 1) & (hour <= 12), hour < 24)
    hour = np.where(noon | morning, hour % 12 + 12 * noon, hour)
    months = (year - 1970) * 12 + month
    days = months.astype("M8[M]").astype("M8[D]").astype(np.int64) + day - 1
    right &= days < (months + 1).astype("M8[M]").astype("M8[D]").astype(np.int64)
    micros = np.rint(_number(pc.binary_replace_slice(field("fraction"), 0, 0, "0"), 0, float) * 1e6).astype(np.int64)
    zone = field("zone")
    right &= _equal(zone, "") != zoned
    values = days * DAY + ((hour * 60 + minute - _distance(zone)) * 60 + second) * 1_000_000 + micros
    return np.where(right, values, 0), right


def _number(texts: "pyarrow.Array", empty: int, kind: type = int) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    filled = pc.if_else(pc.equal(texts, ""), str(empty), texts)
    return np.array(filled.cast(pa.int64() if kind is int else pa.float64()).to_numpy(zero_copy_only=False))


def _month(texts: "pyarrow.Array") -> NDArray[np.int64]:
    """Return 0 to 11 of English names, -1 of others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(pc.utf8_lower(texts), value_set=pa.array(NAMES, texts.type))
    months = np.array([*NAMES.values(), -1])
    return np.asarray(months[pc.fill_null(found, -1).to_numpy(zero_copy_only=False)])


def _distance(zones: "pyarrow.Array") -> NDArray[np.int64]:
    """Return minutes from UTC of texts such as "+02:00", "Z" and ""."""
    import pyarrow.compute as pc

    coded = zones.dictionary_encode()
    minutes = []
    for text in coded.dictionary.to_pylist():
        sign, digits = text.strip()[:1], re.sub(r"\D", "", text)
        size = 60 * int(digits[:2]) + int(digits[2:]) if digits else 0
        minutes.append(-size if sign == "-" else size)
    codes: Array = pc.fill_null(coded.indices, 0).to_numpy(zero_copy_only=False)
    return np.array(minutes or [0], np.int64)[codes]


def _equal(texts: "pyarrow.Array", text: str) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    return np.array(pc.equal(texts, text).to_numpy(zero_copy_only=False), bool)
