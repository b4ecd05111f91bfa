"""The command line: in one process where that will do, as a program where only that shows it."""

import csv
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fastbp
from fastbp.app.cli import app
from fastbp.app.pipeline import Pipeline
from fastbp.kernels import workers

ARTEFACTS = ["finished.safetensors", "history.csv", "learning_curve.png", "model.safetensors"]
# One thread: the tests run beside others, and the result does not depend on it.
QUICK = ["--threads", "1", "--epochs", "3", "--hidden", "16"]


@pytest.fixture(scope="module")
def restored_threads():
    threads = fastbp.get_num_threads()
    yield
    fastbp.set_num_threads(threads)


@pytest.fixture(scope="module")
def fastbp_command(restored_threads):
    """Run a command in this process; return its result."""

    def run(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return run


@pytest.fixture(scope="module")
def succeeds(fastbp_command):
    def run(*arguments):
        result = fastbp_command(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.fixture(scope="module")
def digits(succeeds, tmp_path_factory):
    """Train on digits with all defaults; return the folder and what was printed."""
    folder = tmp_path_factory.mktemp("digits")
    return folder, succeeds("train", "digits", "--threads", "1", "--out", folder)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Write a table of flowers as .csv and .parquet; return their folder."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import csv as pa_csv
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 300)
    length, width = rng.normal(10 * kind, 1.0), rng.normal(3000 - 500 * kind, 50.0)
    names = np.array(["iris", "rose", "tulip"])[kind]
    price = 100 + 7 * length - 0.05 * width + rng.normal(0, 1, 300)
    folder = tmp_path_factory.mktemp("table")
    flowers = pa.table({"length": length, "kind": names, "width": width, "price": price})
    pa_csv.write_csv(flowers, folder / "flowers.csv")
    parquet.write_table(flowers, folder / "flowers.parquet")
    pa_csv.write_csv(flowers.select(["width", "length"]), folder / "new.csv")  # another order, no truth
    return folder


def figure(output, name):
    """Read the last number of the last line that begins with a name."""
    (*_, line) = [line for line in output.splitlines() if line.strip().startswith(name)]
    return float(line.split()[-1].rstrip("%"))


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# Training


def test_training_on_digits_ends_at_97_percent_with_its_files(digits):
    folder, output = digits
    assert figure(output, "accuracy") >= 97
    assert sorted(path.name for path in folder.iterdir()) == ARTEFACTS
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    history = read_csv(folder / "history.csv")
    assert len(history) == 60
    assert float(history[-1]["val_accuracy"]) > 0.95


def test_table_of_results_says_what_was_done_and_how_fast(digits):
    _, output = digits
    for said in ("64-256-128-10", "50 826", "adam, lr 0.003", "label smoothing 0.1", "1 293 train, 144 validation",
                 "360 test", "time an epoch", "samples/s", "GFLOP/s"):  # fmt: skip
        assert said in output


def test_output_to_a_file_has_no_control_characters_and_a_line_an_epoch_or_so(digits):
    _, output = digits
    assert not re.search(r"[^\n\x20-\x7e─]", output)
    assert 20 <= len([line for line in output.splitlines() if line.startswith("epoch ")]) <= 60


def test_model_file_holds_what_prediction_needs(digits):
    folder, _ = digits
    meta = fastbp.load(folder / "model.safetensors").metadata
    assert meta["task"] == "classification"
    assert meta["classes"] == [str(i) for i in range(10)]
    assert meta["scaler"] == {"kind": "scale", "shift": 0.0, "scale": 16.0}
    assert meta["seed"] == 0
    assert meta["options"]["hidden"] == [256, 128]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_seed_gives_the_same_model_file_for_any_threads(succeeds, tmp_path, dtype):
    files = []
    for i, threads in enumerate((1, 1, min(2, workers.most_threads()))):
        out = tmp_path / str(i)
        succeeds("train", "--epochs", 1, "--threads", threads, "--dtype", dtype, "--batch-size", 256, "--out", out)
        files.append((out / "model.safetensors").read_bytes())
    assert files[0] == files[1] == files[2]


def test_another_seed_gives_another_model_and_the_same_test_rows(succeeds, tmp_path):
    metas = []
    for seed in (1, 2):
        succeeds("train", *QUICK, "--seed", seed, "--out", tmp_path / str(seed))
        model = fastbp.load(tmp_path / str(seed) / "model.safetensors")
        metas.append((model.metadata["data"], model.parameters()["0.weight"]))
    assert metas[0][0] == metas[1][0]
    assert not np.array_equal(metas[0][1], metas[1][1])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "momentum", "nesterov", "rmsprop", "nadam", "adagrad"])
