"""Tables on the command line: trained, evaluated and predicted by what their columns are."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fastbp
from fastbp._base import pace
from fastbp.app import run
from fastbp.app.cli import app
from fastbp.app.pipeline import Pipeline
from fastbp.app.source import Source
from fastbp.data.columns.encoder import Encoder
from fastbp.data.columns.roles import find_roles
from fastbp.nn.modelfile import MODEL, read_tensors

pa = pytest.importorskip("pyarrow")

CASES = Path(__file__).parents[1] / "data" / "tables"
QUICK = ["--threads", "1", "--epochs", "3", "--hidden", "8"]


@pytest.fixture(autouse=True)
def quick_runs(monkeypatch):
    """Draw no pictures, and give the threads back."""
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    threads = fastbp.get_num_threads()
    yield
    fastbp.set_num_threads(threads)


def command(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout if code == 0 else result.stderr


def figure(output, name, part=-1):
    """Return a figure of the last line that begins with a name."""
    (*_, line) = [line for line in output.splitlines() if line.strip().startswith(name)]
    return float(line.split()[part].rstrip("%"))


def answers(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def people(rows=240, seed=0):
    """Return a table of columns of all kinds, with what they say of ``pay`` and of ``left``."""
    rng = np.random.default_rng(seed)
    age, city, team = rng.integers(20, 65, rows), rng.integers(0, 3, rows), rng.integers(0, 12, rows)
    hired = rng.integers(0, 4000, rows)
    pay = 1000 + 20 * age + 300 * city + 50 * team + rng.normal(0, 20, rows)
    day = np.datetime64("2010-01-01") + hired
    left = np.where(age + 5 * city > 45, "yes", "no")
    return {
        "name": [f"p{i}" for i in range(rows)],
        "age": [None if i % 17 == 3 else str(a) for i, a in enumerate(age)],
        "city": np.array(["Oslo", "Rome", "Bern"])[city],
        "team": [f"team {t}" for t in team],
        "hired": [str(d) for d in day],
        "count": np.where(left == "yes", "2", "1"),
        "pay": [f"{p:.2f}" for p in pay],
        "left": left,
    }


def write(path, columns, separator=","):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train on people; return the folder and what was printed."""
    folder = tmp_path_factory.mktemp("people")
    write(folder / "people.csv", people())
    asked = ["--target", "left", "--drop", "count", "--drop", "pay", *QUICK, "--epochs", 40, "--lr", 0.02]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
        return folder, command("train", folder / "people.csv", *asked, "--out", folder)


# What it reads


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("all_troubles.csv", "y", "name: id-like: all values differ, such as 'A, B' and 3 more"),
        ("headerless.csv", "2", "no header"),
        ("latin1_label.csv", "y", "cp1252"),
        ("leading_zero.csv", "y", "2 classes (text)"),
        ("plain.csv.gz", "y", "gzip"),
        ("semicolon.csv", "y", "';' separated"),
        ("utf16.csv", "y", "UTF-16"),
        ("index_train.parquet", "y", "__index_level_0__: an index"),
    ],
)
def test_a_usual_file_trains_and_says_as_what(tmp_path, name, target, said):
    assert said in command("train", CASES / name, "--target", target, *QUICK, "--out", tmp_path)


def test_seconds_since_1970_are_told_apart(tmp_path):
    output = command("train", CASES / "unixtime.csv", "--target", "y", *QUICK, "--epochs", 60, "--out", tmp_path)
    assert figure(output, "accuracy") >= 95


def test_an_index_tells_nothing(tmp_path):
    source = CASES / "index_train.parquet"
    output = command("train", source, "--target", "y", *QUICK, "--epochs", 20, "--out", tmp_path)
    assert figure(output, "accuracy") < 60
    command("predict", tmp_path / "model.safetensors", source, "--out", tmp_path / "a.csv")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"noise": [0.5, -1.5]}), tmp_path / "new.parquet")  # without an index
    command("predict", tmp_path / "model.safetensors", tmp_path / "new.parquet", "--out", tmp_path / "b.csv")
    assert len(answers(tmp_path / "b.csv")) == 2


