"""Text is read as numbers, dates and times, however it is written, or not at all."""

import math
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp.data.columns.dates import ORDERS, TimeForm, find_times
from fastbp.data.columns.forms import form_from
from fastbp.data.columns.labels import LabelForm, find_labels
from fastbp.data.columns.numbers import NumberForm, find_numbers
from fastbp.data.columns.values import AMONG_NUMBERS, MISSING, plain

pa = pytest.importorskip("pyarrow")

FLOATS = st.floats(allow_nan=False)


def numbers(texts, decimal="."):
    """Read texts as the numbers that they are found to be; fail where some are none."""
    column = plain(pa.array(texts, pa.string()))
    found = find_numbers(column, decimal)
    assert found.readable == found.known
    read = found.form.read(column)
    assert not read.wrong.any()
    return found, read


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("+1.5", 1.5), (".5", 0.5), ("5.", 5), ("1e-3", 1e-3), ("-1E+5", -1e5), ("inf", math.inf), ("0", 0)]
    + [("-Infinity", -math.inf), ("1e999", math.inf), ("1e-999", 0), (" 7\t", 7), ("1" + "0" * 20, 1e20)],
)  # fmt: skip
def test_number_is_read(text, value):
    assert numbers([text])[1].values.tolist() == [value]


@pytest.mark.parametrize("text", ["0x10", "1_000", "1d", "1e", "e5", "+", "1.2.3", "1,2,3", "٣", "1 2", "12,34,567"])
def test_what_is_no_number_is_none(text):
    found = find_numbers(plain(pa.array([text, text])), ".")
    assert found.readable == 0


@settings(max_examples=30)
@given(
    values=st.lists(FLOATS | st.none(), min_size=1, max_size=8).filter(lambda values: set(values) != {None}),
    decimal=st.sampled_from(".,"),
    marks=st.lists(st.sampled_from(MISSING + AMONG_NUMBERS), min_size=8, max_size=8),
)
def test_numbers_come_back_from_text(values, decimal, marks):
    pairs = zip(values, marks, strict=False)
    texts = [mark if value is None else repr(value).replace(".", decimal) for value, mark in pairs]
    _, read = numbers(texts, decimal)
    assert read.missing.tolist() == [value is None for value in values]
    assert read.known.tolist() == [value for value in values if value is not None]


@settings(max_examples=30)
@given(
    values=st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=8),
    mark=st.sampled_from([",", ".", " ", "\u202f", "'", "\u2019"]),
)
def test_marks_between_thousands_are_left_out(values, mark):
    decimal = "," if mark == "." else "."
    texts = [f"{value:,}".replace(",", mark) for value in [*values, 1234567]]
    found, read = numbers(texts, decimal)
    assert found.form.thousands == mark
    assert found.doubt == ""
    assert read.values.tolist() == [*values, 1234567]


@pytest.mark.parametrize(
    ("texts", "first", "is_sure"),
    [
        (["1,234", "5,678"], 1234, False),  # or 1.234
        (["1,234", "12"], 1234, True),
        (["1,234", "1234"], 1234, False),
        (["1,234.5", "5,678"], 1234.5, True),
        (["1,234,567", "5,678"], 1234567, True),
        (["0,123", "5,678"], 0.123, True),  # no number begins with a zero before thousands
        (["1,23", "5,678"], 1.23, True),
    ],
)
def test_commas_are_marks_of_thousands_where_that_is_certain(texts, first, is_sure):
    found, read = numbers(texts)
    assert read.values[0] == first
    assert bool(found.doubt) != is_sure


