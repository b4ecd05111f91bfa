"""Tables on the command line that are read a block at a time: larger than memory, or said to be."""

import csv
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp._base import memory
from fastbp.app import source
from fastbp.app.pipeline import Pipeline
from fastbp.app.run import Run
from fastbp.app.source import Source
from fastbp.data.columns.encoder import Encoder
from fastbp.data.reading import blocks, copied
from fastbp.data.reading.large import open_large
from fastbp.data.reading.table import TableError
from fastbp.tables import kept
from tests.app.test_tables import QUICK, answers, command, figure, people, quick_runs, run_options, write  # noqa: F401

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

ROWS = 64


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Make blocks of few rows."""
    for module in (blocks, copied):
        monkeypatch.setattr(module, "ROWS", ROWS)


def as_parquet(path, columns):
    parquet.write_table(pa.table({name: list(values) for name, values in columns.items()}), path, row_group_size=ROWS)
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return the same people as text, with empty answers, and as Parquet."""
    columns, folder = people(400), tmp_path_factory.mktemp("tables")
    for name in ("pay", "left"):
        columns[name] = [None if i % 50 == 7 else value for i, value in enumerate(columns[name])]
    return write(folder / "people.csv", columns), as_parquet(folder / "people.parquet", columns)


@pytest.mark.parametrize("kind", [0, 1], ids=["csv", "parquet"])
@pytest.mark.parametrize("target", ["pay", "left"])
def test_table_is_trained_evaluated_and_predicted_in_blocks(tables, tmp_path, kind, target):
    file, out = tables[kind], tmp_path / "run"
    output = command("train", file, "--target", target, "--stream", "--out", out, *QUICK)
    assert "in 7 blocks of rows" in output
    assert "8 of 400 rows without one are left out" in output
    model = out / "model.safetensors"
    evaluated = command("evaluate", model, file)
    assert "the test rows, which training did not see; 8 without an answer are left out" in evaluated
    for name in ("loss", "R2" if target == "pay" else "accuracy"):
        assert figure(evaluated, name) == figure(output, name)
    # A block at a time or at once: the same answers in the order of the rows
    for ending in ("csv", "npy"):
        options = ["--id", "name", "--out"]
        command("predict", model, file, "--stream", *options, tmp_path / f"a.{ending}")
        command("predict", model, file, *options, tmp_path / f"b.{ending}")
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    assert [row["name"] for row in answers(tmp_path / "a.csv")] == [f"p{i}" for i in range(400)]
    predicted = fastbp.TableModel.load(model).predict(str(file))
    assert len(predicted) == 400


def test_parts_have_their_rows_and_the_encoder_is_that_of_the_training_rows(tables, tmp_path):
    options = run_options(["--target", "pay", "--stream", *QUICK])
    made = Run(str(tables[0]), options)
    parts = {name: [n for block in rows.part.blocks([]) for n in block.rows] for name, rows in made.parts.items()}
    numbers = np.concatenate(list(parts.values()))
    assert sorted(numbers) == [i for i in range(400) if i % 50 != 7]
    assert all(abs(len(parts[name]) / 392 - share) < 0.08 for name, share in (("test", 0.2), ("validation", 0.08)))
    whole = Source(str(tables[0])).open()
    encoder = Encoder.fit(whole.take(np.array(parts["train"])), made.data.roles)
    assert encoder.to_dict() == made.pipeline.features.encoder.to_dict()
    rows = made.parts["train"]
    x = np.concatenate([rows.read(block)[0] for block in range(len(rows.sizes))])
    np.testing.assert_array_equal(x, encoder.transform(whole.take(np.array(parts["train"]))))
    y = np.concatenate([rows.read(block)[1] for block in range(len(rows.sizes))])
    np.testing.assert_allclose(made.pipeline.target_scaler.shift, y.mean(axis=0))
    np.testing.assert_allclose(made.pipeline.target_scaler.scale, y.std(axis=0))
    # the figures of all rows at once
    in_memory = made.pipeline.evaluate(rows=fastbp.data.split.Answered(x, y))
    assert made.pipeline.evaluate(rows) == pytest.approx(in_memory)


def test_groups_stay_together_and_times_are_parted(tables):
    def values(made, name):
        return {
            part: [v for block in rows.part.blocks([name]) for v in block.columns.column(name).to_pylist()]
            for part, rows in made.parts.items()
        }

    grouped = Run(str(tables[1]), run_options(["--target", "pay", "--group", "team", "--stream", *QUICK]))
    teams = {part: set(found) for part, found in values(grouped, "team").items()}
    assert not teams["train"] & (teams["test"] | teams["validation"])
    timed = ["--target", "pay", "--time", "hired", *QUICK]
    found = values(Run(str(tables[1]), run_options([*timed, "--stream"])), "hired")
    assert max(found["train"]) <= min(found["validation"]) <= max(found["validation"]) <= min(found["test"])
    kept = Run(str(tables[1]), run_options(timed)).data.parts  # in memory
    for part, rows in kept.items():
        assert sorted(rows.x.columns.column("hired").to_pylist()) == sorted(found[part])