def test_idx_files_of_a_test_are_the_test_rows(tmp_path):
    for part, rows in (("train", 40), ("test", 10)):
        for what, shape in (("images-idx3", (rows, 2, 2)), ("labels-idx1", (rows,))):
            values = np.arange(np.prod(shape), dtype=np.uint8) % 2
            header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
            (tmp_path / f"{part}-{what}-ubyte").write_bytes(header + values.tobytes())
    output = command("train", tmp_path, *QUICK, "--out", tmp_path / "out")
    assert "36 train, 4 validation, 10 test" in output


def test_labels_come_back_as_they_stood_in_the_order_of_the_rows(tmp_path):
    command("train", CASES / "leading_zero.csv", "--target", "y", *QUICK, "--out", tmp_path)
    command("predict", tmp_path / "model.safetensors", CASES / "leading_zero.csv", "--out", tmp_path / "a.csv",
            "--id", "a")  # fmt: skip
    rows = answers(tmp_path / "a.csv")
    assert [row["a"] for row in rows] == [str(i) for i in range(40)]
    assert list(rows[0]) == ["a", "class", "probability", "probability of 00501", "probability of 10001"]
    error = command("predict", tmp_path / "model.safetensors", CASES / "leading_zero.csv", "--out",
                    tmp_path / "b.csv", "--id", "b", code=2)  # fmt: skip
    assert "--id names no column: 'b'" in error
    assert {row["class"] for row in rows} <= {"00501", "10001"}
    for row in rows:
        assert float(row["probability"]) == float(row[f"probability of {row['class']}"])


def test_an_npz_may_have_an_id_of_any_name_that_is_none_of_its_own(tmp_path):
    (tmp_path / "file.csv").write_text((CASES / "leading_zero.csv").read_text().replace("a", "file", 1))
    command("train", tmp_path / "file.csv", "--target", "y", *QUICK, "--out", tmp_path)
    model = tmp_path / "model.safetensors"
    command("predict", model, tmp_path / "file.csv", "--out", tmp_path / "a.npz", "--id", "file")
    with np.load(tmp_path / "a.npz") as found:
        assert found.files == ["file", "class", "probability", "classes", "probabilities"]
        assert found["file"].tolist() == [str(i) for i in range(40)]
    lines = (tmp_path / "file.csv").read_text().splitlines()
    (tmp_path / "classes.csv").write_text("\n".join([f"{lines[0]},classes", *(f"{line},0" for line in lines[1:])]))
    error = command("predict", model, tmp_path / "classes.csv", "--out", tmp_path / "b.npz", "--id", "classes", code=2)
    assert "--id of another name than a column of the answers, got classes" in error


