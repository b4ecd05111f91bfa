"""Every writer, through the door a user takes, on every kind of target."""

import contextlib
import errno
import os
import re
import stat
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fastbp
from fastbp.app.cli import app
from fastbp.app.pipeline import FIELDS

NOBODY = 65534


@pytest.fixture(scope="module")
def writers(tmp_path_factory):
    """Return functions that write a file of some hundred bytes and what must be in it, by the name of the writer."""
    folder = tmp_path_factory.mktemp("sources")
    trainer = fastbp.Trainer(fastbp.mlp([3, 2], rng=0))
    trainer.fit(np.eye(3), [0, 1, 0], epochs=2, rng=0, progress=False)
    table = dict.fromkeys(FIELDS) | {
        "classes": ["a", "b"], "feature_names": [], "scaler": {"kind": "none", "shift": 0.0, "scale": 1.0},
        "options": {"label_smoothing": 0.0}, "data": {"name": "x", "test_rows": ""}, "task": "classification",
    }  # fmt: skip
    model = fastbp.mlp([3, 2], rng=0)
    model.metadata = table
    model.save(folder / "model.safetensors")
    np.save(folder / "x.npy", np.eye(3))

    def predict(path):
        line = ["predict", str(folder / "model.safetensors"), str(folder / "x.npy"), "--out", str(path)]
        result = CliRunner().invoke(app, line)
        if result.exit_code:
            raise OSError(result.stderr)

    return {
        "save": (trainer.model.save, b"__metadata__"),
        "save_checkpoint": (trainer.save_checkpoint, b"fastbp.checkpoint"),
        "Checkpoint": (
            lambda path: fastbp.Trainer(fastbp.mlp([3, 2], rng=0)).fit(
                np.eye(3), [0, 1, 0], epochs=1, rng=0, callbacks=[fastbp.Checkpoint(path)], progress=False
            ),
            b"fastbp.checkpoint",
        ),
        "to_csv": (trainer.history.to_csv, b"epoch,"),
        "predict --out": (predict, b"class,probability"),
    }


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def new_name(draw, ending=".csv"):
    """Return a file name of 10 to 255 bytes, of letters of one byte or two."""
    size = int(draw.choice([10, 250, 255, draw.integers(10, 256)])) - len(ending)
    letter = draw.choice(["n", "ü"])
    return letter * (size // len(letter.encode())) + ending


def chain(draw, folder, target):
    """Return the first of one to four links, each in a folder of its own, that lead to a target."""
    for i in range(draw.integers(1, 5)):
        at = folder / f"links {i}"
        at.mkdir(exist_ok=True)
        link = at / new_name(draw)
        link.symlink_to(target if draw.random() < 0.5 else os.path.relpath(target, at))
        target = link
    return target


def other_disk():
    """Return a folder of another file system than the temporary one, or of the same where there is none."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def leftovers(*folders):
    return [path for folder in folders for path in Path(folder).rglob(".fastbp*")]


@pytest.mark.parametrize("writer", ["save", "save_checkpoint", "Checkpoint", "to_csv", "predict --out"])
def test_a_link_stays_and_what_it_leads_to_is_written(writers, writer, draw, tmp_path):
    write, content = writers[writer]
    for i in range(6):
        with other_disk() as elsewhere:
            folder = tmp_path / str(i)
            folder.mkdir()
            target = (Path(elsewhere) if draw.random() < 0.5 else folder) / new_name(draw)
            if there := draw.random() < 0.5:
                target.write_bytes(b"old")
                mode = int(draw.choice([0o600, 0o640, 0o644, 0o666, 0o755]))
                target.chmod(mode)
            link = chain(draw, folder, target) if draw.random() < 0.8 else target
            led = link.readlink() if link != target else None
            write(link)
            assert led is None or link.readlink() == led
            assert not target.is_symlink()
            assert content in target.read_bytes()
            assert not there or stat.S_IMODE(target.stat().st_mode) == mode
            assert leftovers(folder, elsewhere) == []


@contextlib.contextmanager
def terminal(folder):
    """Yield the path of a character device, and a function that returns what was written to it."""
    ours, theirs = os.openpty()
    yield Path(os.ttyname(theirs)), lambda: os.read(ours, 1 << 16)
    os.close(ours)
    os.close(theirs)


@contextlib.contextmanager
def fifo(folder):
    os.mkfifo(folder / "fifo")
    came = []
    reader = threading.Thread(target=lambda: came.append((folder / "fifo").read_bytes()), daemon=True)
    reader.start()
    yield folder / "fifo", lambda: reader.join(20) or came[0]


@contextlib.contextmanager
def open_file_without_a_name(folder):
    with tempfile.TemporaryFile(dir=folder) as file:
        yield Path(f"/dev/fd/{file.fileno()}"), lambda: file.seek(0) or file.read()


@pytest.mark.parametrize("stream", [terminal, fifo, open_file_without_a_name])
@pytest.mark.parametrize("writer", ["save", "save_checkpoint", "to_csv", "predict --out"])
def test_what_is_no_file_is_written_to_and_stays(writers, writer, stream, draw, tmp_path):
    write, content = writers[writer]
    with stream(tmp_path) as (path, written):
        kind = stat.S_IFMT(path.stat().st_mode)
        write(chain(draw, tmp_path, path) if writer == "predict --out" else path)  # that one needs an ending
        assert content in written()
        assert stat.S_IFMT(path.stat().st_mode) == kind
    assert leftovers(tmp_path) == []


def test_another_hard_link_keeps_the_old_content(writers, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"old")
    os.link(tmp_path / "a.csv", tmp_path / "b.csv")
    writers["to_csv"][0](tmp_path / "a.csv")
    assert (tmp_path / "b.csv").read_bytes() == b"old"
    assert (tmp_path / "a.csv").read_bytes().startswith(b"epoch")


@pytest.fixture
def nobody():
    """Be a user without rights for the time of a test, in a folder that all may write to."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        if os.getuid() == 0:
            os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield Path(name)
        finally:
            if os.getresuid()[2] == 0:
                os.setresuid(0, 0, 0)


def test_a_file_and_a_folder_that_may_not_be_written_stay(writers, nobody):
    protected, folder = nobody / "protected.csv", nobody / "folder"
    protected.write_bytes(b"old")
    protected.chmod(0o444)
    folder.mkdir()
    (folder / "own.csv").write_bytes(b"old")
    folder.chmod(0o555)
    (nobody / "link.csv").symlink_to(protected)
    for writer in ("save", "save_checkpoint", "Checkpoint", "to_csv"):
        for path in (protected, nobody / "link.csv", folder / "own.csv", folder / "new.csv"):
            with pytest.raises(PermissionError) as found:
                writers[writer][0](path)
            assert found.value.filename == str(path)
    assert protected.read_bytes() == (folder / "own.csv").read_bytes() == b"old"
    assert os.listdir(folder) == ["own.csv"]


def test_an_error_names_the_file_that_was_asked_for(writers, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "a.csv").symlink_to("b.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    (tmp_path / "nowhere.csv").symlink_to("no such folder/a.csv")
    targets = {
        tmp_path / "folder.csv": errno.EISDIR,
        tmp_path / "file" / "a.csv": errno.ENOTDIR,
        tmp_path / "a.csv": errno.ELOOP,
        tmp_path / ("n" * 252 + ".csv"): errno.ENAMETOOLONG,
        Path("/proc/a.csv"): errno.ENOENT,
    }
    for path, number in targets.items():
        for writer in ("save", "save_checkpoint", "Checkpoint", "to_csv"):
            with pytest.raises(OSError, match=re.escape(str(path))) as found:
                writers[writer][0](path)
            assert (found.value.errno, found.value.filename) == (number, str(path)), writer
        with pytest.raises(OSError, match=f"^fastbp: .*: {path}$"):
            writers["predict --out"][0](path)
    with pytest.raises(FileNotFoundError) as found:
        writers["save"][0](tmp_path / "nowhere.csv")
    assert found.value.filename == str(tmp_path / "no such folder")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o027, 0o077])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(writers, umask, tmp_path, monkeypatch):
    """The umask is the process's: who sets it to read it changes the files that other threads make."""
    before = os.umask(umask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
            writers["to_csv"][0](tmp_path / "a.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o666 & ~umask


def test_results_of_a_run_may_be_links(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    names = [
        "checkpoint.safetensors",  # while it runs
        "finished.safetensors",
        "history.csv",
        "learning_curve.png",
        "model.safetensors",
    ]
    for name in names:
        (out / name).symlink_to(Path("..", "elsewhere", f"my {name}"))
    line = ["train", "digits", "--epochs", "1", "--hidden", "4", "--threads", "1", "--out", str(out)]
    for _ in range(2):
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
        assert all((out / name).is_symlink() for name in names)
        assert sorted(path.name for path in elsewhere.iterdir()) == [f"my {name}" for name in names[1:]]
