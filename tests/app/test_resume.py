"""`fastbp train`: a run that was stopped goes on, no other is overwritten, and each file that fits is written."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fastbp
from fastbp._base import pace
from fastbp._base.lock import LOCK, alone_in
from fastbp.app import run
from fastbp.app.cli import app
from fastbp.app.folder import CHECKPOINT, FINISHED, HISTORY, MODEL, PICTURE
from fastbp.app.options import READING, TABLE_OPTIONS, Options
from torture.runs import draw

RESULTS = {MODEL, HISTORY}
# A small network, no picture: matplotlib takes most of the time of such a run.
QUICK = ["--threads", "1", "--epochs", "3", "--hidden", "16"]


@pytest.fixture(autouse=True)
def restored_threads():
    threads = fastbp.get_num_threads()
    yield
    fastbp.set_num_threads(threads)


@pytest.fixture
def picture():
    """Let runs draw their learning curve."""


@pytest.fixture(autouse=True)
def no_picture(monkeypatch, request):
    if "picture" not in request.fixturenames:
        monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)


def train(*arguments):
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    assert not isinstance(result.exception, AssertionError)
    return result


def succeeds(*arguments):
    result = train(*arguments)
    assert result.exit_code == 0, result.output + result.stderr
    return result.stdout


def refused(*arguments):
    """Return the error of a command, in one line."""
    result = train(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    (line,) = result.stderr.splitlines()
    return line


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def results(folder):
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.fixture
def stop(monkeypatch):
    """Return a function that lets the next runs be interrupted after so many of their steps."""

    class Stops(run.Saves):
        steps = None

        def on_steps_end(self, trainer):
            super().on_steps_end(trainer)
            if Stops.steps is not None and trainer.steps >= Stops.steps:
                raise KeyboardInterrupt

    def set_steps(steps):
        Stops.steps = steps

    monkeypatch.setattr(run, "Saves", Stops)
    monkeypatch.setattr(pace, "CALL_SECONDS", 0.0)  # a step a call
    return set_steps


# Going on


@pytest.mark.parametrize("seed", range(4))
def test_a_run_stopped_after_any_step_ends_as_if_never_stopped(tmp_path, stop, seed):
    rng = np.random.default_rng(seed)
    options = [*draw(rng), "--epochs", 4, "--batch-size", rng.integers(100, 500)]
    straight, out = tmp_path / "straight", tmp_path / "out"
    succeeds(*options, "--out", straight)
    steps = fastbp.Trainer.load_checkpoint(straight / FINISHED).steps
    an_epoch = steps // len((straight / HISTORY).read_text().splitlines()[1:])
    # The last step of an epoch among them: its end is then made without a step.
    stops = {an_epoch, *rng.integers(1, steps + 1, 3)}
    for last in sorted(stops):
        stop(last)
        result = train(*(["--resume"] if out.exists() else options), "--out", out)
        assert result.exit_code == 130, result.output
        assert fastbp.Trainer.load_checkpoint(out / CHECKPOINT).steps == last
        assert result.stderr.strip().endswith("--resume goes on")
    stop(None)
    succeeds("--resume", "--out", out)
    assert results(out) == results(straight)
    assert set(content(out)) == {*RESULTS, FINISHED}


def test_resume_finds_data_target_and_task_again(tmp_path, stop, monkeypatch):
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    table = tmp_path / "t.csv"
    rows = rng.integers(0, 50, (120, 3))
    table.write_text("\n".join(["a,b,count", *(",".join(map(str, row)) for row in rows)]))
    monkeypatch.chdir(tmp_path)
    asked = ["t.csv", "--target", "count", "--task", "regression", "--batch-size", "20", "--epochs", "3"]
    succeeds(*asked, "--out", "straight")
    stop(7)
    assert train(*asked, "--out", "out").exit_code == 130
    stop(None)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "--target" in refused("--resume", "--out", "../out", "--target", "b")
    assert "--task" in refused("--resume", "--out", "../out", "--task", "classification")
    succeeds("--resume", "--out", "../out")
    assert results(tmp_path / "out") == results(tmp_path / "straight")


def test_resume_knows_data_by_its_rows(tmp_path, stop):
    rng = np.random.default_rng(0)
    rows = {"x_train": rng.normal(size=(90, 4)), "y_train": np.arange(90) % 3}
    rows |= {"x_test": rng.normal(size=(30, 4)), "y_test": np.arange(30) % 3}
    np.savez(tmp_path / "d.npz", **rows)
    stop(1)
    assert train(tmp_path / "d.npz", *QUICK, "--out", tmp_path / "out").exit_code == 130
    stop(None)
    rows["x_train"][rng.integers(90), rng.integers(4)] += 1
    np.savez(tmp_path / "other.npz", **rows)
    line = refused(tmp_path / "other.npz", "--resume", "--out", tmp_path / "out")
    assert "--resume expects DATA" in line
    assert "other.npz" in line
    (tmp_path / "d.npz").rename(tmp_path / "moved.npz")
    assert "d.npz" in refused("--resume", "--out", tmp_path / "out")
    succeeds(tmp_path / "moved.npz", "--resume", "--out", tmp_path / "out")


OTHERS = {
    "hidden": "16,8", "activation": "tanh", "init": "he_normal", "dtype": "float64", "optimizer": "sgd", "lr": 0.5,
    "schedule": "constant", "weight-decay": 0.1, "label-smoothing": 0.2, "batch-size": 7, "patience": 2,
    "validation-fraction": 0.3, "scaling": "none", "seed": 5, "metric": "auc", "norm": "layer_norm", "dropout": 0.2,
    "warmup": 0.1, "clip-norm": 1.0, "ema": 0.9, "monitor": "val_accuracy",
    "class-weight": "balanced",
}  # fmt: skip


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """Return a folder with a run that was interrupted in its third epoch."""
    out = tmp_path_factory.mktemp("unfinished")

    class Stops(run.Saves):
        def on_steps_end(self, trainer):
            if trainer.steps >= 45:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "Saves", Stops)
        patch.setattr(pace, "CALL_SECONDS", 0.0)
        patch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
        assert train(*QUICK, "--out", out).exit_code == 130
    return out


@pytest.mark.parametrize("name", OTHERS)
def test_a_changed_option_is_refused_by_name(unfinished, name):
    before = content(unfinished)
    line = refused("--resume", "--out", unfinished, f"--{name}", OTHERS[name])
    assert f"--resume expects --{name} " in line
    assert line.endswith(f"got {OTHERS[name]}")
    assert content(unfinished) == before


def test_all_options_of_a_run_are_among_those_that_are_refused():
    names = {name.replace("_", "-") for name in Options.__dataclass_fields__}
    of_tables = {"test", "preset", "stream", *READING, *TABLE_OPTIONS}  # which digits do not take
    of_decay = {"no-decay"}  # which takes a run with a weight decay, see test_recipes.py
    assert names == {*OTHERS, *of_tables, *of_decay, "epochs"}


def test_the_same_options_may_be_typed_again(unfinished, tmp_path):
    shutil.copytree(unfinished, tmp_path / "out")
    said = succeeds("digits", "--resume", *QUICK, "--scaling", "auto", "--lr", "0.003", "--out", tmp_path / "out")
    assert "2 of 3 epochs are done: goes on." in said
    assert "nothing is left to train" in succeeds("--resume", "--out", tmp_path / "out")


@pytest.mark.parametrize("resume", [["--resume"], ["--resume", "--epochs", "9"]])
def test_resume_without_a_run_says_so_and_makes_no_folder(tmp_path, resume):
    for out in (tmp_path / "no" / "folder", tmp_path):
        assert (
            refused(*resume, "--out", out)
            == f"fastbp: --resume expects a folder that holds a run, and {out} holds none"
        )
    assert content(tmp_path) == {}


def test_ctrl_c_while_the_best_parameters_are_copied_keeps_value_and_parameters_together(monkeypatch):
    trainer, stop = fastbp.Trainer(fastbp.mlp([2, 2], rng=0)), fastbp.EarlyStopping("loss")
    stop.on_epoch_end(trainer, 1, {"loss": 2.0})
    trainer.model.layers[0].weight[...] = 7

    def copied(model):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fastbp.Sequential, "_kept", copied)
        with pytest.raises(KeyboardInterrupt):
            stop.on_epoch_end(trainer, 2, {"loss": 1.0})
    stop.on_epoch_end(trainer, 2, {"loss": 1.0})  # a callback that was interrupted is told again
    assert (stop.best, stop.best_epoch) == (1.0, 2)
    assert (stop.state_dict()["best_params"][:4] == 7).all()


# More epochs


def by_hand(lengths):
    """Train as the command does, the rate of each epoch written out; return the last parameters."""
    data = fastbp.load_dataset("digits")
    x, _, y, _ = fastbp.train_validation_split(data.x_train, data.y_train, fraction=0.1, seed=0, stratify=data.y_train)
    scaler = fastbp.Scaler.fit(x, "scale")
    trainer = fastbp.Trainer(
        fastbp.mlp([64, 16, 10], rng=0), fastbp.CrossEntropyLoss(label_smoothing=0.1), fastbp.Adam(3e-3)
    )
    rng = np.random.default_rng(0)
    done = 0
    for epochs in lengths:
        for epoch in range(done, epochs):
            trainer.optimizer.lr = 3e-3 * (1 - epoch / epochs)
            trainer.fit(scaler.transform(x), y, epochs=epoch + 1, batch_size=64, rng=rng, resume=True, progress=False)
        done = epochs
    return trainer.model.parameters()


@pytest.mark.parametrize(("first", "then", "at"), [(3, 5, None), (6, 8, 50), (7, 4, 45)])
def test_more_epochs_go_on_at_the_rate_of_the_new_length(tmp_path, stop, first, then, at):
    options = ["--threads", 1, "--hidden", 16]
    stop(at)
    train(*options, "--epochs", first, "--out", tmp_path)
    stop(None)
    said = succeeds("--resume", "--epochs", then, "--out", tmp_path)
    done = first if at is None else at // 21
    rate = 3e-3 * (1 - done / then)
    to_what = f"goes on to {then}, and the learning rate falls from {rate:g} to 0 until then."
    assert f"{done} of {first} epochs are done: {to_what}" in said.splitlines()
    model = fastbp.load(tmp_path / MODEL)
    assert len((tmp_path / HISTORY).read_text().splitlines()) == then + 1
    assert model.metadata["options"]["epochs"] == then
    assert model.metadata["continued"] == [[done, first]]
    if at is None:
        for name, value in by_hand([first, then]).items():
            np.testing.assert_array_equal(model.parameters()[name], value)


def test_a_longer_run_may_be_interrupted_too(tmp_path, stop):
    for name, last in (("straight", None), ("stopped", 70)):
        out = tmp_path / name
        succeeds(*QUICK, "--patience", 3, "--out", out)
        stop(last)
        train("--resume", "--epochs", 6, "--out", out)
        stop(None)
        succeeds("--resume", "--out", out)
    assert results(tmp_path / "straight") == results(tmp_path / "stopped")


def test_a_longer_run_goes_on_from_its_last_parameters_and_not_from_the_best(tmp_path):
    options = [*QUICK, "--epochs", 8, "--schedule", "constant", "--lr", 0.1]
    for name, patience in (("watched", 9), ("plain", 0)):
        succeeds(*options, "--patience", patience, "--out", tmp_path / name)
    best, last = (fastbp.load(tmp_path / name / MODEL).parameters()["0.weight"] for name in ("watched", "plain"))
    assert not np.array_equal(best, last)
    for name in ("watched", "plain"):
        succeeds("--resume", "--epochs", 12, "--out", tmp_path / name)
    assert (tmp_path / "watched" / HISTORY).read_bytes() == (tmp_path / "plain" / HISTORY).read_bytes()


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_a_schedule_by_name_spans_all_epochs_of_a_run_and_goes_on(tmp_path, stop, schedule):
    options = [*QUICK, "--schedule", schedule, "--lr", 0.01]
    assert f"lr 0.01 by {schedule}" in succeeds(*options, "--out", tmp_path / "straight")
    stop(33)
    train(*options, "--out", tmp_path / "stopped")
    stop(None)
    succeeds("--resume", "--out", tmp_path / "stopped")
    assert results(tmp_path / "straight") == results(tmp_path / "stopped")
    header, *lines = (tmp_path / "straight" / HISTORY).read_text().splitlines()
    rates = [float(line.split(",")[header.split(",").index("lr")]) for line in lines]
    steps = -(-len(fastbp.load_dataset("digits").x_train) * 9 // 10 // 64)
    expected = fastbp.schedules.named(schedule, 0.01).values(3 * steps)[steps - 1 :: steps]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    assert f"goes along {schedule}(0.01) of all" in succeeds("--resume", "--epochs", 5, "--out", tmp_path / "stopped")


def test_no_fewer_epochs_than_are_done_and_none_after_an_early_stop(tmp_path):
    succeeds(*QUICK, "--out", tmp_path / "three")
    assert "more than the 3 that are done, got 2" in refused("--resume", "--epochs", 2, "--out", tmp_path / "three")
    succeeds(*QUICK, "--epochs", 60, "--patience", 1, "--lr", 0.05, "--out", tmp_path / "early")
    line = refused("--resume", "--epochs", 90, "--out", tmp_path / "early")
    assert "stopped early" in line
    assert "nothing is left" in succeeds("--resume", "--out", tmp_path / "early")


# What a folder holds


def test_what_a_folder_holds_is_not_overwritten_without_force(tmp_path, unfinished):
    finished = tmp_path / "finished"
    succeeds(*QUICK, "--out", finished)
    np.savez(tmp_path / "d.npz", x=np.eye(30), y=np.arange(30) % 3)
    (tmp_path / "bare").mkdir()
    fastbp.mlp([64, 10], rng=0).save(tmp_path / "bare" / MODEL)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / CHECKPOINT).write_bytes(b"no checkpoint")
    shutil.copytree(finished, tmp_path / "model alone")
    (tmp_path / "model alone" / FINISHED).unlink()
    shutil.copytree(unfinished, tmp_path / "unfinished")
    for name, options, said in (
        ("finished", ["--lr", 0.5], "another run (--lr 0.003, here 0.5): --resume goes on with that one, --force"),
        ("finished", ["--epochs", 4], "another run (--epochs 3, here 4): --resume goes on with that one, --force"),
        ("finished", [tmp_path / "d.npz"], "holds another run (DATA digits, here "),
        ("unfinished", ["--hidden", "16,8"], "another run (--hidden 16, here 16,8): --resume goes on with that one"),
        ("unfinished", [], "this run, unfinished (2 of 3 epochs): --resume goes on with it, --force begins anew"),
        ("model alone", ["--seed", 1], "another run (--seed 0, here 1): --force replaces it"),
        ("bare", [], "is of no run of `fastbp train`: --force replaces it"),
        ("damaged", [], "--force replaces it"),
    ):
        out = tmp_path / name
        before = content(out)
        assert said in refused(*QUICK, *options, "--out", out), name
        assert content(out) == before
    for name in ("finished", "model alone"):
        before = results(tmp_path / name)
        succeeds(*QUICK, "--out", tmp_path / name)  # the same run again
        assert results(tmp_path / name) == before
    for name in ("finished", "unfinished", "bare", "damaged"):
        succeeds(*QUICK, "--lr", 0.01, "--force", "--out", tmp_path / name)
        assert fastbp.load(tmp_path / name / MODEL).metadata["options"]["lr"] == 0.01
        assert set(content(tmp_path / name)) == {*RESULTS, FINISHED}
    assert "not both" in refused("--resume", "--force", "--out", finished)


def test_a_longer_run_is_not_the_same_as_one_of_that_length(tmp_path):
    succeeds(*QUICK, "--out", tmp_path)
    succeeds("--resume", "--epochs", 4, "--out", tmp_path)
    assert "(--epochs 3,4, here 4)" in refused(*QUICK, "--epochs", 4, "--out", tmp_path)


def test_a_run_that_was_stopped_before_a_step_stands_in_nobodys_way(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run.Run, "compile", lambda self: None)
        patch.setattr("fastbp.train.rows.Rows.make_epoch", interrupted)
        assert train(*QUICK, "--out", tmp_path).exit_code == 130
    assert set(content(tmp_path)) == {CHECKPOINT}
    succeeds(*QUICK, "--seed", 1, "--out", tmp_path)


def test_an_exception_in_training_leaves_a_checkpoint_to_go_on_from(tmp_path, monkeypatch):
    succeeds(*QUICK, "--out", tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(fastbp.app.report.RunProgress, "epoch", lambda self, epoch, figures: 1 / 0)
        assert isinstance(train(*QUICK, "--out", tmp_path / "out").exception, ZeroDivisionError)
    assert fastbp.Trainer.load_checkpoint(tmp_path / "out" / CHECKPOINT).steps == 21
    succeeds("--resume", "--out", tmp_path / "out")
    assert results(tmp_path / "out") == results(tmp_path / "straight")


# Two at once


# The lock alone, without the second that the package takes to import.
HOLD = f"""
import runpy, sys, time
from pathlib import Path
alone_in = runpy.run_path({fastbp._base.lock.__file__!r})["alone_in"]
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_in_a_folder_is_refused_until_the_first_is_gone(tmp_path):
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"held\n"
        for arguments in (QUICK, ["--force"]):
            assert refused(*arguments, "--out", out) == f"fastbp: another process writes to {out}"
        first.kill()
    assert set(content(out)) == {LOCK}
    succeeds(*QUICK, "--out", out)
    assert set(content(out)) == {*RESULTS, FINISHED}