def test_what_is_predicted_is_said_and_rows_without_an_answer_are_counted(tmp_path):
    values = {"a": range(60), "y": ["male", "female", "NA"] * 20}
    output = command("train", write(tmp_path / "sex.csv", values), "--target", "y", *QUICK, "--out", tmp_path / "sex")
    assert "y: 2 classes (text); 20 of 60 rows without one are left out" in output
    values = {"a": range(60), "y": ["?", *(f"{10 + i / 2}" for i in range(59))]}
    output = command("train", write(tmp_path / "q.csv", values), "--target", "y", *QUICK, "--out", tmp_path / "q")
    assert "y: a quantity (numbers with fractions); 1 of 60 rows without one are left out" in output
    values = {"a": range(200), "y": [100_000 + 1000 * (i // 2) for i in range(200)]}
    output = command("train", write(tmp_path / "p.csv", values), "--target", "y", *QUICK, "--out", tmp_path / "p")
    assert "y: a quantity (100 whole numbers, more than 20)" in output
    values = {"a": range(40), "y": ["0.0", "1.0"] * 20}
    output = command("train", write(tmp_path / "f.csv", values), "--target", "y", *QUICK, "--out", tmp_path / "f")
    assert "y: 2 classes (few whole numbers)" in output


def test_no_target_names_the_columns(tmp_path):
    error = command("train", write(tmp_path / "t.csv", people()), code=2)
    assert "needs --target" in error
    assert "city, team" in error


# Its kinds of columns


def test_columns_of_all_kinds_train_and_say_what_they_became(trained):
    folder, output = trained
    assert "left out    name: id-like" in output
    assert "count: --drop" in output
    assert "made of 4 columns" in output
    assert figure(output, "accuracy") > 80
    evaluated = command("evaluate", folder / "model.safetensors", folder / "people.csv")
    assert "48, the test rows, which training did not see" in evaluated
    assert figure(evaluated, "accuracy") == figure(output, "accuracy")
    assert figure(evaluated, "loss") == figure(output, "loss")


def test_codes_that_training_did_not_have_are_zeros(trained):
    (embedding, *_) = Pipeline.load(trained[0] / "model.safetensors").model.layers
    assert embedding.cardinalities == (13,)
    assert embedding.dims == (8,)
    assert not embedding.weights[0][0].any()
    assert embedding.weights[0][1:].all()


def test_predictions_do_not_depend_on_the_order_of_columns_and_on_others(trained, tmp_path):
    folder, _ = trained
    model, columns = folder / "model.safetensors", people()
    command("predict", model, folder / "people.csv", "--out", tmp_path / "a.csv")
    other = {name: columns[name] for name in ("team", "hired", "city", "age")} | {"more": ["x"] * 240}
    command("predict", model, write(tmp_path / "other.csv", other, ";"), "--out", tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    del other["team"], other["age"]
    error = command("predict", model, write(tmp_path / "less.csv", other), "--out", tmp_path / "c.csv", code=2)
    assert "'team'" in error
    assert "'age'" in error


def test_several_targets_are_quantities_of_their_own_names(tmp_path):
    write(tmp_path / "t.csv", people())
    output = command("train", tmp_path / "t.csv", "--target", "pay", "--target", "age", *QUICK, "--epochs", 60,
                     "--lr", 0.02, "--out", tmp_path)  # fmt: skip
    assert "pay, age: 2 quantities" in output
    assert figure(output, "R2") > 0.5
    command("predict", tmp_path / "model.safetensors", tmp_path / "t.csv", "--out", tmp_path / "a.csv")
    assert list(answers(tmp_path / "a.csv")[0]) == ["pay", "age"]


def test_texts_may_stand_for_a_missing_value_and_new_ones_are_told_of(trained, tmp_path):
    columns = people()
    columns["age"] = [" gone" if i % 9 == 0 else age for i, age in enumerate(columns["age"])]
    columns["team"] = ["team 99" if i % 80 == 0 else team for i, team in enumerate(columns["team"])]
    source, model = write(tmp_path / "t.csv", columns), trained[0] / "model.safetensors"
    assert "(--missing gone gets past it)" in command("predict", model, source, "--out", tmp_path / "a.csv", code=2)
    said = command("predict", model, source, "--out", tmp_path / "a.csv", "--missing", "gone")
    assert "column 'team' has a value that training did not have in 3 rows" in said
    assert re.search(r"^ *age +category", command("describe", source), re.MULTILINE)
    assert re.search(r"^ *age +number", command("describe", source, "--missing", "gone"), re.MULTILINE)
    out = tmp_path / "out"
    command("train", source, "--target", "left", "--missing", "gone", *QUICK, "--out", out)
    assert "which training did not see" in command("evaluate", out / "model.safetensors", source)


# Which rows count, and how much


def test_groups_stay_together_and_late_rows_are_held_out(tmp_path):
    columns = people()
    source = write(tmp_path / "t.csv", columns)
    for option, name in (("group", "team"), ("time", "hired")):
        options = ["--target", "left", f"--{option}", name, *QUICK]
        data = run.Run(str(source), run_options(options)).data
        values = {part: rows.x.columns.column(name).to_pylist() for part, rows in data.parts.items()}
        if option == "group":
            train, watched, test = map(set, values.values())
            assert len(train | watched | test) == len(train) + len(watched) + len(test) == 12
        else:
            assert max(values["train"]) <= min(values["validation"])
            assert max(values["validation"]) <= min(values["test"])
        output = command("train", source, *options, "--out", tmp_path / option)
        evaluated = command("evaluate", tmp_path / option / "model.safetensors", source)
        assert "which training did not see" in evaluated
        assert figure(evaluated, "loss") == figure(output, "loss")


def test_features_are_found_on_the_training_rows_alone(tmp_path):
    columns = people()
    late = np.argsort(columns["hired"])[-40:]  # of 48 test rows
    for i in late:
        columns["city"][i], columns["age"][i] = "Rome", "1000"
    columns["team"] = ["late" if i in late else team for i, team in enumerate(columns["team"])]
    options = ["--target", "left", "--time", "hired", "--numeric", "age", *QUICK]
    made = run.Run(str(write(tmp_path / "t.csv", columns)), run_options(options))
    encoder = made.pipeline.features.encoder
    assert "late" not in next(column.values for column in encoder.columns if column.column == "team")
    assert (made.parts["test"].x[-40:, encoder.feature_names.index("team")] == 0).all()
    first = made.data.parts["train"].x
    again = Encoder.fit(first, find_roles(first, run_options(options).columns))
    np.testing.assert_array_equal(again.transform(first)[:, 0], made.parts["train"].x[:, 0])


def run_options(words):
    """Return the options that `fastbp train` makes of words."""
    import typer

    from fastbp.app import arguments

    params = typer.main.get_command(app).commands["train"].make_context("train", [str(w) for w in words]).params
    return run.Options(**arguments.asked(params))


def test_weights_count_in_training_and_in_figures(tmp_path):
    rng = np.random.default_rng(0)
    a = rng.normal(size=300)
    columns = {"a": a, "w": np.where(a > 0, 1.0, 0.0), "y": np.where(a > 0, 2 * a, 50 - a)}
    source = write(tmp_path / "t.csv", columns)
    options = ["--target", "y", "--weight", "w", "--preset", "plain", *QUICK, "--epochs", 60, "--lr", 0.02]
    output = command("train", source, *options, "--out", tmp_path / "w")
    assert "weighted by w" in output
    assert figure(output, "R2") > 0.8
    evaluated = command("evaluate", tmp_path / "w" / "model.safetensors", source)
    assert figure(evaluated, "R2") == figure(output, "R2")
    # the same rows without those that count for nothing
    columns = {name: values[a > 0] for name, values in columns.items()}
    some = command("evaluate", tmp_path / "w" / "model.safetensors", write(tmp_path / "some.csv", columns))
    every = Pipeline.load(tmp_path / "w" / "model.safetensors")
    rows, _ = every.features.load_answered(Source(str(source)), (), every.reading)
    assert len(rows.y) == 60
    assert figure(some, "R2") > 0.8
    zeros = write(tmp_path / "zeros.csv", columns | {"w": np.zeros(len(columns["w"]))})
    assert "--weight 'w' is 0 in each row" in command("train", zeros, "--target", "y", "--weight", "w", code=2)
    error = command("train", source, "--target", "y", "--weight", "y2", *QUICK, code=2)
    assert "--weight names no column: 'y2'" in error


def test_a_rare_class_is_told_of_and_balanced_weights_find_it(tmp_path):
    rng = np.random.default_rng(1)
    a, rare = rng.normal(size=1000), np.arange(1000) % 50 == 0
    source = write(tmp_path / "rare.csv", {"a": a + 1.5 * rare, "y": np.where(rare, "fraud", "ok")})
    options = ["--target", "y", *QUICK, "--epochs", 20]
    output = command("train", source, *options, "--out", tmp_path / "plain")
    assert figure(output, "recall of fraud", 3) < 50
    y = run.Run(str(source), run_options([source, *options])).parts["train"].y
    counts = np.bincount(y)
    part = f"{counts[0] / len(y):.2%}"
    assert f"{part} of the training rows are fraud: with --class-weight balanced" in output
    output = command("train", source, *options, "--class-weight", "balanced", "--out", tmp_path / "balanced")
    assert figure(output, "recall of fraud", 3) > 50
    assert "with --class-weight" not in output
    meta = fastbp.load(tmp_path / "balanced" / "model.safetensors").metadata
    assert meta["class_weight"] == (len(y) / (2 * counts)).tolist()
    evaluated = command("evaluate", tmp_path / "balanced" / "model.safetensors", source)
    assert figure(evaluated, "loss") == figure(output, "loss")


# Going on


def test_a_stopped_run_with_embeddings_and_weights_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    source = write(tmp_path / "t.csv", people())
    asked = ["--target", "left", "--weight", "pay", "--categorical", "count", "--time", "hired", "--class-weight",
             "balanced", "--ema", 0.9, "--batch-size", 20, *QUICK]  # fmt: skip
    command("train", source, *asked, "--out", tmp_path / "straight")

    class Stops(run.Saves):
        def on_steps_end(self, trainer):
            super().on_steps_end(trainer)
            if trainer.steps >= 13:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "Saves", Stops)
        patch.setattr(pace, "CALL_SECONDS", 0.0)
        command("train", source, *asked, "--out", tmp_path / "out", code=130)
    for other, said in (
        (["--target", "pay"], "--target left as the run has it, got pay"),
        (["--drop", "age"], "--drop (not given) as the run has it, got age"),
        (["--categorical", "age"], "--categorical count as the run has it, got age"),
        (["--weight", "age"], "--weight pay as the run has it, got age"),
        (["--separator", ";"], "--separator (not given)"),
    ):
        assert said in command("train", "--resume", *other, "--out", tmp_path / "out", code=2), other
    command("train", "--resume", "--out", tmp_path / "out")
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert "left: 2 classes (booleans)" in command("train", "--resume", "--epochs", 5, "--out", tmp_path / "out")
    columns = people()
    columns["city"][5] = "Bonn"
    write(source, columns)
    assert "DATA" in command("train", "--resume", "--epochs", 6, "--out", tmp_path / "out", code=2)


def test_rows_of_another_file_may_be_the_test_rows(tmp_path):
    write(tmp_path / "t.csv", people())
    write(tmp_path / "u.csv", people(50, seed=1) | {"more": range(50)}, ";")
    output = command(
        "train", tmp_path / "t.csv", "--target", "left", "--test", tmp_path / "u.csv", *QUICK, "--out", tmp_path
    )
    assert "192 train, 48 validation, 50 test" in output
    assert "which training did not see" in command("evaluate", tmp_path / "model.safetensors", tmp_path / "u.csv")


def test_a_run_finds_its_test_file_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "t.csv", people())
    write(tmp_path / "a" / "u.csv", people(50, seed=1))
    monkeypatch.chdir(tmp_path / "a")
    command("train", "t.csv", "--target", "left", "--test", "u.csv", *QUICK, "--out", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    assert "50 test" in command("train", "--resume", "--epochs", 4, "--out", tmp_path / "out")
    command("train", "--resume", "--test", "a/u.csv", "--epochs", 5, "--out", tmp_path / "out")
    write(tmp_path / "v.csv", people(50, seed=2))
    error = command("train", "--resume", "--test", "v.csv", "--epochs", 6, "--out", tmp_path / "out", code=2)
    assert "--resume expects --test u.csv as the run has it, got v.csv" in error
    header, _ = read_tensors(tmp_path / "out" / "model.safetensors", MODEL, "test")
    assert str(tmp_path) not in json.dumps(header)


# Files


def spoil(meta, where, value):
    *path, last = where
    for name in path:
        meta = meta[name]
    meta[last] = value


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["table"], 3),
        (["table", "encoder"], {}),
        (["table", "encoder", "columns", 0, "kind"], "picture"),
        (["table", "encoder", "columns"], []),
        (["table", "target", "classes"], ["a"]),
        (["options", "drop"], "pay"),
    ],
)
def test_damaged_metadata_is_a_named_error(trained, tmp_path, where, value):
    model = fastbp.load(trained[0] / "model.safetensors")
    spoil(model.metadata, where, value)
    model.save(tmp_path / "spoilt.safetensors")
    error = command("predict", tmp_path / "spoilt.safetensors", trained[0] / "people.csv", "--out", tmp_path / "a.csv",
                    code=2)  # fmt: skip
    assert "spoilt.safetensors is damaged: its metadata does not fit" in error
    if where[0] == "table":
        with pytest.raises(ValueError, match=r"spoilt\.safetensors is damaged"):
            fastbp.TableModel.load(tmp_path / "spoilt.safetensors")


