"""Each column becomes what the rules say, and the reason is told."""

from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp.data.columns.beside import read_groups, read_times, read_weights
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.roles import find_roles
from fastbp.data.reading.table import Table, TableError

pa = pytest.importorskip("pyarrow")

ROWS = 60


def table(columns, **record):
    return Table(pa.table(columns), "t.csv", **record)


def roles(columns, record=None, **options):
    """Return each column's role."""
    found = find_roles(table(columns, **(record or {})), ColumnOptions(**options))
    return {role.column: role for role in found}


def kinds(columns, **options):
    return {name: role.kind for name, role in roles(columns, **options).items()}


def repeated(values, rows=ROWS):
    return [values[i % len(values)] for i in range(rows)]


# What makes a column of text of a role, from a source of random numbers
KINDS = {
    "number": lambda rng: [f"{value:.3f}" for value in rng.normal(size=ROWS)],
    "whole number": lambda rng: [str(value) for value in rng.integers(0, 10**6, ROWS)],
    "boolean": lambda rng: repeated(["yes", "no"]) if rng.random() < 0.5 else repeated(["True", "FALSE", "true"]),
    "category": lambda rng: [f"c{value}" for value in rng.integers(0, 9, ROWS)],
    "many values": lambda rng: [f"v{value % 12}" for value in rng.permutation(ROWS)],
    "codes": lambda rng: [f"00{value}" for value in rng.integers(1, 9, ROWS)],
    "time": lambda rng: [f"2024-{value // 28 + 1:02}-{value % 28 + 1:02}" for value in rng.permutation(ROWS)],
    "id-like": lambda rng: [f"name {value}" for value in rng.permutation(ROWS)],
    "text": lambda rng: [f"text {value // 2}" for value in rng.permutation(ROWS)],
    "constant": lambda rng: ["x"] * ROWS,
    "counts": lambda rng: [str(value) for value in rng.permutation(ROWS) + rng.integers(0, 2)],
    "nothing": lambda rng: repeated(["", "NA", None]),
}
ROLE = {"whole number": "number", "many values": "category", "codes": "category"}
ROLE |= dict.fromkeys(["id-like", "text", "constant", "counts", "nothing"], "left out")
MAY_MISS = {"number", "whole number", "boolean", "category", "codes", "time"}


@settings(max_examples=25)
@given(
    columns=st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.booleans()), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_random_columns_become_what_they_are(columns, seed):
    rng = np.random.default_rng(seed)
    made = {f"{i}": KINDS[kind](rng) for i, (kind, _) in enumerate(columns)}
    made["x"] = KINDS["number"](rng)
    for i, (kind, misses) in enumerate(columns):
        if misses and kind in MAY_MISS:
            made[str(i)] = [None if row % 7 == 3 else value for row, value in enumerate(made[str(i)])]
    found = roles(made)
    values = [tuple(column) for column in made.values()]
    for i, (kind, _) in enumerate(columns):
        role = found[str(i)]
        if Counter(values)[tuple(made[str(i)])] == 1:
            assert role.kind == ROLE.get(kind, kind), role
        assert role.why


@pytest.mark.parametrize(
    ("column", "kind", "why"),
    [
        (pa.array([1.5, 2.5] * 5), "number", "numbers"),
        (pa.array([True, False] * 5), "boolean", "'true', 'false'"),
        (pa.array([2, 1] * 5).dictionary_encode(), "category", "categories in the file"),
        (pa.array([datetime(2024, 1, 1 + i) for i in range(10)], pa.timestamp("ns", "UTC")), "time", "of UTC"),
        (pa.array([[1]] * 10), "left out", "no single values"),
        (pa.DictionaryArray.from_arrays(pa.array([0] * 10), pa.array([[1]])), "left out", "no single values"),
        (pa.array([None] * 10), "left out", "no value"),
        (pa.array([timedelta(seconds=i**2) for i in range(10)]), "number", "numbers"),
        (pa.array(["3", "abc", "1", "5", "8", "9", "7", "13", "2", "4"]), "left out", "'abc' in row 2"),
        (
            pa.array(["1,234", "2,345"] * 3 + ["3,456", "4,567", "5,678", "6,789"]),
            "left out",
            "thousands or of decimals",
        ),
        (pa.array(["1,234,567", "2,345"] * 5), "number", "',' between thousands"),
        (pa.array(["1/2/2024", "3/4/2024"] * 5), "time", "no number tells day and month apart"),
        (pa.array(["$5", "-$1,234.50"] * 5), "number", "',' between thousands, each with '$'"),
        (pa.array(["5 %", "0.5 %"] * 5), "number", "numbers, each with '%'"),
        (pa.array(["36 months", "60 months"] * 5), "number", "each with 'months'"),
        (pa.array(["5 %", "5 €"] * 5), "category", "'5 %', '5 €'"),
        (pa.array(["A1", "A2"] * 5), "category", "'A1', 'A2'"),
        (pa.array(["23:59", "9:05"] * 5), "time", "times of a day, from 09:05:00 to 23:59:00"),
        (pa.array([3600, 60] * 5, pa.time32("s")), "time", "times of a day, from 00:01:00 to 01:00:00"),
        (pa.array(["NA", "x"] * 5), "category", "'x'"),
        (pa.array([7.0] * 10), "left out", "constant: 7"),
        (pa.array([7.0, None] * 5), "number", "numbers"),
    ],
)
def test_typed_and_doubtful_columns(column, kind, why):
    role = roles({"c": column, "x": list(np.linspace(0, 1, 10) ** 2)})["c"]
    assert role.kind == kind
    assert why in role.why