def test_every_optimizer_learns_with_its_own_learning_rate(succeeds, tmp_path, optimizer):
    output = succeeds("train", "--optimizer", optimizer, "--epochs", 10, "--threads", 1, "--out", tmp_path)
    assert figure(output, "accuracy") > 85


def test_patience_stops_early_and_keeps_the_best_parameters(succeeds, tmp_path):
    output = succeeds("train", "--threads", 1, "--patience", 2, "--lr", 0.01, "--out", tmp_path)
    history = read_csv(tmp_path / "history.csv")
    losses = [float(row["val_loss"]) for row in history]
    assert "stopped early" in output
    assert f"parameters of epoch {np.argmin(losses) + 1}" in output
    loss_line = next(line for line in output.splitlines() if line.strip().startswith("loss  ") and "." in line
                     and "entropy" not in line)  # fmt: skip
    assert float(loss_line.split()[2]) == pytest.approx(min(losses), abs=1e-4)


def test_metrics_are_in_the_history_and_the_report_and_one_may_be_watched(succeeds, fastbp_command, tmp_path):
    asked = [
        "--threads",
        1,
        "--lr",
        0.01,
        "--hidden",
        16,
        "--metric",
        "f1_macro",
        "--metric",
        "top_3",
        "--out",
        tmp_path,
    ]
    output = succeeds("train", *asked, "--patience", 2, "--monitor", "val_f1_macro")
    history = read_csv(tmp_path / "history.csv")
    assert list(history[0])[-4:] == ["val_loss", "val_accuracy", "val_f1_macro", "val_top_3"]
    values = [float(row["val_f1_macro"]) for row in history]
    best = int(np.argmax(values))
    assert len(values) == best + 3
    assert f"parameters of epoch {best + 1}" in output
    (line,) = [line for line in output.splitlines() if line.strip().startswith("f1 macro  ")]
    assert float(line.split()[3]) == pytest.approx(values[best], abs=1e-4)
    evaluated = succeeds("evaluate", tmp_path / "model.safetensors", "digits")
    assert figure(evaluated, "f1 macro") == float(line.split()[4])
    assert figure(evaluated, "top 3") > 0.9
    for more, match in (
        (["--metric", "f3"], "among accuracy, top_<k>"),
        (["--metric", "f1"], "take f1_macro or f1_micro"),
        (
            ["--metric", "auc", "--patience", 2, "--monitor", "val_f1"],
            "one of val_loss, val_accuracy, val_auc; got 'val_f1'",
        ),
        (["--monitor", "val_accuracy", "--validation-fraction", 0], "no --monitor with --validation-fraction 0"),
        (["--metric", "auc", "--validation-fraction", 0], "no --metric with --validation-fraction 0"),
        (
            ["--metric", "auc", "--patience", 2, "--monitor", "val_auc"],
            "holds another run (--metric f1_macro,top_3, here auc)",
        ),
        ([], "holds another run (--patience 2, here 0)"),
        (["--patience", 2], "holds another run (--metric f1_macro,top_3, here (not given))"),
    ):
        result = fastbp_command("train", *asked[:6], "--out", tmp_path, *more)
        assert result.exit_code == 2
        assert match in " ".join(result.output.split())
    again = ["train", "--resume", "--out", tmp_path, "--monitor"]
    assert "--resume expects --monitor val_f1_macro as" in fastbp_command(*again, "val_accuracy").output
    assert "nothing is left to train" in " ".join(succeeds(*again, "val_f1_macro").split())


