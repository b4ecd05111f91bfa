"""An encoder tells the same rows the same features, in training and ever after, or says what does not fit."""

import json
import math
from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp.data.columns.encoder import BLOCK, Encoder
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.roles import find_roles
from fastbp.data.columns.scale import Scale
from fastbp.data.reading.table import Table, TableError

pa = pytest.importorskip("pyarrow")


def table(columns, decimal="."):
    return Table(pa.table(columns), "t.csv", decimal=decimal, first_line=2)


def fitted(columns, rows=None, **options):
    made = table(columns)
    return Encoder.fit(made, find_roles(made, ColumnOptions(**options)), rows)


def transformed(columns, like=None, **options):
    """Fit to some columns, go through JSON, and transform others, or the same."""
    encoder = Encoder.from_dict(json.loads(json.dumps(fitted(columns, **options).to_dict(), allow_nan=False)))
    return encoder, encoder.transform(table(columns if like is None else like))


def squashed(s):
    return s / np.sqrt(1 + (s / 3) ** 2)


@settings(max_examples=60)
@given(values=st.lists(st.floats(-1e50, 1e50) | st.floats(-2, 2).map(round).map(float), min_size=1, max_size=20))
def test_scale_is_that_of_realmlp(values):
    values = np.array(values)
    low, center, high = np.quantile(values, [0.25, 0.5, 0.75])
    factor = 0.0
    if high > low:
        factor = 1 / (high - low)
    elif values.max() > values.min():
        factor = 2 / (values.max() - values.min())
    if factor < 1e100:  # what is so close to each other has no digits to compare
        expected = squashed((values - center) * factor)
        np.testing.assert_allclose(Scale.fit(values).apply(values), expected, rtol=1e-12, atol=1e-15)


@settings(max_examples=60)
@given(values=st.lists(st.floats(allow_nan=False), min_size=1, max_size=20), other=st.lists(st.floats(), max_size=5))
def test_any_numbers_are_scaled_in_their_order(values, other):
    scale = Scale.fit(np.array(values))
    ordered = scale.apply(np.sort(np.array(values + [v for v in other if v == v])))
    assert (abs(ordered) <= 3).all()
    assert (np.diff(ordered) >= 0).all()
    assert np.isnan(scale.apply(np.array([math.nan]))).all() or scale.spread == 0
    finite = [v for v in values if math.isfinite(v)]
    if len(set(finite)) > 1:
        assert scale.apply(np.array([min(finite)]))[0] < scale.apply(np.array([max(finite)]))[0]


def test_spread_without_quartiles_is_that_of_the_extremes():
    scale = Scale.fit(np.array([0.0, 0, 0, 0, 0, 0, 0, 3]))
    assert (scale.center, scale.spread) == (0, 1.5)
    assert scale.apply(np.array([3.0]))[0] == pytest.approx(squashed(2))
    tiny = Scale.fit(np.array([0.0, 0, 0, 0, 0, 5e-324]))
    assert tiny.apply(np.array([5e-324]))[0] > 0


def test_huge_numbers_have_quartiles():
    scale = Scale.fit(np.array([-1.6e308, -1.2e308, 0.4e308, 1.2e308, 1.6e308]))
    assert scale.center == pytest.approx(0.4e308)
    assert scale.spread == np.finfo(np.float64).max  # 2.4e308, which no float64 is
    far = Scale.fit(np.array([-1.7e308, 1.7e308]))
    assert (far.center, far.spread) == (0, pytest.approx(1.7e308))
    assert Scale.fit(np.array([-1.5e308, -0.5e308, 0.5e308, 1.5e308])).spread == pytest.approx(1.5e308)


def test_seconds_of_the_epoch_and_whole_numbers_beyond_float64_survive():
    for first in (1_700_000_000, 2**60):
        _, x = transformed({"t": [str(first + i) for i in range(600)]})
        assert len(np.unique(x)) == 600
    _, x = transformed({"t": [2**60 + i for i in range(600)]})
    assert len(np.unique(x)) == 600
    extremes = [-(2**63), -1, 0, 3, 2**63 - 1]
    _, x = transformed({"t": extremes})
    assert (np.diff(x[:, 0]) >= 0).all()
    assert abs(x).max() <= 3


def test_missing_numbers_are_zero_and_flagged():
    encoder, x = transformed({"a": ["1.5", "?", "2.5", "4", "inf"]})
    assert encoder.feature_names == ("a", "a missing")
    assert x[1].tolist() == [0, 1]
    assert x[4].tolist() == [3, 0]
    encoder, x = transformed({"a": ["1.5", "2.5", "4"]}, {"a": ["", "2.5"]})
    assert encoder.feature_names == ("a",)
    assert x.tolist() == [[0], [0]]


