"""Dates and times: how text is read as such, and which parts of a time are told to a network."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastbp.data.columns.column import Column
from fastbp.data.columns.values import AMONG_NUMBERS, Read, is_text, without

if TYPE_CHECKING:
    import pyarrow

_TIME = (
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<fraction>\.\d{1,9})?)?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_CLOCK = rf"(?:[T ]+{_TIME}(?P<zone> ?(?:Z|UTC|[+-]\d{{2}}(?::?\d{{2}})?))?)?"
_DAY, _MONTH, _YEAR = r"(?P<day>\d{1,2})", r"(?P<month>\d{1,2})", r"(?P<year>\d{4}|\d{2})"
_NAME = r"(?P<month>[A-Za-z]{3,9})\.?"
OF_DAY = "h:m"
# The orders in which dates are looked for: a column is of the first one in which all of its values are dates. Where
# each number is at most 12, "12/11/2024" is read as month first, which is what most files with slashes mean.
_ORDERS = {
    "y-m-d": rf"(?P<year>\d{{4}})[-/.]{_MONTH}(?:[-/.]{_DAY})?{_CLOCK}",
    "d.m.y": rf"{_DAY}\.{_MONTH}\.{_YEAR}{_CLOCK}",
    "m/d/y": rf"{_MONTH}[-/]{_DAY}[-/]{_YEAR}{_CLOCK}",
    "d/m/y": rf"{_DAY}[-/]{_MONTH}[-/]{_YEAR}{_CLOCK}",
    "m.d.y": rf"{_MONTH}\.{_DAY}\.{_YEAR}{_CLOCK}",
    "d month y": rf"{_DAY}[-/. ]+{_NAME}[-/., ]+{_YEAR}{_CLOCK}",
    "month d, y": rf"{_NAME}[- ]+{_DAY}(?:st|nd|rd|th)?,?[- ]+(?P<year>\d{{4}}){_CLOCK}",
    OF_DAY: rf"(?=\d+:){_TIME}",
}
ORDERS = {order: re.compile(pattern, re.ASCII) for order, pattern in _ORDERS.items()}
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
_MONTHS = ["january", "february", "march", "april", "may", "june"]
_MONTHS += ["july", "august", "september", "october", "november", "december"]
NAMES = {short: i for i, name in enumerate(_MONTHS) for short in (name, name[:3])} | {"sept": 8}
CENTURY = 69  # two digits from here on are years of 1900, as POSIX has it
DAY = 86_400_000_000  # microseconds
FEW = 1000  # texts that are looked at before all are
LONGEST = 64  # bytes of a date or time
ROWS = 1 << 15  # that are parsed at a time: their bytes are in a cache


@dataclass(frozen=True)
class TimeForm:
    """How dates and times are written in a column.

    Attributes
    ----------
    order : str
        One of `ORDERS`: of text; `OF_DAY` of all times of a day.
    zone : str
        The time zone whose clock counts: that of a column of times that has one, UTC for text that says how far from
        it each time is; ``""`` where times are told without.
    """

    order: str = "y-m-d"
    zone: str = ""

    def read(self, column: "pyarrow.Array") -> Read:
        """Read a `plain` column as microseconds since 1970 on the clock of the zone, or since midnight."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if is_text(column.type):
            return self._read_text(column)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
            if column.type.tz is not None:
                column = _clock(column, self.zone or column.type.tz)
        elif pa.types.is_time(column.type):
            column = column.cast(pa.time64("us"), safe=False)
        else:
            column = column.cast(pa.timestamp("us"))
        missing = np.array(pc.is_null(column).to_numpy(zero_copy_only=False), bool)
        values = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        return Read(values, missing, np.zeros(len(values), bool))

    def takes(self, kind: Any) -> bool:
        """Tell whether a column of this type of pyarrow can be read."""
        return is_text(kind) or str(kind).startswith(
            ("time32", "time64") if self.order == OF_DAY else ("timestamp", "date")
        )

    def written(self, value: int) -> str:
        """Write a time as it was read."""
        text = str(np.datetime64(int(value), "us").astype("M8[s]"))
        return text[11:] if self.order == OF_DAY else text.removesuffix("T00:00:00").replace("T", " ")

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
    """Return microseconds since 1970, or since midnight, and which texts are times of this order.

    They say how far from UTC they are, or not.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if order == "y-m-d" and _ISO.match(texts[0].as_py() if len(texts) else ""):
        try:  # what is all of ISO 8601, in half the time
            times = pc.cast(texts, pa.timestamp("us", "UTC" if zoned else None))
            return times.cast(pa.int64()).to_numpy(zero_copy_only=False), np.ones(len(texts), bool)
        except pa.ArrowInvalid:
            pass
    values, right = np.zeros(len(texts), np.int64), np.zeros(len(texts), bool)
    for start in range(0, len(texts), ROWS):
        letters = _letters(texts[start : start + ROWS])
        for rows, text in _alike(letters):
            found = ORDERS[order].fullmatch(text)
            if found and bool(found.groupdict().get("zone")) == zoned:
                values[start + rows], right[start + rows] = _moments(letters[rows], found)
    return values, right


def _letters(texts: "pyarrow.Array") -> NDArray[np.uint8]:
    """Return the bytes of texts, (rows, most), with 0 behind the end; what is too long is left empty."""
    import pyarrow.compute as pc

    lengths = pc.binary_length(texts)
    texts = pc.if_else(pc.less_equal(lengths, LONGEST), texts, "")
    most = max(pc.max(pc.binary_length(texts)).as_py() or 0, 1)
    padded = pc.ascii_rpad(texts, most, padding="\0")
    return np.frombuffer(padded.buffers()[2], np.uint8, len(texts) * most).reshape(-1, most)


def _alike(letters: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.intp], str]]:
    """Yield which rows have the same letters in the same places, digits apart, and the text of the first of them."""
    shapes = np.where((letters >= 48) & (letters <= 57), np.uint8(48), letters)
    mixed = np.zeros(len(shapes), np.uint64)
    for column in shapes.T:  # a number for each shape; two of the same number are told apart below
        mixed = (mixed ^ column) * np.uint64(0x100000001B3)
    order = np.argsort(mixed, kind="stable")
    ends = np.flatnonzero(np.diff(mixed[order], append=~mixed[order[-1:]])) + 1
    for rows in np.split(order, ends[:-1]):
        while len(rows):
            same = (shapes[rows] == shapes[rows[0]]).all(axis=1)
            yield rows[same], letters[rows[0]].tobytes().rstrip(b"\0").decode("latin-1")
            rows = rows[~same]


def _moments(letters: NDArray[np.uint8], found: re.Match[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the times of rows of one shape, whose fields stand where they were found in one of them, and which are."""
    named = found.groupdict()

    def number(name: str, empty: int = 0) -> Any:
        return _digits(letters, *found.span(name)) if named.get(name) else empty

    year, day, hour, minute, second = (number(name) for name in ("year", "day", "hour", "minute", "second"))
    right = (minute < 60) & (second < 61) & np.ones(len(letters), bool)
    half = (named["half"] or "").lower()
    right &= (hour >= 1) & (hour <= 12) if half else hour < 24
    hour = hour % 12 + 12 * (half == "p") if half else hour
    micros = np.zeros(len(letters), np.int64)
    if named["fraction"]:
        start, end = found.span("fraction")
        micros += np.rint(_digits(letters, start + 1, end) * 10.0 ** (7 - end + start)).astype(np.int64)
    if named.get("year"):
        if len(named["year"]) == 2:
            year = year + np.where(year < CENTURY, 2000, 1900)
        months = named["month"]
        month = number("month") - 1 if months.isdecimal() else NAMES.get(months.lower(), -1)
        count = (year - 1970) * 12 + month
        day = day if named["day"] else 1
        days = count.astype("M8[M]").astype("M8[D]").astype(np.int64) + day - 1
        right &= (month >= 0) & (month < 12) & (day >= 1)
        right &= days < (count + 1).astype("M8[M]").astype("M8[D]").astype(np.int64)
        micros += days * DAY
        minute = minute - _distance(letters, found)
    values = micros + ((hour * 60 + minute) * 60 + second) * 1_000_000
    return np.where(right, values, 0), right


def _digits(letters: NDArray[np.uint8], start: int, end: int) -> NDArray[np.int64]:
    """Return the numbers that stand in some columns of letters."""
    values = np.zeros(len(letters), np.int64)
    for column in letters[:, start:end].T:
        values *= 10
        values += column - np.uint8(48)
    return values


def _distance(letters: NDArray[np.uint8], found: re.Match[str]) -> Any:
    """Return minutes from UTC of rows whose zone is written as "+02:00", "-02", "Z" or not at all."""
    zone, end = found["zone"] or "", found.end("zone")
    sign = max(zone.find("+"), zone.find("-"))
    if sign < 0:
        return 0
    hours = found.start("zone") + sign + 1
    size = 60 * _digits(letters, hours, hours + 2)
    if end > hours + 2:
        size += _digits(letters, end - 2, end)
    return -size if zone[sign] == "-" else size