def test_weights_and_balanced_classes_count(tables, tmp_path):
    columns = people(300)
    columns["w"] = ["0" if i % 3 else "1.5" for i in range(300)]
    file = write(tmp_path / "t.csv", columns)
    options = ["--target", "left", "--weight", "w", "--class-weight", "balanced", "--stream", *QUICK]
    output = command("train", file, *options, "--out", tmp_path / "w")
    evaluated = command("evaluate", tmp_path / "w" / "model.safetensors", file)
    assert "weighted by w" in evaluated
    pipeline = Pipeline.load(tmp_path / "w" / "model.safetensors")
    rows, _ = pipeline.features.load_answered(Source(str(file)), (), pipeline.reading)
    read = [rows.read(block) for block in range(len(rows.sizes))]
    at_once = fastbp.data.split.Answered(*(np.concatenate(each) for each in zip(*read, strict=True)))
    figures = pipeline.evaluate(rows)
    assert figures == pytest.approx(pipeline.evaluate(at_once))
    assert figure(output, "accuracy") == pytest.approx(100 * figures["accuracy"], abs=0.01)
    assert pipeline.recall(rows, 1) == pytest.approx(pipeline.recall(at_once, 1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"w": ["1"] * 299 + ["-1"]}, "got '-1' in row 300 (line 301)"),
        ({"left": [None, "yes", None, "no"] * 75, "w": ["1", "0"] * 150}, "is 0 in each row that has an answer"),
        ({"left": [None] * 300}, "has no value in any row"),
    ],
)
def test_weights_are_checked_in_all_blocks_before_training(tmp_path, change, says):
    file = write(tmp_path / "t.csv", people(300) | {"w": ["1"] * 300} | change)
    with pytest.raises(TableError) as raised:
        Run(str(file), run_options(["--target", "left", "--weight", "w", "--stream", *QUICK]))
    assert says in str(raised.value)


def test_weights_are_written_alike_in_all_blocks(tmp_path):
    file = write(tmp_path / "t.csv", people(300) | {"w": ["1,234"] * 200 + ["1,5"] * 100})  # a decimal comma
    rows = Run(str(file), run_options(["--target", "left", "--weight", "w", "--stream", *QUICK])).parts["train"]
    weights = np.concatenate([rows.read(block)[2] for block in range(len(rows.sizes))])
    assert np.unique(weights).tolist() == [1.234, 1.5]


def test_rows_of_one_group_are_not_parted(tmp_path):
    file = write(tmp_path / "t.csv", people(300) | {"team": ["a"] * 300})
    with pytest.raises(
        ValueError, match=r"its 300 rows cannot be parted by --group 'team': the parts would have \d+, "
    ):
        Run(str(file), run_options(["--target", "left", "--group", "team", "--stream", *QUICK]))


def test_a_file_that_memory_has_no_room_for_is_read_in_blocks(tables, tmp_path, monkeypatch):
    assert memory.available() > 0
    monkeypatch.setattr(source, "available", lambda: 10_000)
    assert "streamed" in command("train", tables[0], "--target", "pay", "--out", tmp_path / "a", *QUICK)
    told = command("train", tables[0], "--target", "pay", "--no-stream", "--out", tmp_path / "b", *QUICK)
    assert "streamed" not in told
    monkeypatch.setattr(source, "available", lambda: 1e12)
    # the run goes on as it began
    again = command("train", "--resume", "--epochs", 5, "--out", tmp_path / "a")
    assert "streamed" in again
    assert "3 of 3 epochs are done: goes on to 5" in again
    said = command("train", "--resume", "--no-stream", "--out", tmp_path / "a", code=2)
    assert "--stream" in said


def test_a_run_in_memory_goes_on_there(tables, tmp_path, monkeypatch):
    command("train", tables[0], "--target", "pay", "--out", tmp_path / "a", *QUICK)
    monkeypatch.setattr(source, "available", lambda: 10_000)
    assert "streamed" not in command("train", "--resume", "--epochs", 5, "--out", tmp_path / "a")