@settings(max_examples=30)
@given(
    values=st.lists(st.floats(-1e9, 1e9).map(lambda value: round(value, 2)), min_size=1, max_size=8),
    write=st.sampled_from(
        ["${}", "$ {}", "{} €", "{}€", "{} %", "{}%", "{} kg", "{} m/s", "{:,} €", "£{:,}", "{:,} kg", "{}°"]
    ),
    decimal=st.sampled_from(".,"),
)
def test_one_unit_of_all_numbers_is_no_part_of_them(values, write, decimal):
    values += [1234567.5]
    texts = [write.format(value) for value in values]
    if decimal == ",":
        texts = [text.translate(str.maketrans(".,", ",.")) for text in texts]
    found, read = numbers(["", *texts], decimal)
    assert found.form.unit == write.replace("{:,}", "").replace("{}", "").strip()
    assert not found.doubt
    assert read.known.tolist() == values
    assert read.missing.tolist() == [True] + [False] * len(values)


@pytest.mark.parametrize(
    "texts", [["$1", "2"], ["$1", "€2"], ["5 kg", "5 g"], ["$1 m"], ["1st"], ["A1"], ["5x"], ["%"]]
)
def test_what_is_no_unit_of_all_leaves_text(texts):
    column = plain(pa.array(texts))
    found = find_numbers(column, ".")
    assert found.form is None or found.readable < found.known
    assert NumberForm(unit="$").read(plain(pa.array(["$1", "2"]))).wrong.tolist() == [False, True]


def test_file_with_decimal_commas_has_points_between_thousands():
    found, read = numbers(["1.234", "5.678"], ",")
    assert not found.doubt
    assert read.values.tolist() == [1234, 5678]


def test_leading_zeros_make_a_code():
    assert "leading zeros" in numbers(["00501", "10001"])[0].doubt
    assert numbers(["0", "0.5"])[0].doubt == ""


def test_whole_numbers_beyond_float64_keep_their_digits():
    large = [2**53 + 1, 2**53 + 3, -(2**62) - 1]
    for column in (pa.array([str(v) for v in large[:2]]), pa.array(large[:2]), pa.array(large)):
        assert NumberForm().read(plain(column)).values.tolist() == large[: len(column)]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([1, None, 3], pa.int8()), [1, 3]),
        (pa.array([1, None, 2**64 - 1], pa.uint64()), [1, 2.0**64]),
        (pa.array([1.5, math.nan, None], pa.float32()), [1.5]),
        (pa.array([1.5, None], pa.float16()), [1.5]),
        (pa.array([True, None, False]), [1, 0]),
        (pa.array([Decimal(15), None], pa.decimal128(5, 1)), [15]),
        (pa.array([2, None], pa.duration("s")), [2_000_000]),
        (pa.array([2, None], pa.time32("ms")), [2_000]),
        (pa.array([1, 2, None]).dictionary_encode(), [1, 2]),
    ],
)
def test_numbers_of_every_type_are_read(column, values):
    read = NumberForm().read(plain(pa.chunked_array([column, column])))
    assert read.known.tolist() == values * 2
    assert (read.missing | read.wrong).sum() == 2 * (len(column) - len(values))


def test_minus_is_a_label_in_text_and_missing_among_numbers():
    assert LabelForm().read(plain(pa.array(["+", "-", "?"]))).names == ("+", "-")
    assert numbers(["1", "-"])[1].missing.tolist() == [False, True]


def test_labels_that_mean_the_same_are_one():
    for texts, form, names in [
        (["1", "1.0", "+1", "2", "-"], "number", ("1", "2")),
        (["yes", "YES", " no"], "boolean", ("true", "false")),
        (["01", "1"], "text", ("01", "1")),
        (["a\0", "a", "🦊"], "text", ("a\0", "a", "🦊")),
    ]:
        column = plain(pa.array(texts))
        found = find_labels(column, ".")
        assert found.words == form
        assert found.read(column).names == names
    labels = LabelForm("number").read(plain(pa.array([1.0, 2.5, math.nan, None, 1.0])))
    assert labels.names == ("1", "2.5")
    assert labels.codes.tolist() == [0, 1, -1, -1, 0]


