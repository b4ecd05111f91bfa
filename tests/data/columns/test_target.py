"""Targets are classes or quantities by stated rules, and labels come back as they stood."""

import json
import math
from datetime import datetime

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastbp.data.columns.target import Target, find_target
from fastbp.data.reading.table import Table, TableError

pa = pytest.importorskip("pyarrow")


def table(values, decimal=".", name="y"):
    return Table(pa.table({name: values}), "t.csv", decimal=decimal, first_line=2)


def target(values, task=None, decimal="."):
    return find_target(table(values, decimal), ["y"], task)


CLASSES, QUANTITY = "classification", "regression"


@pytest.mark.parametrize(
    ("values", "task", "why"),
    [
        (["a", "b"] * 3, CLASSES, "text"),
        (["+", "-"] * 3, CLASSES, "text"),
        ([True, False] * 3, CLASSES, "booleans"),
        (["yes", "no"] * 3, CLASSES, "booleans"),
        ([0, 1] * 3, CLASSES, "few whole numbers"),
        (["0.0", "1.0"] * 3, CLASSES, "few whole numbers"),
        ([0.0, 1.0, math.nan] * 3, CLASSES, "few whole numbers"),
        ([501, 10001] * 3, CLASSES, "few whole numbers"),
        ([*range(20)] * 2, CLASSES, "few whole numbers"),
        ([*range(21)] * 2, QUANTITY, "21 whole numbers, more than 20"),
        ([200, 301, 404] * 3, QUANTITY, "whole numbers from 200 to 404, far apart"),
        ([1, 2, 3, 4, 5], QUANTITY, "5 whole numbers in 5 rows"),
        (["1.5", "2"] * 3, QUANTITY, "numbers with fractions"),
        (["1,5", "2"] * 3, QUANTITY, "numbers with fractions"),
        (["00501", "10001"] * 3, CLASSES, "text"),
        (pa.array(["b", "a"] * 3).dictionary_encode(), CLASSES, "text"),
    ],
)
def test_rule_decides_and_is_told(values, task, why):
    found = target(values)
    assert found.task == task
    assert found.why == why


def test_task_decides_before_the_rules():
    assert target([0, 1] * 3, QUANTITY).task == QUANTITY
    found = target(["1.5", "2.5"] * 3, CLASSES)
    assert found.classes == ("1.5", "2.5")
    with pytest.raises(ValueError, match="task should be"):
        target([0, 1], "ranking")


def test_labels_come_back_as_they_stood_and_in_order():
    assert target(["10001", "00501"] * 3).classes == ("00501", "10001")
    assert target(["10", "9"] * 3).classes == ("9", "10")
    found = target(["1.0", "0.0", "0"] * 3)
    assert found.classes == ("0.0", "1.0")
    assert found.read(table([0, 1.0, None])).y.tolist() == [0, 1]
    assert target(["Yes", "no", "NO"] * 3).classes == ("no", "Yes")


def test_rows_without_an_answer_are_left_out_and_counted():
    found = target(["male", "NA", "female", "?", None, " "])
    assert found.missing == 4
    y, rows = found.read(table(["male", "NA", "female", "?", None, " "]))
    assert y.tolist() == [1, 0]
    assert rows.tolist() == [0, 2]
    found = target(["?", "10.5", "-", "11.5"])
    assert found.missing == 2
    assert found.read(table(["?", "10.5", "-", "11.5"])).y.tolist() == [[10.5], [11.5]]


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        (["x"] * 4, None, "'x' in each row that has one: there is nothing to learn"),
        (["x", None], None, "nothing to learn"),
        ([3.5, 3.5], None, "nothing to learn"),
        ([7, 7], QUANTITY, "nothing to learn"),
        ([None, "?"], None, "no value in any row"),
        ([f"name {i}" for i in range(5)], None, "its 5 values all differ"),
        ([*[str(i / 7) for i in range(30)], "abc"], None, r"'abc' in row 31 \(line 32\) \(--missing abc gets past it"),
        (["1,234", "2,345"] * 3 + [f"{i},{i}" for i in range(100, 130)], None, "may have a mark"),
        (["1.5", "inf"], None, "finite numbers, got 'inf' in row 2"),
        (["a", "1"], QUANTITY, r"'a' in row 1"),
        ([datetime(2024, 1, 1), datetime(2024, 1, 2)], None, "timestamp.*no quantity"),
        ([[1], [2]], None, "neither classes nor quantities"),
    ],
)
def test_what_cannot_be_learnt_is_an_error(values, task, message):
    with pytest.raises(TableError, match=message):
        target(values, task)


def test_other_tables_have_to_have_the_same_classes():
    found = target(["a", "b"] * 3)
    with pytest.raises(TableError, match="classes that training did not: 'c', 'd'; it had 'a', 'b'"):
        found.read(table(["a", "c", "d"]))
    with pytest.raises(TableError, match="no column 'y'; there is 'Y'"):
        found.read(table(["a"], name="Y"))


def test_other_tables_may_have_another_decimal_mark():
    found = target(["1.5", "2.5"] * 3)
    assert found.read(table(["1,5", "10,5"], ",")).y.tolist() == [[1.5], [10.5]]
    commas = target(["1,5", "2"] * 3)  # in a file whose other numbers have points
    assert commas.read(table(["1,5"])).y.tolist() == [[1.5]]


def test_several_targets_are_quantities():
    columns = Table(
        pa.table({"a": [1.5, None, 2.5, 3.5], "b": ["1,5", "2", "?", "3"], "c": ["u", "v", "u", "v"]}), "t.csv"
    )
    found = find_target(columns, ["a", "b"])
    assert found.missing == 2
    y, rows = found.read(columns)
    assert y.tolist() == [[1.5, 1.5], [3.5, 3]]
    assert rows.tolist() == [0, 3]
    with pytest.raises(TableError, match=r"'c'.*has classes"):
        find_target(columns, ["a", "c"])
    with pytest.raises(TableError, match=r"no column 'd'.*no column 'e'"):
        find_target(columns, ["d", "e"])


LABELS = st.text(min_size=1, max_size=4).filter(lambda text: text.strip() == text)


@settings(max_examples=40)
@given(
    kinds=st.lists(LABELS, min_size=2, max_size=6, unique=True)
    | st.lists(st.integers(-50, 49), min_size=2, max_size=6, unique=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_classes_come_back(kinds, seed):
    rows = np.random.default_rng(seed).permutation([*kinds] * 3).tolist()
    given_table = table(pa.array(rows))
    try:
        found = find_target(given_table, ["y"], CLASSES)
    except TableError:  # without marks of missing values, and labels that mean the same, less than two are left
        assume(False)
    found = Target.from_dict(json.loads(json.dumps(found.to_dict())))
    y, where = found.read(given_table)
    assert len(y) == len(rows) - found.missing
    if found.forms[0].words == "text":
        assert [found.classes[code] for code in y] == [rows[i] for i in where]
    elif isinstance(kinds[0], int):
        assert [int(found.classes[code]) for code in y] == rows


def test_damaged_state_is_refused():
    for found in (target(["a", "b"] * 3), target([1.5, 2.5])):
        state = found.to_dict()
        assert Target.from_dict(json.loads(json.dumps(state))) == found
        for name in state:
            for wrong in ([1, 2], [], None, "nonsense"):
                if (name, wrong) != ("why", "nonsense") and wrong != state[name] and name not in ("missing",):
                    with pytest.raises(ValueError, match="damaged"):
                        Target.from_dict(state | {name: wrong})
            with pytest.raises(ValueError, match="damaged"):
                Target.from_dict({key: value for key, value in state.items() if key != name})