def test_of_many_at_once_one_is_in_a_folder(tmp_path):
    """The lock's file goes with each that held it; one who opened it before must not take it for the folder's."""
    code = HOLD.split("with")[0] + (
        "other = Path(sys.argv[1], 'here')\nentered = 0\nend = time.monotonic() + 0.5\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        with alone_in(Path(sys.argv[1])):\n"
        "            other.touch(exist_ok=False)\n            other.unlink()\n            entered += 1\n"
        "    except BlockingIOError:\n        pass\n"
        "print(entered)\n"
    )
    tries = [subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) for _ in range(3)]
    entered = [int(process.communicate()[0]) for process in tries]
    assert min(entered) > 0


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    assert "has no locks" in succeeds(*QUICK, "--out", tmp_path / "out")
    assert set(content(tmp_path / "out")) == {*RESULTS, FINISHED}


def test_an_empty_folder_is_not_left_behind(tmp_path):
    with pytest.raises(ValueError, match="stop"), alone_in(tmp_path / "a" / "b"):
        raise ValueError("stop")
    assert content(tmp_path) == {}


# A full disk


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """Return what a run writes, and how large each file is."""
    out = tmp_path_factory.mktemp("sizes")
    succeeds("--threads", 1, "--epochs", 3, "--out", out)
    return {path.name: path.stat().st_size for path in out.iterdir()}