@pytest.mark.parametrize(
    ("name", "is_id"), [("PassengerId", True), ("user_id", True), ("ID", True), ("paid", False), ("x", False)]
)
def test_whole_numbers_that_all_differ_are_an_id_by_their_name(name, is_id):
    values = [1000 + 7 * i for i in range(ROWS)]
    kind = kinds({name: values, "other": KINDS["number"](np.random.default_rng(0))})[name]
    assert kind == ("left out" if is_id else "number")
    assert kinds({name: repeated(values[:30]), "other": list(range(ROWS))})[name] == "number"


def test_what_counts_the_rows_is_taken_where_nothing_else_is_left():
    assert kinds({"n": ["1", "2", "3"], "x": ["0.5", "0.1", "0.2"]}) == {"n": "left out", "x": "number"}
    found = roles({"n": ["1", "2", "3"], "y": ["a", "b", "a"]}, target=("y",))
    assert found["n"].kind == "number"
    assert "nothing else" in found["n"].why


def test_columns_of_the_same_values_are_named():
    x, y = ["1.5", "2", "3", None], ["a", "a", "b", "b"]
    found = roles({"x": x, "again": x, "y": y, "other": [1.5, 2.0, 3.0, None], "z": ["b", "b", "a", "a"]})
    assert found["again"].why == found["other"].why == "the same values as column 'x'"
    assert found["z"].kind == "category"


def test_index_is_no_feature_unless_it_is_asked_for():
    columns = {"i": [5, 3, 8, 1], "x": [0.5, 0.1, 0.2, 0.1]}
    assert roles(columns, {"index": ("i",)})["i"].why.startswith("an index")
    assert roles(columns, {"index": ("i",)}, features=("i",))["i"].kind == "number"


def test_options_decide_before_the_rules():
    columns = {
        "zip": ["501", "502"] * 5, "text": [f"t{i}" for i in range(10)], "odd": ["1", "x"] * 5, "w": [1.0] * 10,
        "g": ["a"] * 10, "x": [i * 0.1 for i in range(10)], "when": [f"2024-01-{i + 1:02}" for i in range(10)],
    }  # fmt: skip
    found = roles(
        columns, categorical=("zip", "text"), numeric=("odd",), weight="w", group="g", drop=("x",), time="when"
    )
    assert {name: role.kind for name, role in found.items()} == {
        "zip": "category", "text": "category", "odd": "number", "w": "weight", "g": "group",
        "x": "left out", "when": "time",
    }  # fmt: skip
    assert found["odd"].missing == 5
    assert "5 values" in found["odd"].why
    assert list(kinds(columns, features=("x", "zip")).items())[:2] == [("x", "number"), ("zip", "number")]
    assert kinds(columns, features=("x",))["zip"] == "left out"


def test_options_that_do_not_fit_are_all_named_at_once():
    options = {"drop": ("a", "Bee"), "features": ("a",), "numeric": ("c", "d"), "categorical": ("c",), "weight": "w"}
    with pytest.raises(TableError) as caught:
        roles({"a": [1.0], "bee": [2.0], "c": [1], "d": [[1]]}, **options)
    message = str(caught.value)
    for part in ("'Bee'; there is 'bee'", "no column: 'w'", "--features and --drop both name 'a'", "both name 'c'"):
        assert part in message
    with pytest.raises(TableError, match=r"'d', which holds list.*'e', which holds no number"):
        roles({"d": [[1]], "e": ["x"]}, numeric=("d", "e"))
    with pytest.raises(TypeError, match="tuple"):
        ColumnOptions(drop="abc")


def test_weights_groups_and_times_are_read():
    columns = {"w": ["1", "0.5", "2"], "g": ["b", None, "b"], "t": ["2024-01-03", "2024-01-01", "2024-01-02"]}
    made = table(columns)
    assert read_weights(made, "w").tolist() == [1, 0.5, 2]
    assert read_groups(made, "g").tolist() == [0, 1, 0]
    assert read_times(made, "t").argsort().tolist() == [1, 2, 0]
    for wrong in ("-1", "nan", "inf", "x"):
        with pytest.raises(TableError, match=f"'{wrong}' in row 2"):
            read_weights(table({"w": ["1", wrong]}), "w")
    with pytest.raises(TableError, match="a time in each row, got None in row 2"):
        read_times(table({"t": ["2024-01-01", None]}), "t")