def test_metrics_of_quantities_are_in_their_units(succeeds, table, tmp_path):
    csv_files = pytest.importorskip("pyarrow.csv")
    numbers = csv_files.read_csv(table / "flowers.csv").select(["length", "width", "price"])
    csv_files.write_csv(numbers, tmp_path / "prices.csv")
    asked = ["--target", "price", "--threads", 1, "--epochs", 20, "--metric", "mae", "--metric", "pinball_0.9"]
    output = succeeds("train", tmp_path / "prices.csv", *asked, "--out", tmp_path)
    assert 0.5 < figure(output, "mae") <= figure(output, "RMSE")
    assert figure(output, "pinball 0.9") < figure(output, "mae")


def test_without_matplotlib_one_line_says_how_to_get_it_and_the_run_succeeds(succeeds, tmp_path, monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    output = succeeds("train", *QUICK, "--out", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "finished.safetensors",
        "history.csv",
        "model.safetensors",
    ]
    assert "learning_curve.png needs matplotlib: pip install 'fastbp[plot]'" in output.splitlines()


def test_results_go_to_a_folder_named_after_the_data(succeeds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    succeeds("train", *QUICK)
    assert sorted(path.name for path in (tmp_path / "runs" / "digits").iterdir()) == ARTEFACTS


def test_a_network_without_hidden_layers_and_validation_trains(succeeds, tmp_path):
    output = succeeds("train", "--hidden", "", "--validation-fraction", 0, "--threads", 1, "--out", tmp_path)
    assert figure(output, "accuracy") > 90
    assert "val_loss" not in read_csv(tmp_path / "history.csv")[0]


def test_loss_that_is_no_number_is_said_and_no_model_is_written(fastbp_command, tmp_path):
    result = fastbp_command("train", *QUICK, "--optimizer", "sgd", "--lr", 1e30, "--out", tmp_path)
    assert result.exit_code == 1
    assert "smaller lr" in result.stderr
    # The checkpoint is that of the beginning, and stands in nobody's way.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors", "history.csv"]
    assert fastbp_command("train", *QUICK, "--optimizer", "sgd", "--out", tmp_path).exit_code == 0


# Evaluation and prediction


def test_evaluate_takes_the_rows_that_training_held_out_and_agrees(succeeds, digits):
    folder, trained = digits
    output = succeeds("evaluate", folder / "model.safetensors", "digits")
    assert "360, the test rows, which training did not see" in output
    assert figure(output, "accuracy") == figure(trained, "accuracy")
    assert figure(output, "loss") == figure(trained, "loss")
    assert len([line for line in output.splitlines() if re.match(r" \d +\d+ +[\d.]+% +[\d.]+%", line)]) == 10


@pytest.mark.parametrize("ending", [".csv", ".npy", ".npz"])
def test_predict_and_evaluate_agree(succeeds, digits, tmp_path, ending):
    folder, trained = digits
    data = fastbp.load_dataset("digits")
    np.save(tmp_path / "x.npy", data.x_test)
    out = tmp_path / f"answers{ending}"
    succeeds("predict", folder / "model.safetensors", tmp_path / "x.npy", "--out", out)
    if ending == ".csv":
        rows = read_csv(out)
        said, probability = [r["class"] for r in rows], np.array([float(r["probability"]) for r in rows])
    else:
        answers = np.load(out)
        if ending == ".npz":
            with answers as file:
                answers = dict(file)
        said, probability = answers["class"].tolist(), answers["probability"]
        if ending == ".npz":
            assert answers["probabilities"].sum(axis=1) == pytest.approx(1)
            assert answers["classes"].tolist() == list(data.classes)
    right = np.array(said) == np.array(data.classes)[data.y_test]
    assert round(100 * right.mean(), 2) == figure(trained, "accuracy")
    assert ((probability > 0.1) & (probability <= 1)).all()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_of_classes(succeeds, table, tmp_path, ending):
    source, model = table / f"flowers.{ending}", tmp_path / "model.safetensors"
    out = succeeds("train", source, "--target", "kind", "--threads", 1, "--epochs", 20, "--out", tmp_path)
    assert figure(out, "accuracy") > 95
    assert "3, made of 3 columns" in out
    held_out = succeeds("evaluate", model, source)
    assert figure(held_out, "accuracy") == figure(out, "accuracy")
    assert "tulip" in held_out
    truth = fastbp.load_dataset(source, target="kind", test_fraction=1)
    answers = tmp_path / "answers.csv"
    # The model knows its columns by name: their order does not matter, others are left alone.
    assert fastbp.load(model).metadata["feature_names"] == ["length", "width", "price"]
    succeeds("predict", model, source, "--out", answers)
    said = [row["class"] for row in read_csv(answers)]
    assert np.mean(np.array(said) == np.array(truth.classes)[truth.y_test]) > 0.95


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_of_quantities_come_back_in_their_own_units(succeeds, table, tmp_path, ending):
    rows = pytest.importorskip("pyarrow.csv").read_csv(table / "flowers.csv")
    numbers = rows.select(["length", "width", "price"])
    source, model = tmp_path / f"prices.{ending}", tmp_path / "model.safetensors"
    if ending == "csv":
        pytest.importorskip("pyarrow.csv").write_csv(numbers, source)
    else:
        pytest.importorskip("pyarrow.parquet").write_table(numbers, source)
    output = succeeds("train", source, "--target", "price", "--threads", 1, "--out", tmp_path)
    assert figure(output, "R2") > 0.9
    assert figure(output, "RMSE") < 4  # of prices around 100; the noise alone is 1
    evaluated = succeeds("evaluate", model, source)
    assert figure(evaluated, "RMSE") == figure(output, "RMSE")
    answers = tmp_path / "answers.csv"
    succeeds("predict", model, table / "new.csv", "--out", answers)
    said = np.array([float(row["price"]) for row in read_csv(answers)])
    wrong = said - numbers.column("price").to_numpy()
    assert np.sqrt((wrong**2).mean()) < 4


def test_evaluate_takes_all_rows_of_other_data(succeeds, digits, tmp_path):
    folder, _ = digits
    data = fastbp.load_dataset("digits")
    np.savez(tmp_path / "some.npz", x=data.x_test[:50], y=data.y_test[:50])
    output = succeeds("evaluate", folder / "model.safetensors", tmp_path / "some.npz")
    assert "50, all rows" in output


def test_several_quantities_at_once(succeeds, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    np.savez(tmp_path / "two.npz", x=x, y=x @ rng.normal(size=(3, 2)) * [1.0, 1000.0])
    output = succeeds("train", tmp_path / "two.npz", "--threads", 1, "--out", tmp_path)
    assert figure(output, "R2") > 0.9
    np.save(tmp_path / "x.npy", x)
    succeeds("predict", tmp_path / "model.safetensors", tmp_path / "x.npy", "--out", tmp_path / "a.csv")
    assert list(read_csv(tmp_path / "a.csv")[0]) == ["prediction_0", "prediction_1"]


# Mistakes


def mistakes(folder):
    model, table = folder / "model.safetensors", folder / "table.csv"
    return {
        "unknown command": (["trian"], "trian"),
        "unknown option": (["train", "--hiden", "3"], "--hiden"),
        "no number": (["train", "--lr", "fast"], "--lr"),
        "negative rate": (["train", "--lr", "-1"], "lr"),
        "no epochs": (["train", "--epochs", "0"], "--epochs"),
        "hidden sizes": (["train", "--hidden", "3,x"], "--hidden"),
        "hidden size 0": (["train", "--hidden", "3,0"], "--hidden"),
        "activation": (["train", "--activation", "rleu"], "rleu"),
        "optimizer": (["train", "--optimizer", "adm"], "adam, adamw"),
        "scaling": (["train", "--scaling", "log"], "standardize"),
        "dtype": (["train", "--dtype", "float16"], "float64"),
        "init": (["train", "--init", "magic"], "he_normal"),
        "task": (["train", "--task", "guess"], "regression"),
        "patience without validation": (["train", "--patience", "2", "--validation-fraction", "0"], "--patience"),
        "validation fraction": (["train", "--validation-fraction", "1"], "--validation-fraction"),
        "threads": (["train", "--threads", "4096"], "--threads"),
        "label smoothing": (["train", "--label-smoothing", "2"], "label_smoothing"),
        "smoothing quantities": (
            ["train", folder / "prices.csv", "--target", "price", "--label-smoothing", "0.1"],
            "regression",
        ),
        "no such data": (["train", folder / "nothing.csv", "--target", "y"], "nothing.csv"),
        "no target": (["train", table], "target"),
        "wrong target": (["train", table, "--target", "prize"], "prize"),
        "target of no table": (["train", "digits", "--target", "y"], "digits"),
        "columns of no table": (["train", "digits", "--drop", "x", "--weight", "w"], "--drop, --weight"),
        "scaling of a table": (["train", table, "--target", "kind", "--scaling", "scale"], "quartiles"),
        "weights of quantities": (
            ["train", folder / "prices.csv", "--target", "price", "--task", "regression", "--class-weight", "balanced"],
            "--class-weight",
        ),
        "groups and times": (["train", table, "--target", "kind", "--group", "a", "--time", "b"], "not both"),
        "constant target": (["train", folder / "constant.csv", "--target", "y"], "nothing to learn"),
        "an id of arrays": (["predict", model, folder / "wide.npz", "--out", folder / "a.csv", "--id", "x"], "--id x"),
        "damaged file": (["train", folder / "bad.npz"], "bad.npz"),
        "out is a file": (["train", "--out", table], "table.csv"),
        "no model": (["evaluate", folder / "none.safetensors", "digits"], "none.safetensors"),
        "damaged model": (["evaluate", folder / "bad.safetensors", "digits"], "bad.safetensors"),
        "bare model": (["evaluate", folder / "bare.safetensors", "digits"], "fastbp train"),
        "other features": (["evaluate", model, folder / "narrow.npz"], "64"),
        "unknown class": (["evaluate", model, folder / "strange.npz"], "77"),
        "no data": (["evaluate", model], "data'"),
        "predict without out": (["predict", model, folder / "narrow.npz"], "--out"),
        "predict to .txt": (["predict", model, folder / "narrow.npz", "--out", folder / "a.txt"], ".csv"),
        "predict from narrow": (["predict", model, folder / "narrow.npz", "--out", folder / "a.csv"], "64"),
        "predict to nowhere": (["predict", model, folder / "wide.npz", "--out", folder / "no" / "a.csv"], "No such"),
        "one size": (["bench", "784"], "784,128,10"),
        "sizes of a bench": (["bench", "784,x,10"], "784,x,10"),
        "activation of a bench": (["bench", "--activation", "rleu"], "rleu"),
        "optimizer of a bench": (["bench", "--optimizer", "lbfgs"], "sgd, adam"),
        "no batch": (["bench", "--batch", "0"], "--batch"),
        "warm up float16": (["warmup", "--dtype", "float16"], "float32"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def messy_folder(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "model.safetensors").write_bytes((digits[0] / "model.safetensors").read_bytes())
    (folder / "table.csv").write_text("kind,price\n" + "a,1.5\nb,2.5\n" * 10)
    (folder / "prices.csv").write_text("size,price\n" + "1,1.5\n2,2.5\n" * 10)
    (folder / "constant.csv").write_text("x,y\n" + "1,a\n2,a\n" * 10)
    (folder / "bad.npz").write_bytes(b"no archive")
    (folder / "bad.safetensors").write_bytes(b"no tensors")
    fastbp.mlp([64, 10], rng=0).save(folder / "bare.safetensors")
    np.savez(folder / "narrow.npz", x=np.ones((30, 3)), y=np.arange(30) % 3)
    np.savez(folder / "wide.npz", x=np.ones((30, 64)), y=np.arange(30) % 3)
    np.savez(folder / "strange.npz", x=np.ones((30, 64)), y=np.full(30, 77))
    return folder


@pytest.mark.parametrize("mistake", mistakes(Path()))
def test_a_mistake_is_one_line_and_exit_code_2(fastbp_command, messy_folder, mistake, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # runs/NAME is locked, and others may be in one of that name
    arguments, named = mistakes(messy_folder)[mistake]
    before = sorted(messy_folder.rglob("*"))
    result = fastbp_command(*arguments)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("fastbp: ")
    assert named in result.stderr
    assert sorted(messy_folder.rglob("*")) == before


def test_a_table_without_pyarrow_names_the_extra(fastbp_command, messy_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = fastbp_command("train", messy_folder / "table.csv", "--target", "price")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == ["fastbp: reading table.csv needs pyarrow: pip install 'fastbp[data]'"]


def test_a_bug_shows_its_traceback(fastbp_command, monkeypatch):
    monkeypatch.setattr(fastbp, "config", lambda: 1 / 0)
    assert isinstance(fastbp_command("info").exception, ZeroDivisionError)


# Ctrl-C


def test_interrupt_in_the_first_epoch_leaves_a_checkpoint_alone(fastbp_command, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastbp.train.rows.Rows.make_epoch", interrupted)
    monkeypatch.setattr("fastbp.app.run.Run.compile", lambda self: None)
    result = fastbp_command("train", *QUICK, "--out", tmp_path)
    assert result.exit_code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_ctrl_c_stops_a_run_and_keeps_what_is_done(tmp_path):
    command = [sys.executable, "-m", "fastbp", "train", "--threads", "1", "--epochs", "1000000", "--out", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        for line in run.stdout:
            if line.startswith("epoch"):
                break
        time.sleep(0.3)
        run.send_signal(signal.SIGINT)
        output, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.splitlines() == ["fastbp: interrupted; what was done is written, --resume goes on"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors", *ARTEFACTS[1:]]
    assert "then interrupted" in output
    assert len(read_csv(tmp_path / "history.csv")) >= 1
    assert Pipeline.load(tmp_path / "model.safetensors").classes


def test_an_interrupted_run_goes_on_to_the_same_end(fastbp_command, succeeds, tmp_path, monkeypatch):
    options = [*QUICK, "--epochs", "5", "--patience", "3"]
    succeeds("train", *options, "--out", tmp_path / "straight")

    def interrupt(self, trainer, epoch, figures):
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fastbp.Checkpoint, "on_epoch_end", interrupt)
        assert fastbp_command("train", *options, "--out", tmp_path / "resumed").exit_code == 130
    wrong = fastbp_command("train", *options, "--lr", "0.5", "--out", tmp_path / "resumed", "--resume")
    assert wrong.exit_code == 2
    assert "--resume expects --lr 0.003 as the run has it, got 0.5" in wrong.stderr
    output = succeeds("train", *options, "--out", tmp_path / "resumed", "--resume")
    assert "epoch 1/" not in output
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "resumed").iterdir()) == ARTEFACTS


# The rest


def test_info_tells_what_decides_speed(succeeds):
    output = succeeds("info")
    for name in ("CPU", "instruction set", "threads", "threading layer", "cache folder", "versions"):
        assert name in output


def test_bench_tells_time_speed_and_limits(succeeds):
    output = succeeds("bench", "20,16,4", "--batch", "8", "--threads", "1", "--no-peers", "--seconds", "0.001")
    for said in ("FMA peak", "GB/s", "GFLOP/s", "µs", "20-16-4, 8"):
        assert said in output
    assert "torch" not in output


def test_warmup_tells_what_it_compiled(succeeds):
    output = succeeds("warmup", "--dtype", "float32", "--dtype", "float64")
    for said in ("float32", "float64", "kernels", "time"):
        assert said in output


def test_a_run_says_once_that_it_compiles_before_it_does():
    code = (
        "from rich.console import Console\nfrom fastbp.app.report import CompileWatch\n"
        "from fastbp.kernels.compile import progress\n"
        "watch = CompileWatch(Console())\n"
        "with watch.watch():\n"
        "    for total in (3, 1):\n"
        "        progress.begin(total)\n        print('compiling')\n"
        "        for _ in range(total):\n            progress.advance()\n"
        "print(watch.compiled)\n"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines == [
        "Compiling 3 kernels, once: later runs take them from the cache.", "compiling", "compiling", "4",
    ]  # fmt: skip


def test_the_program_and_the_module_are_the_same_command():
    for command in (["-m", "fastbp", "--version"], ["-c", "from fastbp.app.cli import main; main()", "--version"]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == f"fastbp {fastbp.__version__}"


def test_without_a_command_there_is_help(succeeds):
    output = succeeds()
    for name in ("train", "evaluate", "predict", "bench", "info", "warmup"):
        assert name in output


@pytest.mark.parametrize(("field", "value"), [("classes", 5), ("scaler", 7), ("options", {}), ("data", {})])
def test_a_model_file_with_spoilt_metadata_is_a_named_error(digits, fastbp_command, tmp_path, field, value):
    model = fastbp.load(digits[0] / "model.safetensors")
    model.metadata[field] = value
    model.save(tmp_path / "spoilt.safetensors")
    result = fastbp_command("evaluate", tmp_path / "spoilt.safetensors", "digits")
    assert result.exit_code == 2
    assert "spoilt.safetensors is damaged: its metadata does not fit" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["checkpoint.safetensors", *ARTEFACTS])
def test_a_folder_in_the_way_of_a_result_is_seen_before_training(fastbp_command, tmp_path, name):
    (tmp_path / name).mkdir()
    result = fastbp_command("train", "digits", *QUICK, "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.strip().endswith(f"Is a directory: {tmp_path / name}")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_answers_into_a_missing_folder_name_it(digits, fastbp_command, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 64)))
    result = fastbp_command(
        "predict", digits[0] / "model.safetensors", tmp_path / "x.npy", "--out", tmp_path / "no" / "p.csv"
    )
    assert result.exit_code == 2
    assert result.stderr.strip().endswith(f"No such folder: {tmp_path / 'no'}")


def test_a_network_too_large_for_the_memory_is_one_line(fastbp_command, tmp_path):
    result = fastbp_command("train", "digits", "--hidden", "10000000,10000000", "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith("fastbp: not enough memory")
    assert len(result.stderr.splitlines()) == 1


def test_images_that_stay_bytes_give_the_model_and_the_figures_of_numbers(succeeds, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (400, 8, 8), np.uint8), rng.integers(0, 3, 400)
    images[labels == 1, :4] //= 2
    for scaling, dtype in [("scale", "float32"), ("standardize", "float32"), ("none", "float32"), ("scale", "float64")]:
        found = []
        for kind in (np.uint8, np.float32):
            source, folder = tmp_path / "images.npz", tmp_path / np.dtype(kind).name
            np.savez(source, x=images.astype(kind), y=labels)
            options = ["--scaling", scaling, "--dtype", dtype, "--validation-fraction", "0.2", "--force"]
            said = succeeds("train", source, *QUICK, *options, "--out", folder)
            figures = [
                line for line in said.splitlines() if line.strip().startswith(("train ", "validation ", "test "))
            ]
            succeeds("predict", folder / "model.safetensors", source, "--out", folder / "answers.csv")
            found.append([figures, (folder / "answers.csv").read_bytes(), fastbp.load(folder / "model.safetensors")])
        (ours, answers, model), (theirs, exact, twin) = found
        assert ours
        assert (ours, answers) == (theirs, exact)
        assert model._params.tobytes() == twin._params.tobytes()
        assert model.metadata["data"] == twin.metadata["data"]