# How a day is written in each order
DAYS = {
    "y-m-d": ["%Y-%m-%d", "%Y/%m/%d"],
    "d.m.y": ["%d.%m.%Y"],
    "m/d/y": ["%m/%d/%Y", "%m-%d-%Y"],
    "d/m/y": ["%d/%m/%Y", "%d-%m-%Y"],
    "m.d.y": ["%m.%d.%Y"],
    "d month y": ["%d-%b-%Y", "%d %B %Y"],
    "month d, y": ["%b %d, %Y", "%B %d %Y", "%b-%d-%Y"],
}
CLOCKS = ["", " %H:%M", "T%H:%M:%S", " %H:%M:%S.%f", " %I:%M:%S %p"]
TIMES = st.lists(st.datetimes(datetime(1000, 1, 1), datetime(2900, 1, 1)), min_size=1, max_size=5)


def micros(times):
    return [int(np.datetime64(time, "us").astype(np.int64)) for time in times]


@settings(max_examples=30)
@given(times=TIMES, order=st.sampled_from(sorted(DAYS)), clock=st.sampled_from(CLOCKS), data=st.data())
def test_times_come_back_from_text(times, order, clock, data):
    style = data.draw(st.sampled_from(DAYS[order])) + clock
    times = [datetime.strptime(time.strftime(style), style) for time in [*times, datetime(2024, 12, 31)]]
    column = plain(pa.array([None, *(time.strftime(style) for time in times)]))
    found = find_times(column)
    assert found.form == TimeForm(order)
    assert found.doubt == ""
    read = found.form.read(column)
    assert read.missing.tolist() == [True] + [False] * len(times)
    assert read.known.tolist() == micros(times)


@settings(max_examples=30)
@given(times=TIMES, hours=st.integers(-14, 14))
def test_distance_from_utc_is_taken_off(times, hours):
    texts = [time.isoformat() + f"{hours:+03d}:30" for time in times]
    column = plain(pa.array(texts))
    form = find_times(column).form
    assert form.zone == "UTC"
    distance = timedelta(hours=hours, minutes=30 if hours >= 0 else -30)
    assert form.read(column).values.tolist() == micros(time - distance for time in times)


def test_distance_from_utc_is_taken_off_in_other_orders():
    day = "31.12.2024 12:00"
    column = plain(pa.array([f"{day} +02:00", f"{day}Z", f"{day} -0130", f"{day}+02"]))
    wanted = [datetime(2024, 12, 31, *clock) for clock in [(10,), (12,), (13, 30), (10,)]]
    assert find_times(column).form.read(column).values.tolist() == micros(wanted)


@pytest.mark.parametrize(
    "texts",
    [["2024-02-30"], ["2023-02-29"], ["2024-13-01"], ["13/13/2024"], ["2024-01-01 24:00"], ["2024-01-01 10:60"]]
    + [["24:00"], ["1:2"], ["12"]]
    + [["13:00 PM"], ["2024-01-01", "01.01.2024"], ["31/12/2024", "12/31/2024"], ["Foo 1 2024"], ["1.2"], ["2024"]]
    + [[None]]
    + [["2024-01-01T00:00:00Z", "2024-01-01T00:00:00"], ["1/1/2024 13:00 PM"], ["5 apples 20"]],
)  # fmt: skip
def test_what_is_no_date_is_none(texts):
    assert find_times(plain(pa.array(texts, pa.string()))) is None


@settings(max_examples=30)
@given(
    times=st.lists(st.datetimes(datetime(1970, 1, 1), datetime(1970, 1, 1, 23, 59, 59)), min_size=1, max_size=5),
    style=st.sampled_from(["%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p"]),
)
def test_times_of_a_day_come_back_from_text_and_from_their_own_type(times, style):
    times = [datetime.strptime(f"1970 {time.strftime(style)}", f"%Y {style}") for time in times]
    column = plain(pa.array([time.strftime(style) for time in times]))
    found = find_times(column)
    assert found.form == TimeForm("h:m")
    assert found.form.read(column).values.tolist() == micros(times)
    assert found.form.read(pa.array([time.time() for time in times])).values.tolist() == micros(times)