def test_categories_have_places():
    encoder, x = transformed({"c": ["b", "a", "c"] * 3}, {"c": ["a", "b", "c", "d", None]})
    assert encoder.feature_names == ("c=a", "c=b", "c=c")
    assert x.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    encoder, x = transformed({"c": ["b", "a", None] * 3}, {"c": ["a", "b", None, "d"]})
    assert encoder.feature_names == ("c=a", "c=b", "c missing")
    assert x.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    encoder, x = transformed({"c": ["yes", "no"] * 3}, {"c": [True, False, None]})
    assert encoder.feature_names == ("c=true",)
    assert x.tolist() == [[1], [-1], [0]]


def test_text_and_dictionaries_of_it_have_the_same_places():
    words = ["a", " b", "c ", "b", None, "NA", "", "new", " new", "a"]
    encoder = fitted({"c": ["a", "b", None, "c"] * 5, "d": [f"v{i}" for i in range(20)], "n": ["1", "2.0"] * 10},
                     categorical=("c", "d", "n"))  # fmt: skip
    other = {"d": ["v1 ", None, "v0", "v1", "w", "w", "v19", "v2", "v3", "v4"], "n": ["1.0", "2"] * 5}
    unseen, expected_unseen = Counter(), Counter()
    expected = encoder.transform(table({"c": words} | other), unseen=expected_unseen)
    assert expected_unseen == {"c": 2, "d": 2}
    coded = {name: pa.array(values, pa.string()) for name, values in ({"c": words} | other).items()}
    parts = [pa.chunked_array([column[:4].dictionary_encode(), column[4:].dictionary_encode()])
             for column in coded.values()]  # fmt: skip
    indices = pa.array([3, 0, 2, 0, None, 1, 4, 5, 5, 3])
    given = [{"c": pa.DictionaryArray.from_arrays(indices.cast(kind), ["b", "NA", "c", "a", "", "new"])}
             for kind in (pa.int64(), pa.uint32())]  # fmt: skip
    for columns in (dict(zip(coded, parts, strict=True)), *(coded | one for one in given)):
        unseen.clear()
        np.testing.assert_array_equal(encoder.transform(table(columns), unseen=unseen), expected)
        assert unseen == expected_unseen


def test_codes_suit_an_embedding():
    names = [f"v{i}" for i in range(11)]
    columns = {"c": [*names * 5, None], "x": [i / 7 for i in range(56)], "d": [*names * 5, "v0"]}
    encoder, x = transformed(columns)
    assert encoder.feature_names == ("x", "c", "d")
    assert encoder.numbers == 1
    assert encoder.cardinalities == (13, 12)  # what is not known, 11 values, missing
    layer = fastbp.Embedding(encoder.cardinalities, 4, encoder.code_columns, rng=0)
    model = fastbp.Sequential(layer, fastbp.Dense(1 + 8, 2, rng=0))
    assert model.predict(x).shape == (56, 2)
    unseen = Counter()
    new = {"x": [0.5] * 3, "c": ["v10", "new", None], "d": ["v0", "new", None]}
    x = encoder.transform(table(new), unseen=unseen)
    assert x[:, 1:].tolist() == [[3, 1], [0, 0], [12, 0]]
    assert unseen == {"c": 1, "d": 1}
    assert model.predict(x).shape == (3, 2)


def test_parts_of_times_that_vary_are_told():
    days = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(60)]
    encoder, x = transformed({"d": [f"{day:%Y-%m-%d}" for day in days]})
    assert encoder.feature_names == ("d elapsed", *(f"d {p} {w}" for p in ("month", "weekday") for w in ("sin", "cos")))
    assert x.shape == (60, 5)
    assert (np.diff(x[:, 0]) > 0).all()
    angle = 2 * np.pi * np.array([day.weekday() for day in days]) / 7
    np.testing.assert_allclose(x[:, 3:], np.stack([np.sin(angle), np.cos(angle)], axis=1), atol=1e-6)
    hours = [datetime(2023 + i % 3, 5, 1, 6 * (i % 4)) for i in range(12)] + [None]
    encoder, x = transformed({"d": pa.array(hours, pa.timestamp("us"))})
    assert encoder.feature_names[:2] == ("d elapsed", "d year")
    assert encoder.feature_names[-3:] == ("d hour sin", "d hour cos", "d missing")
    np.testing.assert_allclose(x[:4, -3:-1], [[0, 1], [1, 0], [0, -1], [-1, 0]], atol=1e-6)
    assert x[12].tolist() == [0] * 6 + [1]


CELLS = {
    "number": st.floats(width=32, allow_infinity=False).map(lambda v: None if v != v else v),
    "category": st.sampled_from(["a", "b\0", "🦊", "new", None]),
    "text": st.text(max_size=3) | st.none(),
    "when": st.datetimes(datetime(1950, 1, 1), datetime(2050, 1, 1)) | st.none(),
    "flag": st.booleans() | st.none(),
}


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 30))
    return {name: draw(st.lists(cell, min_size=rows, max_size=rows)) for name, cell in CELLS.items()}


