"""What a run shows: in a notebook, in a log file, on a terminal; and how long it will take."""

import io
import os
import pty
import re
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import fastbp
from fastbp.kernels.compile import progress as compiled
from fastbp.train.progress import Clock, LogLines, Progress
from fastbp.train.shown import what_shows

TRAIN = """
import numpy as np, fastbp
x, y = np.eye(30), np.arange(30) % 3
trainer = fastbp.Trainer(fastbp.mlp([30, 3], rng=0))
"""


class Clocked:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clocked(monkeypatch)


def test_a_notebook_shows_one_line_that_grows_and_keeps_the_last(library, tmp_path, monkeypatch):
    """And how much is compiled of how much; `progress=False` shows neither."""
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    nbclient, nbformat = library("nbclient"), library("nbformat")
    library("ipykernel")
    cells = [
        TRAIN,
        "history = trainer.fit(x, y, epochs=3, rng=0, validation_split=0.2, metrics=['auc'])",
        "trainer.fit(x, y, epochs=3, rng=0, progress=False);",
        """
from fastbp.kernels.compile import progress
progress.begin(3)
progress.advance(), progress.advance(), progress.advance();
""",
        "trainer.fit(x, y, callbacks=[fastbp.LambdaCallback(on_fit_begin=lambda trainer: 1 / 0)])",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", allow_errors=True)
    client.execute()
    outputs = [cell.outputs for cell in notebook.cells]
    ((shown,), silent, streams, (error,)) = outputs[1:]
    assert shown.output_type == "display_data"
    line = shown.data["text/plain"]
    assert re.fullmatch(r"epoch 3/3 ━{24}  loss \S+  accuracy \S+  val loss \S+  val accuracy \S+  val auc \S+.*", line)
    assert silent == []
    assert "".join(stream.text for stream in streams if stream.name == "stderr").split("\r")[1:-1] == [
        f"fastbp compiles its kernels, once: {done} of 3" for done in range(3)
    ]
    assert error.ename == "ZeroDivisionError"


def test_a_log_file_has_plain_lines_where_they_were_asked_for(tmp_path):
    code = """
import sys
for progress in (True, None, False):
    trainer.fit(x, y, epochs=3, rng=0, progress=progress)
    print("end", file=sys.stderr, flush=True)
"""
    with open(tmp_path / "log", "w") as file:
        subprocess.run([sys.executable, "-c", TRAIN + code], check=True, stderr=file, stdout=file)
    lines = (tmp_path / "log").read_text().splitlines()
    *epochs, end, after_none, after_false = [line for line in lines if not line.startswith("fastbp compile")]
    assert (end, after_none, after_false) == ("end", "end", "end")
    assert len(epochs) == 3
    for epoch, line in enumerate(epochs, 1):
        assert line.isprintable()
        assert re.fullmatch(rf"epoch {epoch}/3  loss \S+  accuracy \S+  [\d ]+ samples/s  \S+ GFLOP/s.*", line)
        assert line.endswith(" left") == (epoch < 3)


def test_a_terminal_shows_the_bar_with_the_time_left():
    ours, theirs = pty.openpty()
    code = """
import time
trainer.fit(x, y, epochs=40, callbacks=[fastbp.LambdaCallback(on_epoch_end=lambda *_: time.sleep(0.01))])
"""
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160"}
    with subprocess.Popen([sys.executable, "-c", TRAIN + code], stderr=theirs, env=environment) as child:
        os.close(theirs)
        received = bytearray()
        while True:
            try:
                received += os.read(ours, 1 << 16)
            except OSError:
                break
    os.close(ours)
    assert child.returncode == 0
    assert re.search(r"epoch .*━.*loss .* left", received.decode())


def test_time_left_is_that_of_epochs_like_those_made_here(clock):
    left = Clock(10, 4.0)  # resumed after 4
    assert left.left(4.0) == []
    clock.now += 30
    assert left.left(4.5) == ["0:05:30 left"]
    clock.now += 30
    assert left.left(5.0) == ["0:05:00 left"]
    assert left.left(10.0) == []


def test_lines_are_one_an_epoch_few_of_many_and_some_within_a_long_one(clock):
    lines = []
    shown = LogLines(lines.append)
    with shown.fit(3, 1000, 1e9):
        clock.now += 29
        shown.advance(290, 0.5)
        clock.now += 2
        shown.advance(310, 0.5)
        clock.now += 69
        shown.advance(1000, 0.25)
        clock.now += 100  # of validation
        shown.epoch(1, {"loss": 0.25, "val_loss": 0.5})
    assert lines == [
        "epoch 1/3  31%  loss 0.5000  0:04:29 left",
        "epoch 1/3  loss 0.2500  val loss 0.5000  10 samples/s  10.0 GFLOP/s  0:06:40 left",
    ]
    for epochs, ended in ((1000, 0), (50, 0), (51, 0), (1000, 998)):
        lines.clear()
        with shown.fit(epochs, 1000, 1e9, ended):
            for epoch in range(ended + 1, epochs + 1):
                shown.advance(1000, 0.5)
                shown.epoch(epoch, {"loss": 0.5})
        assert lines[-1].startswith(f"epoch {epochs}/{epochs}  loss 0.5000")
        assert min(26, epochs - ended) - ended // 900 <= len(lines) <= 51


def test_lines_of_compiling_say_how_much_is_done_of_how_much(clock):
    stream = io.StringIO()
    lines = compiled.Lines(stream)
    lines.begin(9)
    for done in range(1, 9):
        clock.now += 2
        lines.advance(done, 9)
    lines.end(9, 18.0)
    assert stream.getvalue().splitlines() == [
        "fastbp compiles its kernels, once: 0 of 9",
        "fastbp compiles its kernels, once: 3 of 9",
        "fastbp compiles its kernels, once: 6 of 9",
        "fastbp compiled 9 kernels in 18.0 s",
    ]


@contextmanager
def standard_error(monkeypatch, stream):
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        yield


class Compiles(fastbp.Callback):
    """Does as a call that compiles."""

    def on_fit_begin(self, trainer):
        compiled.begin(1)
        compiled.advance()


@pytest.mark.parametrize(("progress", "said"), [(True, True), (None, False), (False, False)])
def test_compiling_is_said_where_lines_are(monkeypatch, progress, said):
    trainer, stream = fastbp.Trainer(fastbp.mlp([2, 2], rng=0)), io.StringIO()
    trainer.fit(np.eye(2), [0, 1], progress=False)  # what has to be compiled is
    with standard_error(monkeypatch, stream):
        trainer.fit(np.eye(2), [0, 1], progress=progress, callbacks=[Compiles()])
    assert ("fastbp compiles its kernels, once: 0 of 1" in stream.getvalue()) == said


def test_without_a_standard_error_nothing_is_shown(monkeypatch):
    with standard_error(monkeypatch, None):
        assert type(what_shows(True)) is Progress
        fastbp.Trainer(fastbp.mlp([2, 2], rng=0)).fit(np.eye(2), [0, 1], progress=True)