def test_the_model_file_is_plain_data(trained):
    header, tensors = read_tensors(trained[0] / "model.safetensors", MODEL, "test")
    kinds = [column["kind"] for column in header["metadata"]["table"]["encoder"]["columns"]]
    assert kinds == ["number", "category", "category", "time"]
    assert json.loads(json.dumps(header["metadata"], allow_nan=False)) == header["metadata"]
    assert set(tensors) == set(fastbp.load(trained[0] / "model.safetensors").parameters())


def test_a_model_file_from_before_encoders_still_predicts(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    write(tmp_path / "t.csv", {"b": x[:, 1], "a": x[:, 0], "y": np.where(x[:, 0] > 0, "p", "n")})
    model = fastbp.mlp([2, 2], rng=0)
    data = fastbp.load_dataset(tmp_path / "t.csv", target="y", feature_names=["a", "b"])
    scaler = fastbp.Scaler.fit(data.x_train, "standardize")
    model.metadata = {
        "task": "classification", "classes": ["n", "p"], "feature_names": ["a", "b"], "target": "y",
        "scaler": scaler.to_dict(), "target_scaler": None, "options": {"label_smoothing": 0.0, "epochs": 1}, "seed": 0,
        "data": {"name": "t.csv", "test_rows": ""},
    }  # fmt: skip
    model.save(tmp_path / "old.safetensors")
    assert "40, all rows" in command("evaluate", tmp_path / "old.safetensors", tmp_path / "t.csv")
    command("predict", tmp_path / "old.safetensors", tmp_path / "t.csv", "--out", tmp_path / "a.csv")
    said = np.array([row["class"] for row in answers(tmp_path / "a.csv")])
    np.testing.assert_array_equal(
        said, np.array(["n", "p"])[model.predict(scaler.transform(x.astype(np.float32))).argmax(axis=1)]
    )


# Real tables, which come with scikit-learn


@pytest.mark.parametrize(
    ("name", "target", "figure_of", "least"),
    [
        ("iris.csv", "virginica", "accuracy", 80),
        ("wine_data.csv", "13", "accuracy", 70),
        ("breast_cancer.csv", "30", "accuracy", 90),
        ("digits.csv.gz", "64", "accuracy", 90),
        ("diabetes_data_raw.csv.gz", "9", "R2", 0.1),
        ("linnerud_physiological.csv", "Weight", "R2", -10),
    ],
)
def test_a_table_of_scikit_learn_trains_with_one_command(tmp_path, name, target, figure_of, least):
    datasets = pytest.importorskip("sklearn.datasets")
    source = Path(datasets.__file__).parent / "data" / name
    output = command("train", source, "--target", target, "--epochs", 20, "--out", tmp_path)
    assert figure(output, figure_of) > least