TYPES = {"number": "float64", "category": "string", "text": "string", "when": "timestamp[us]", "flag": "bool"}


def arrow(columns):
    return {name: pa.array(values, pa.type_for_alias(TYPES[name])) for name, values in columns.items()}


@settings(max_examples=30)
@given(train=tables(), other=tables(), data=st.data())
def test_row_has_its_features_wherever_it_stands(train, other, data):
    columns = arrow(train)
    made = table(columns | {"extra": pa.array([0.5] * len(columns["flag"]))})
    options = ColumnOptions(categorical=("category", "text", "flag"), features=tuple(CELLS))
    roles = find_roles(made, options)
    if not any(role.form for role in roles):
        return
    rows = np.array(data.draw(st.lists(st.sampled_from(range(len(made))), min_size=1)), np.intp)
    encoder = Encoder.fit(made, roles, rows)
    state = json.loads(json.dumps(encoder.to_dict(), allow_nan=False))
    new = table(arrow(other))
    x = encoder.transform(new)
    assert x.dtype == np.float32
    assert x.shape == (len(new), len(encoder.feature_names))
    assert np.isfinite(x).all()
    assert abs(x[:, : len(encoder.feature_names) - len(encoder.cardinalities)]).max(initial=0) <= 3
    np.testing.assert_array_equal(Encoder.from_dict(state).transform(new), x)
    order = data.draw(st.permutations(range(len(new))))
    names = data.draw(st.permutations(sorted(CELLS)))
    moved = Table(new.columns.take(order).select(names), "t")
    np.testing.assert_array_equal(encoder.transform(moved), x[order])
    text = {name: new.columns.column(name).cast(pa.string()) for name in CELLS if name != "number"}
    text["number"] = pa.array([None if v is None else repr(v) for v in other["number"]], pa.string())
    np.testing.assert_array_equal(encoder.transform(table(text)), x)
    np.testing.assert_array_equal(encoder.transform(table(arrow({k: v[:1] for k, v in other.items()}))), x[:1])


@settings(max_examples=30)
@given(values=st.lists(st.text(max_size=4), min_size=1, max_size=30))
def test_categories_come_back_from_their_codes(values):
    columns = {"c": values, "x": [float(i) for i in range(len(values))]}
    encoder = fitted(columns, categorical=("c",), numeric=("x",))
    if encoder.columns[0].column != "c":  # one value, or none
        return
    x = encoder.transform(table(columns))
    (column, *_), names = encoder.columns, []
    places = [*column.values] + [None] * column.has_missing
    if encoder.cardinalities:
        names = [places[int(code) - 1] for code in x[:, -1]]
    elif len(places) == 2:
        names = [places[int(sign > 0)] for sign in x[:, 1]]
    else:
        names = [places[int(row.argmax())] for row in x[:, 1:]]
    assert names == [value if value in column.values else None for value in map(str.strip, values)]
    assert encoder.transform(table(columns)).tolist() == x.tolist()


def test_rows_of_training_alone_are_looked_at():
    columns = {"a": ["1", "2", "4", "1000"], "c": ["x", "y", "x", "z"], "d": ["1.5", "2.5", "3.5", None]}
    encoder = fitted(columns, rows=np.array([0, 1, 2]), categorical=("c",))
    assert encoder.feature_names == ("a", "d", "c=y")
    first = {name: values[:3] for name, values in columns.items()}
    assert encoder.to_dict() == fitted(first, categorical=("c",)).to_dict()


def test_constant_in_training_is_zero_ever_after():
    columns = {"a": [1.0, 1.0, 5.0], "x": [0.1, 0.2, 0.4]}
    encoder = fitted(columns, rows=np.array([0, 1]))
    assert encoder.transform(table({"a": [7.0, math.inf, math.nan], "x": [0.1] * 3}))[:, 0].tolist() == [0, 0, 0]


def test_errors_name_everything_at_once():
    encoder = fitted({"Age": ["1.5", "2.5"], "b": ["2024-01-01", "2024-01-02"], "c": ["u", "v"], "n": [1.5, 3.5]},
                     categorical=("c",))  # fmt: skip
    with pytest.raises(TableError) as caught:
        encoder.transform(table({"age": ["1"], "n": [[1]], "c": [b"u"]}))
    message = str(caught.value)
    for part in ("no column 'Age', which the model reads; there is 'age'", "no column 'b'", "'n' should hold a number",
                 "'c' should hold a category"):  # fmt: skip
        assert part in message
    with pytest.raises(TableError) as caught:
        encoder.transform(
            table({"Age": ["1", "x", "y"], "b": [None, None, "soon"], "c": ["?"] * 3, "n": ["1", "2", "3"]})
        )
    assert str(caught.value) == (
        "t.csv: column 'Age' should hold a number, got 'x' in row 2 (line 3) and 1 more (--missing x gets past it); "
        "column 'b' should hold a time, got 'soon' in row 3 (line 4) (--missing soon gets past it)"
    )


