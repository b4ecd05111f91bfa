"""The comparison of networks and trees on real tables, in a small form with what `dev` brings."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from benchmarks.tables import report, scores
from benchmarks.tables.__main__ import main
from benchmarks.tables.data import TABLES, Table, load, split
from benchmarks.tables.methods import MODULES, module_of
from benchmarks.tables.run import lines

METHODS = ["fastbp RealMLP TD-S", "scikit-learn MLP"]  # trees take seconds where all cores are busy


@pytest.fixture
def table():
    """Return a table of 1 000 rows, whose one column tells the row; one row of ten is of class b."""
    classes = pd.Series(pd.Categorical(np.where(np.arange(1000) % 10, "a", "b")))
    return Table("numbers", pd.DataFrame({"row": np.arange(1000.0)}), classes)


def test_rows_of_a_split_are_in_one_part_each(table):
    part = split(table, 0, 10_000)
    rows = np.concatenate([x["row"] for x in (part.x_train, part.x_validation, part.x_test)])
    assert sorted(rows) == list(range(1000))
    assert [len(y) for y in (part.y_train, part.y_validation, part.y_test)] == [600, 200, 200]


def test_classes_have_the_same_share_of_each_part(table):
    part = split(table, 0, 300)
    for x, y in ((part.x_train, part.y_train), (part.x_validation, part.y_validation), (part.x_test, part.y_test)):
        assert (np.array(part.classes)[y] == np.where(x["row"] % 10, "a", "b")).all()
        assert abs((y == 1).sum() - len(y) / 10) <= 1


def test_a_seed_gives_the_same_split(table):
    assert split(table, 3, 300).x_train.equals(split(table, 3, 300).x_train)
    assert not split(table, 3, 300).x_train.equals(split(table, 4, 300).x_train)


def test_fewer_training_rows_are_some_of_more(table):
    assert set(split(table, 0, 60).x_train["row"]) < set(split(table, 0, 300).x_train["row"])


def test_categories_and_missing_values_stay_as_they_are(monkeypatch):
    frame = pd.DataFrame(
        {"size": [1, 2, None], "colour": ["red", None, "blue"], "flag": [True, False, True], "y": list("aba")}
    )
    monkeypatch.setitem(TABLES, "made up", (lambda: frame, "y", None))
    made = load("made up")
    assert [str(made.features[name].dtype) for name in made.features] == ["float64", "category", "category"]
    assert made.features.isna().to_numpy().tolist() == [[False] * 3, [False, True, False], [True, False, False]]
    assert made.classes == ["a", "b"]


def test_every_method_is_in_its_module():
    for method in METHODS:
        assert method in module_of(method).METHODS
        assert set(module_of(method).METHODS) <= set(MODULES)


def test_log_loss_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet([1, 1, 1], 50), np.arange(50) % 3
    assert scores.log_loss(p, y) == pytest.approx(log_loss(y, p))


def test_temperature_undoes_what_sharpened_probabilities():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1], 20_000)
    y = (rng.random(len(p)) < p[:, 1]).astype(int)
    sharpened = p**3 / (p**3).sum(axis=1, keepdims=True)
    assert scores.temperature(sharpened, y) == pytest.approx(3, rel=0.1)
    assert scores.temperature(p, y) == pytest.approx(1, rel=0.1)


def test_rows_that_are_all_right_leave_a_doubt():
    sure = np.eye(2)[np.zeros(20, int)]
    assert scores.tempered(sure, scores.temperature(sure, np.zeros(20, int)), 20).max() < 1 - 1 / 50


def test_ranks_count_methods_and_share_places():
    assert report.ranks(np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 5.0]])).tolist() == [1.25, 1.75, 3.0]


def test_nearly_no_error_is_not_far_above_none():
    means = np.array([[0.0001, 0.1], [0.0, 0.1]])
    assert report.beside_best(means, "error") == pytest.approx([1.005, 1], abs=1e-3)
    assert report.beside_best(np.array([[2.0, 8.0], [1.0, 2.0]]), "rmse") == pytest.approx([8**0.5, 1])


def line(method, seed, error):
    return {"method": method, "table": "spam", "rows": 512, "seed": seed, "error": error}


def test_a_difference_beyond_noise_is_said():
    ours, theirs = "fastbp RealMLP TD-S", "pytabkit RealMLP TD-S"
    same = [line(theirs, seed, 0.1 + 0.01 * seed) for seed in range(5)]
    worse = [line(ours, seed, 0.12 + 0.01 * seed + 0.001 * (seed % 2)) for seed in range(5)]
    noisy = [line(ours, seed, 0.12 + 0.01 * seed + 0.1 * (seed % 2)) for seed in range(5)]
    assert "**worse**" in report.report([*same, *worse], 512, [ours, theirs])
    assert "within noise" in report.report([*same, *noisy], 512, [ours, theirs])


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return what calls the command and returns the results."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["tables", "--results", str(tmp_path), *map(str, arguments)])
        main()
        return lines(tmp_path)

    return call


def test_the_comparison_fits_what_is_missing_and_reports_it(run, capsys):
    some = ["run", "--tables", "breast cancer", "diabetes", "--rows", 100, "--epochs", 2, "--methods"]
    first = run(*some, METHODS[1], "--seeds", 1)
    assert [(one["table"], one["seed"]) for one in first] == [("breast cancer", 0), ("diabetes", 0)]
    found = run(*some, *METHODS, "--seeds", 1)
    assert [one for one in found if one["method"] == METHODS[1]] == first
    assert len(found) == 4
    assert all(0 < one.get("log_loss", 1) < 2 for one in found)
    assert all(one["fit_seconds"] > 0 for one in found)
    capsys.readouterr()
    run("report", "--rows", 100)
    shown = capsys.readouterr().out
    assert all(f"| {method} " in shown for method in METHODS)
    assert "| mean rank |" in shown


def test_a_run_without_time_says_that_fits_are_left(run):
    with pytest.raises(SystemExit) as ended:
        run("run", "--tables", "diabetes", "--methods", METHODS[1], "--seconds", -1)
    assert ended.value.code == 3


def test_lines_are_json_of_a_line_each(run, tmp_path):
    run("run", "--tables", "diabetes", "--rows", 60, "--methods", METHODS[1], "--seeds", 1)
    (file,) = tmp_path.glob("*.jsonl")
    assert json.loads(file.read_text())["table"] == "diabetes"