@pytest.mark.parametrize("which", [MODEL, HISTORY, PICTURE, FINISHED])
def test_each_file_is_written_if_it_fits(tmp_path, sizes, picture, which):
    """Files may be as large as this one, and not larger."""
    most = sizes[which]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most + 200, before[1]))  # a checkpoint's size depends on its numbers
    try:
        result = train("--threads", 1, "--epochs", 3, "--out", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    fit = {name for name, size in sizes.items() if size <= most}
    assert set(content(tmp_path)) == fit
    assert result.exit_code == (0 if fit == set(sizes) else 1)
    assert "3/3" in result.stdout
    for name in sizes.keys() - fit:
        named = CHECKPOINT if name == FINISHED else name
        assert f"{tmp_path / named} (File too large)" in result.stderr
    if MODEL in fit:
        assert fastbp.load(tmp_path / MODEL).metadata["options"]["epochs"] == 3


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")
def test_a_model_is_written_where_its_checkpoint_does_not_fit(tmp_path):
    out = tmp_path / "small"
    out.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=450k", "tmpfs", out], capture_output=True)
    if mount.returncode:
        pytest.skip("no mounts here")
    try:
        result = train("--threads", 1, "--epochs", 3, "--out", out)
        assert set(content(out)) == RESULTS
    finally:
        subprocess.run(["umount", out], check=True)
    assert result.exit_code == 1
    assert result.stderr == f"fastbp: could not write {out / CHECKPOINT} (No space left on device)\n"
    assert f"{out / CHECKPOINT} cannot be written (No space left on device); training goes on." in result.stdout


@pytest.mark.parametrize("at", [5, None])
def test_an_older_checkpoint_stays_where_a_new_one_cannot_be_written(tmp_path, stop, monkeypatch, at):
    succeeds(*QUICK, "--out", tmp_path / "straight")
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0)
    written = []

    def save(self, path):
        if len(written) >= 10:
            raise OSError(28, "No space left on device", str(path))
        written.append(self.steps)
        plain(self, path)

    plain = fastbp.Trainer.save_checkpoint
    stop(at and at + 20)
    with monkeypatch.context() as patch:
        patch.setattr(fastbp.Trainer, "save_checkpoint", save)
        result = train(*QUICK, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout.count("training goes on") == 1
    assert (
        f"could not write {tmp_path / 'out' / CHECKPOINT} (No space left on device), --resume goes on" in result.stderr
    )
    assert fastbp.Trainer.load_checkpoint(tmp_path / "out" / CHECKPOINT).steps == written[-1] == 9
    stop(None)
    succeeds("--resume", "--out", tmp_path / "out")
    assert results(tmp_path / "out") == results(tmp_path / "straight")


# The rest


def test_time_and_speed_are_those_of_whole_epochs(unfinished, tmp_path):
    shutil.copytree(unfinished, tmp_path / "out")
    said = succeeds("--resume", "--out", tmp_path / "out")  # the third epoch is made to its end
    assert "samples/s" not in said
    assert "nan" not in said
    said = succeeds("--resume", "--epochs", 5, "--out", tmp_path / "out")
    assert said.count("samples/s") == 3


def test_make_demo_goes_on_with_a_run_that_is_not_at_its_end(tmp_path):
    root = Path(__file__).parents[2]
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    for files, resumes in ((["model.safetensors", "finished.safetensors"], False), ([CHECKPOINT], True)):
        for name in files:
            (tmp_path / "runs" / "digits" / name).touch()
        done = subprocess.run(
            ["make", "-n", "-f", root / "Makefile", "demo"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        (line,) = [line for line in done.stdout.splitlines() if "fastbp train digits" in line]
        assert line.rstrip().endswith("--resume") == resumes