def test_nothing_to_learn_from_says_why():
    with pytest.raises(TableError, match=r"no feature.*column 'a' is none: constant: 'k'.*'b' is none: no value"):
        fitted({"a": ["k", "k"], "b": [None, None]})
    with pytest.raises(TableError, match="no rows"):
        fitted({"a": ["1.5", "2.5"]}, rows=np.array([], np.intp))


def test_decimal_mark_of_another_table_is_its_own():
    encoder = fitted({"a": ["1.5", "2.5", "4"], "c": ["0.5", "1", "1"]}, categorical=("c",))
    x = encoder.transform(table({"a": ["1.5", "2.5"], "c": ["0.5", "1.0"]}))
    np.testing.assert_array_equal(encoder.transform(table({"a": ["1,5", "2,50"], "c": ["0,5", "1"]}, ",")), x)


def test_many_rows_are_encoded_a_block_at_a_time_to_the_same_bits():
    rng = np.random.default_rng(0)
    rows = 2 * BLOCK + 3
    columns = {"a": rng.normal(size=rows), "c": rng.integers(0, 40, rows).astype(str), "t": rng.integers(0, 9, rows)}
    encoder = fitted(columns, categorical=("c",))
    x = encoder.transform(table(columns))
    for part in (slice(BLOCK - 2, BLOCK + 2), slice(rows - 1, rows)):
        some = encoder.transform(table({name: values[part] for name, values in columns.items()}))
        np.testing.assert_array_equal(some, x[part])
    wrong = {"a": ["1"] * (BLOCK + 4) + ["x"], "c": ["1"] * (BLOCK + 5), "t": [1] * (BLOCK + 5)}
    with pytest.raises(TableError, match=rf"'x' in row {BLOCK + 5} \(line {BLOCK + 6}\)"):
        encoder.transform(table(wrong))
    assert encoder.transform(table({name: values[:0] for name, values in columns.items()})).shape == (0, 3)


def test_a_time_of_a_day_is_told_by_its_hour_of_text_and_of_its_own_type():
    times = [datetime(2024, 1, 1) + timedelta(minutes=7 * i) for i in range(12)]
    encoder, x = transformed({"t": [f"{time:%H:%M}" for time in times]})
    assert encoder.feature_names == ("t elapsed", "t hour sin", "t hour cos")
    np.testing.assert_array_equal(x, encoder.transform(table({"t": pa.array([time.time() for time in times])})))
    np.testing.assert_allclose(x[:, 1], np.sin(2 * np.pi * np.arange(12) * 7 / 1440), atol=1e-7)
    with pytest.raises(TableError, match=r"column 't' should hold a time, got timestamp"):
        encoder.transform(table({"t": pa.array(times)}))


def test_an_encoder_from_before_units_reads_as_it_did():
    state = fitted({"a": ["1.5", "2"]}).to_dict()
    del state["columns"][0]["form"]["unit"]
    np.testing.assert_array_equal(Encoder.from_dict(state).transform(table({"a": ["1.75"]})), [[0]])


def test_hundred_thousand_categories():
    values = np.arange(100_000)
    encoder = fitted({"c": pa.array(values).cast(pa.string())}, categorical=("c",))
    assert encoder.cardinalities == (100_001,)
    x = encoder.transform(table({"c": values[::-1000]}))
    np.testing.assert_array_equal(x[:, 0], values[::-1000] + 1)


def test_damaged_state_is_refused():
    columns = {"a": ["1.5", "2.5"], "c": ["u", "v"], "d": ["2024-01-01", "2024-01-02"]}
    state = fitted(columns, categorical=("c",)).to_dict()
    with pytest.raises(ValueError, match="version 2, and this fastbp reads version 1"):
        Encoder.from_dict(state | {"version": 2})
    for name in state:
        for wrong in (None, [0], "x", 0.5):
            with pytest.raises(ValueError, match=r"damaged|version"):
                Encoder.from_dict(state | {name: wrong})
    for i, column in enumerate(state["columns"]):
        for name, value in column.items():
            for wrong in (None, ["x", "x"], {"center": math.nan, "spread": -1.0}, 3, "nonsense"):
                if wrong != value and (name, wrong) != ("column", "nonsense"):
                    columns = [*state["columns"][:i], column | {name: wrong}, *state["columns"][i + 1 :]]
                    with pytest.raises(ValueError, match="damaged"):
                        Encoder.from_dict(state | {"columns": columns})
