"""`fastbp train` with what a recipe has: normalization, dropout, warm-up, averages, clipping, the best parameters."""

import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import fastbp
from fastbp.app.cli import app
from fastbp.app.folder import CHECKPOINT, FINISHED, HISTORY, MODEL
from torture.runs import COMMAND

# All at once: what they have in common is a step
RECIPE = [
    "--hidden", "24,16", "--norm", "batch_norm", "--activation", "silu", "--dropout", "0.2", "--optimizer", "adamw",
    "--lr", "0.01", "--schedule", "cosine", "--warmup", "0.1", "--weight-decay", "0.05", "--no-decay", "*.bias",
    "--no-decay", "1.weight", "--clip-norm", "0.5", "--ema", "0.9", "--monitor", "val_accuracy", "--batch-size", "100",
    "--threads", "1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Draw no pictures, and leave the number of threads as it was."""
    threads = fastbp.get_num_threads()
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    yield
    fastbp.set_num_threads(threads)


def command(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def succeeds(*arguments):
    result = command(*arguments)
    assert result.exit_code == 0, result.output + result.stderr
    return result.stdout


def refused(*arguments):
    result = command("train", *arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    (line,) = result.stderr.splitlines()
    return line


def results(folder):
    return [(folder / name).read_bytes() for name in (MODEL, HISTORY)]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Return the folder of a run with all at once, and what it printed."""
    folder = tmp_path_factory.mktemp("recipe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
        return folder, succeeds("train", *RECIPE, "--epochs", 12, "--out", folder)


def in_python(epochs):
    """Train as the command does; return the model of the averages at the best epoch, and the history."""
    data = fastbp.load_dataset("digits")
    x, x_val, y, y_val = fastbp.train_validation_split(
        data.x_train, data.y_train, fraction=0.1, seed=0, stratify=data.y_train
    )
    scaler = fastbp.Scaler.fit(x, "scale")
    groups = {"*.bias": {"weight_decay": 0}, "1.weight": {"weight_decay": 0}}
    lr = fastbp.schedules.cosine(0.01, warmup=0.1)
    trainer = fastbp.Trainer(
        fastbp.mlp([64, 24, 16, 10], "silu", norm="batch_norm", dropout=0.2, rng=0),
        fastbp.CrossEntropyLoss(label_smoothing=0.1),
        fastbp.AdamW(lr, weight_decay=0.05, groups=groups),
        clip_norm=0.5,
        ema=0.9,
    )
    best = fastbp.EarlyStopping("val_accuracy", patience=epochs)
    validation = scaler.transform(x_val), y_val
    history = trainer.fit(
        scaler.transform(x), y, epochs=epochs, batch_size=100, rng=0, validation_data=validation, callbacks=[best],
        progress=False,
    )  # fmt: skip
    return trainer.averaged_model(), history, best.best_epoch


def test_a_run_is_what_the_same_names_are_in_python(recipe):
    folder, said = recipe
    exact, history, best = in_python(12)
    model = fastbp.load(folder / MODEL)
    assert model.parameters().keys() == exact.parameters().keys()
    for name, value in exact.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], value, err_msg=name)
    assert best == np.argmax(history["val_accuracy"]) + 1 < 12
    assert f"parameters of epoch {best}" in said
    assert "stopped early" not in said
    assert len((folder / HISTORY).read_text().splitlines()) == 13


def test_a_run_says_what_it_is_made_of(recipe):
    _, said = recipe
    said = " ".join(said.split())
    assert "64-24-16-10, batch_norm, silu, dropout 0.2, float32" in said
    assert "adamw, lr 0.01 by cosine after a warm-up of 0.1, weight decay 0.05 (none of *.bias, 1.weight)" in said
    assert "batch 100, gradients' norm at most 0.5, averages by 0.9" in said


def test_evaluate_and_predict_take_the_averages(recipe, tmp_path):
    folder, said = recipe
    (line,) = [line.split() for line in said.splitlines() if line.strip().startswith("accuracy  ")]
    evaluated = succeeds("evaluate", folder / MODEL, "digits")
    assert f"accuracy {line[3]}" in " ".join(evaluated.split())
    data = fastbp.load_dataset("digits")
    np.save(tmp_path / "x.npy", data.x_test)
    succeeds("predict", folder / MODEL, tmp_path / "x.npy", "--out", tmp_path / "y.npz")
    answers = np.load(tmp_path / "y.npz")["class"].astype(int)
    assert f"{(answers == data.y_test).mean():.2%}" == line[3]
    checkpoint = fastbp.Trainer.load_checkpoint(folder / FINISHED)
    assert (checkpoint.ema, checkpoint.clip_norm) == (0.9, 0.5)


def test_a_run_that_is_killed_goes_on_to_the_same_bits(recipe, tmp_path):
    folder, _ = recipe
    out, each_step = tmp_path / "out", "0"  # seconds: a checkpoint, and a compiled call
    arguments = [sys.executable, "-c", COMMAND, each_step, each_step, *RECIPE, "--epochs", "12", "--out", out]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("epoch"):
                break
        process.kill()
        process.communicate(timeout=60)
    assert 13 <= fastbp.Trainer.load_checkpoint(out / CHECKPOINT).steps < 12 * 13
    succeeds("train", "--resume", "--out", out)
    assert results(out) == results(folder)


def test_a_longer_run_has_its_warm_up_in_all_of_its_steps(tmp_path):
    said = succeeds("train", *RECIPE, "--epochs", 2, "--out", tmp_path)
    said = succeeds("train", "--resume", "--epochs", 4, "--out", tmp_path)
    assert "goes along cosine(0.01, warmup=0.1) of all of them" in " ".join(said.split())
    again = "train", "--resume", "--out", tmp_path
    assert "--resume expects --no-decay *.bias,1.weight as" in refused(*again[1:], "--no-decay", "*.bias")
    same = ["--no-decay", "*.bias", "--no-decay", "1.weight", "--warmup", "0.1"]
    assert "nothing is left to train" in succeeds(*again, *same)


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_a_warm_up_goes_by_steps_with_any_schedule_that_has_none_of_its_own(tmp_path, schedule):
    quick = ["--threads", 1, "--hidden", 4, "--epochs", 3, "--batch-size", 100, "--lr", 0.01]
    succeeds("train", *quick, "--schedule", schedule, "--warmup", 0.5, "--out", tmp_path)
    header, *lines = (tmp_path / HISTORY).read_text().splitlines()
    rates = [float(line.split(",")[header.split(",").index("lr")]) for line in lines]
    expected = fastbp.schedules.named(schedule, 0.01, warmup=0.5).values(39)[12::13]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_a_figure_to_watch_brings_the_best_parameters_back_and_stops_nothing(tmp_path):
    asked = ["--threads", 1, "--hidden", 16, "--epochs", 9, "--lr", 0.03, "--schedule", "constant", "--monitor"]
    said = succeeds("train", *asked, "val_loss", "--out", tmp_path)
    header, *lines = (tmp_path / HISTORY).read_text().splitlines()
    losses = [float(line.split(",")[header.split(",").index("val_loss")]) for line in lines]
    assert len(losses) == 9
    assert np.argmin(losses) < 8  # else the test shows nothing
    assert f"parameters of epoch {np.argmin(losses) + 1}" in said
    (line,) = [line for line in said.splitlines() if line.strip().startswith("loss  ") and "entropy" not in line]
    assert float(line.split()[2]) == pytest.approx(min(losses), abs=1e-4)


def test_with_no_figure_to_watch_the_model_is_the_averages_of_the_last_step(tmp_path):
    succeeds("train", "--threads", 1, "--hidden", 8, "--epochs", 2, "--ema", 0.99, "--out", tmp_path)
    trainer = fastbp.Trainer.load_checkpoint(tmp_path / FINISHED)
    model, averaged = fastbp.load(tmp_path / MODEL), trainer.averaged_model().state_dict()
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, averaged[name], err_msg=name)
        assert (value != trainer.model.state_dict()[name]).any()


def test_what_cannot_be_honoured_is_refused_before_anything_is_written(tmp_path):
    for options, said in (
        (["--norm", "group_norm"], "--norm to be one of batch_norm, layer_norm, rms_norm; got 'group_norm'"),
        (["--dropout", 1], "--dropout in [0, 1), got 1.0"),
        (["--dropout", "nan"], "--dropout in [0, 1)"),
        (["--warmup", 1.5], "--warmup in [0, 1], got 1.5"),
        (["--warmup", 0.1, "--schedule", "one_cycle"], "no --warmup with --schedule one_cycle: it has its own"),
        (["--clip-norm", 0], "--clip-norm greater than 0, got 0"),
        (["--clip-norm", "inf"], "--clip-norm"),
        (["--ema", 1], "--ema in [0, 1), got 1.0"),
        (["--ema", 0], "--ema greater than 0, got 0"),
        (["--no-decay", "*.bias"], "--weight-decay with --no-decay: there is none"),
        (["--weight-decay", 0.1, "--no-decay", "bias"], "--no-decay to match 0.weight, 0.bias, 1.weight"),
        (["--monitor", "val_f1"], "--monitor to be one of val_loss, val_accuracy; got 'val_f1'"),
        (["--norm", "batch_norm", "--batch-size", 4], "batches of at least 2 rows for BatchNorm, and 1293 rows"),
    ):
        assert said in refused(*options, "--out", tmp_path), options
        assert not list(tmp_path.iterdir()), options


def test_the_preset_tabm_trains_an_ensemble_and_its_average_is_evaluated_and_predicted(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 3))
    kinds = np.where(x[:, 0] * x[:, 1] > 0, "like", "unlike")
    lines = [f"{a},{b},{c},{kind}" for (a, b, c), kind in zip(x, kinds, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,kind", *lines]))
    asked = ["t.csv", "--target", "kind", "--preset", "tabm", "--hidden", "32,32", "--batch-size", "32", "--lr", "0.01"]
    said = " ".join(succeeds("train", *asked, "--epochs", 10, "--out", "run").split())
    assert "3-32-32-2, relu, dropout 0.1" in said
    model = fastbp.TableModel.load("run/model.safetensors")
    assert (model.network.members, model.network.out_features) == (32, 64)
    accuracy = (model.predict("t.csv") == kinds).mean()
    assert accuracy > 0.8
    succeeds("predict", "run/model.safetensors", "t.csv", "--out", "p.csv")
    written = [line.split(",")[0] for line in (tmp_path / "p.csv").read_text().splitlines()[1:]]
    assert written == model.predict("t.csv").tolist()
    test = succeeds("evaluate", "run/model.safetensors", "t.csv")
    assert "accuracy" in test
    longer = [*asked, "--epochs", 12, "--out"]
    succeeds("train", *longer, "run", "--resume")
    succeeds("train", *longer, "whole")
    assert results(tmp_path / "run")[1] == results(tmp_path / "whole")[1]