def test_texts_of_many_shapes_are_each_read_by_their_own():
    days = [datetime(2001, 1, 1) + timedelta(hours=31 * i) for i in range(3000)]
    texts = [f"{day.month}/{day.day}/{day.year} {day.hour}:{day:%M}" for day in days]
    column = plain(pa.array([*texts, "13/13/2001", "x" * 100, "1/2/2001 ١:00", ""]))
    read = TimeForm("m/d/y").read(column)
    assert read.values[:3000].tolist() == micros(days)
    assert read.wrong.tolist() == [False] * 3000 + [True] * 3 + [False]


def test_order_of_day_and_month_is_decided_by_the_whole_column():
    def order(*texts):
        return find_times(plain(pa.array(texts))).form.order

    assert order("1/2/2024", "13/2/2024") == "d/m/y"
    assert order("1/2/2024", "2/13/2024") == "m/d/y"
    assert order("1.2.2024") == "d.m.y"
    assert order(*["1/2/2024"] * 2000, "13/2/2024") == "d/m/y"


def test_order_that_nothing_tells_is_said():
    found = find_times(plain(pa.array(["1/2/2024", "3/4/2024"])))
    assert found.form.order == "m/d/y"
    assert "no number tells" in found.doubt


def test_iso_texts_are_read_the_same_among_others():
    texts = ["2024-01-31", "2024-02-29 05:06", "0069-12-31T23:59:59.123456", "2024-02-29 05", "1969-12-31 00:00:00.5"]
    column = plain(pa.array(texts))
    alone = TimeForm().read(column).values
    among = TimeForm().read(plain(pa.array([*texts, "2024/1/1", "soon"])))
    assert among.values[: len(texts)].tolist() == alone.tolist()
    assert among.wrong.tolist() == [False] * (len(texts) + 1) + [True]


def test_years_of_two_digits_are_of_the_century_that_posix_says():
    assert TimeForm("d.m.y").read(plain(pa.array(["1.1.69", "1.1.68"]))).values.tolist() == micros(
        [date(1969, 1, 1), date(2068, 1, 1)]
    )


def test_typed_times_are_read_by_the_clock_of_their_zone():
    moment = datetime(2024, 7, 1, 22)
    naive = pa.array([moment, None], pa.timestamp("ns"))
    for column, zone, wanted in [
        (naive, "", moment),
        (naive.cast(pa.timestamp("ms", "UTC")), "", moment),
        (naive.cast(pa.timestamp("ms", "UTC")), "Europe/Berlin", datetime(2024, 7, 2)),
        (pa.array([moment.date(), None]), "", datetime(2024, 7, 1)),
        (pa.array([moment.date(), None], pa.date64()), "", datetime(2024, 7, 1)),
    ]:
        read = TimeForm(zone=zone).read(plain(column))
        assert read.missing.tolist() == [False, True]
        assert read.known.tolist() == micros([wanted])
    text = plain(pa.array(["2024-07-01 22:00:00+00:00"]))
    assert TimeForm(zone="Europe/Berlin").read(text).values.tolist() == micros([datetime(2024, 7, 2)])


@settings(max_examples=30)
@given(
    form=st.builds(NumberForm, st.sampled_from(".,"), st.sampled_from(["", " ", "'"]), st.booleans())
    | st.builds(LabelForm, st.sampled_from(["text", "number", "boolean"]), st.sampled_from(".,"))
    | st.builds(TimeForm, st.sampled_from(sorted(ORDERS)), st.sampled_from(["", "UTC"]))
)
def test_forms_come_back_from_plain_data(form):
    assert form_from(form.to_dict(), type(form)) == form
    for name in form.to_dict():
        for wrong in (None, "nonsense", 1, ["."]):
            if name not in ("zone", "unit") or type(wrong) is not str:
                with pytest.raises(ValueError, match="no "):
                    form_from(form.to_dict() | {name: wrong}, type(form))