def test_a_killed_run_goes_on_to_the_same_bits(tables, tmp_path):
    """After SIGKILL in the middle of an epoch, whose blocks are in an order of their own."""
    options = ["--target", "left", "--stream", "--epochs", "4", "--hidden", "8", "--batch-size", "8", "--threads", "1"]
    command("train", tables[1], *options, "--out", tmp_path / "whole")
    code = (
        "import os, signal; from fastbp.app import run; from fastbp.app.cli import main\n"
        "class Killed(run.Saves):\n"
        "    every = 5\n"
        "    def on_steps_end(self, trainer):\n"
        "        if trainer.steps == 60:\n"
        "            self.save(trainer)\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "run.Saves = Killed\nmain()"
    )
    folder = tmp_path / "killed"
    words = [sys.executable, "-c", code, "train", str(tables[1]), *options, "--out", str(folder)]
    assert subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL
    assert fastbp.Trainer.load_checkpoint(folder / "checkpoint.safetensors").steps == 60
    assert fastbp.Trainer.load_checkpoint(tmp_path / "whole" / "finished.safetensors").steps == 4 * 32
    command("train", "--resume", "--out", folder)
    first, second = (fastbp.load(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    for name, value in first.parameters().items():
        np.testing.assert_array_equal(value, second.parameters()[name])


def test_a_changed_file_is_refused_by_a_run_that_goes_on(tmp_path):
    columns = people(300)
    file = write(tmp_path / "t.csv", columns)
    command("train", file, "--target", "pay", "--stream", "--out", tmp_path / "a", *QUICK)
    columns["age"][5] = "99"
    write(file, columns)
    assert "whose rows differ" in command("train", "--resume", "--epochs", 5, "--out", tmp_path / "a", code=2)
    assert "all rows" in command("evaluate", tmp_path / "a" / "model.safetensors", file)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--metric", "auc"], "no --metric for a table that is read a block at a time"),
        (["--weight", "wages"], "names no column: 'wages'"),
        (["--scaling", "none"], "no --scaling none for a table"),
        (["--group", "name", "--time", "hired"], "--group or --time, not both"),
    ],
)
def test_what_cannot_be_done_in_blocks_is_refused(tables, tmp_path, words, says):
    given = ["train", tables[0], "--target", "left", "--stream", "--out", tmp_path / "a", *QUICK, *words]
    assert says in command(*given, code=2)


def test_arrays_take_no_stream(tmp_path):
    assert "digits is no table, and so takes no --stream" in command("train", "digits", "--stream", code=2)
    npz = tmp_path / "a.npz"
    np.savez(npz, x=np.zeros((9, 2)), y=np.arange(9) % 2)
    assert "takes no --stream" in command("train", npz, "--stream", code=2)


def test_a_wrong_line_is_named_and_a_wrong_value_too(tmp_path):
    file = tmp_path / "t.csv"
    with open(file, "w", newline="") as opened:
        csv.writer(opened).writerows([["a", "y"], *([i % 7, i % 5 + 0.5] for i in range(200))])
    command("train", file, "--target", "y", "--stream", "--out", tmp_path / "a", *QUICK)
    lines = file.read_text().splitlines()
    lines[150] = "x,1.5"
    file.write_text("\n".join(lines) + "\n")
    words = ["predict", tmp_path / "a" / "model.safetensors", file, "--stream", "--out", tmp_path / "a.csv"]
    assert "column 'a' should hold a number, got 'x' in row 150 (line 151)" in command(*words, code=2)
    assert not (tmp_path / "a.csv").exists()
    lines[150] = "1,2,3"
    file.write_text("\n".join(lines) + "\n")
    assert "line 151 should have 2 fields, got 3" in command(*words, code=2)


def test_describe_says_the_same_in_blocks(tables):
    for file in tables:
        words = ["describe", file, "--target", "left", "--weight", "count"]
        assert command(*words) == command(*words, "--stream")
    assert len(open_large(str(tables[1])).sizes) == 7


def test_rows_that_are_kept_are_those_that_were_encoded(tables, monkeypatch):
    made = Run(str(tables[1]), run_options(["--target", "pay", "--stream", *QUICK]))
    rows, test = made.parts["train"], made.parts["test"]
    blocks_of = range(len(rows.sizes))
    first = [rows.read(block) for block in blocks_of]
    monkeypatch.setattr(Encoder, "transform", None)  # is not called again
    for block in blocks_of:
        for array, again in zip(first[block], rows.read(block), strict=True):
            np.testing.assert_array_equal(array, again)
    scaled = rows.scaled(made.pipeline.target_scaler).read(0)[1]
    np.testing.assert_array_equal(scaled, made.pipeline.target_scaler.transform(first[0][1]))
    with pytest.raises(TypeError, match="not callable"):
        test.read(0)  # read once, and so not kept


def test_without_room_on_the_disk_rows_are_encoded_each_time(tables, monkeypatch):
    monkeypatch.setattr(kept, "ROOM", 1e18)
    rows = Run(str(tables[1]), run_options(["--target", "pay", "--stream", *QUICK])).parts["train"]
    first = rows.read(1)
    np.testing.assert_array_equal(first[0], rows.read(1)[0])
    monkeypatch.setattr(Encoder, "transform", None)
    with pytest.raises(TypeError, match="not callable"):
        rows.read(1)


def test_a_folder_for_temporary_files_that_is_not_there_is_named_where_one_is_needed(tables, tmp_path, monkeypatch):
    text, typed = tables
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    options = ["--target", "pay", "--stream", *QUICK]
    said = command("train", text, *options, "--out", tmp_path / "a", code=2)
    assert f"No such file or directory (TMPDIR names the folder of temporary files): {tmp_path / 'gone'}\n" in said
    command("train", typed, *options, "--out", tmp_path / "b")  # keeps no rows
