"""What the command line does with Ctrl-C, with closed pipes and full disks, on terminals narrow or without colours."""

import io
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import fastbp
from fastbp._base.console import visible
from fastbp.app.cli import app
from fastbp.train.progress import EpochBar
from torture.interrupts import TRAIN, ended, started

ARTEFACTS = ["finished.safetensors", "history.csv", "learning_curve.png", "model.safetensors"]
SCRIPT = Path(sys.executable).with_name("fastbp")


# Ctrl-C


@pytest.mark.parametrize("way", ["module", "script"])
def test_ctrl_c_while_it_starts_is_one_line(way):
    """After a number of imports drawn at random."""
    if way == "script" and not SCRIPT.exists():
        pytest.skip("fastbp is not installed as a script")
    draw = random.Random(way)
    for _ in range(3):
        run = started("info", **({"command": [SCRIPT]} if way == "script" else {}))
        for _ in range(draw.randrange(400)):
            run.stderr.readline()
        run.send_signal(signal.SIGINT)
        assert ended(run) == (130, ["fastbp: interrupted"])


@pytest.mark.jit
def test_ctrl_c_while_it_compiles_is_one_line(tmp_path):
    run = started("warmup", NUMBA_CACHE_DIR=str(tmp_path))
    assert run.stdout.readline().startswith("Compiling")
    time.sleep(random.Random(2).uniform(0, 1))
    run.send_signal(signal.SIGINT)
    assert ended(run) == (130, ["fastbp: interrupted"])


def test_where_ctrl_c_is_ignored_it_stays_so():
    """As a shell starts what stands in the background of a script."""
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    )
    run = started("--version", command=[sys.executable, "-c", ignoring, sys.executable, "-m", "fastbp"])
    run.send_signal(signal.SIGINT)
    assert ended(run) == (0, [])


def test_another_program_that_imports_fastbp_keeps_its_ctrl_c():
    code = "import signal; before = signal.getsignal(2); import fastbp.app.cli; assert signal.getsignal(2) is before"
    for arguments in ([], ["-m", "fastbp"]):
        assert subprocess.run([sys.executable, "-c", code, *arguments]).returncode == 0


# Pipes and disks


@pytest.mark.parametrize("lines", [0, 2])
def test_a_run_whose_output_is_no_longer_read_goes_on(tmp_path, lines):
    line = [sys.executable, "-m", "fastbp", *TRAIN, "--epochs", "30", "--out", tmp_path]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        for _ in range(lines):
            run.stdout.readline()
        run.stdout.close()
        errors = run.stderr.read()
    assert run.returncode == 0
    assert errors in ("", "fastbp: standard output: Broken pipe; going on without it\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ARTEFACTS
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 31


def test_a_run_that_can_say_nothing_at_all_writes_its_results(tmp_path):
    """`train 2>&1 | true`, both streams closed, and a log on a full disk."""
    ways = {
        "one broken pipe": '"$@" 2>&1 | true',
        "closed": '"$@" >&- 2>&-',
        "full": '"$@" >/dev/full 2>/dev/full',
    }
    runs = {}
    for name, way in ways.items():
        line = [sys.executable, "-m", "fastbp", *TRAIN, "--epochs", "2", "--out", tmp_path / name]
        runs[name] = subprocess.Popen(
            ["sh", "-c", way, "sh", *map(str, line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    for name, run in runs.items():
        assert (*run.communicate(), run.returncode) == (b"", b"", 0), name
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ARTEFACTS


def test_a_result_that_cannot_be_shown_is_no_success():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "fastbp", "info"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "fastbp: No space left on device\n")


# Terminals


def on_terminal(*arguments, columns=80, **environment):
    """Run a command with a terminal as its output; return what that received."""
    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    line = [sys.executable, "-m", "fastbp", *map(str, arguments)]
    environment = {**clean, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "24", **environment}
    with subprocess.Popen(line, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=environment) as run:
        os.close(theirs)
        received = bytearray()
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
            received += piece
    os.close(ours)
    assert run.returncode in (0, 2)
    return received.decode()


STYLES = re.compile(r"\x1b\[[\d;]*m")


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["info"], ["trian"], "train"])
def test_no_color_means_no_styles(command, tmp_path):
    line = [*TRAIN, "--epochs", "1", "--out", tmp_path] if command == "train" else command
    assert STYLES.findall(on_terminal(*line, NO_COLOR="1")) == []
    if command == ["info"]:
        assert STYLES.findall(on_terminal(*line, NO_COLOR=""))


@pytest.mark.parametrize("command", ["train", "bar"])
def test_the_bar_fits_a_terminal_of_any_width(command, monkeypatch):
    """Drawn numbers of epochs and figures: a bar of some columns is there, and nothing is cut or wrapped."""
    draw = random.Random(3)
    monkeypatch.setattr("time.perf_counter", iter(range(10**9)).__next__)
    for width in (*range(20, 60), *draw.sample(range(60, 201), 20)):
        epochs = draw.choice([1, 12, 345, 10**6])
        screens = {"width": width, "force_terminal": True, "color_system": "standard", "no_color": False}
        paper, terminal = (Console(**screens, file=io.StringIO()) for _ in "12")
        bar = EpochBar(terminal)
        figures = {
            name: draw.random() for name in ("loss", "accuracy", "val_loss", "val_accuracy")[: draw.randint(1, 4)]
        }
        with bar.fit(epochs, 1000, 1e6):
            for _ in range(3):
                bar.advance(draw.randint(1, 1000), draw.random())
            if command == "train":
                bar.epoch(draw.randint(0, epochs), figures)
            paper.print(bar._bar.get_renderable())
        (line,) = STYLES.sub("", paper.file.getvalue()).splitlines()
        assert len(line.rstrip()) <= width
        assert len(re.findall("[━╸╺]", line)) >= 8, (width, line)
        assert re.search(r"\d+/\d+|\d%", line)
        assert "…" not in line
        if width >= 50 and epochs < 1000:
            assert "loss" in line


# Escapes

NASTY = ["$\\frac$", "\x1b[31mred", "\x9b2J", "a\rb", "\x07", "\u202egnp.exe", "bell\x1b]0;title\x07", "\u2028", "\x7f"]


def raw(text):
    return [c for c in text if not c.isprintable() and c != "\n"]


def test_visible_changes_nothing_that_can_be_seen():
    for text in ("plain", "Grüße, Jürgen", "日本語\u3000名前", "a b", "1\u00a0000", "🙂", "[bold]", "\\x1b"):
        assert visible(text) == text
    assert visible("\x1b[1m\udcff\n") == r"\x1b[1m\udcff\n"


def test_no_escape_of_data_reaches_the_terminal(tmp_path):
    """Names of classes, columns, files and arguments, each drawn with controls in it: tables, lines and errors."""
    draw = random.Random(4)
    rng = np.random.default_rng(0)

    def name(ending=""):
        return "".join(draw.choices([*NASTY, "x", "ü"], k=4)).replace("/", "") + ending

    def run(*line, code=0):
        result = CliRunner().invoke(app, [str(part) for part in line])
        assert result.exit_code == code, result.output
        assert raw(result.stdout + result.stderr) == []
        return result

    for i in range(3):
        folder = tmp_path / (str(i) + name())
        folder.mkdir()
        data = folder / name(".npz")
        labels = np.array([f"{k}{name()}" for k in range(3)])
        np.savez(data, x=rng.normal(size=(120, 4)), y=labels[rng.integers(0, 3, 120)])
        run("train", data, "--epochs", 1, "--hidden", "4", "--threads", 1, "--out", folder / "out")
        model = folder / "out" / "model.safetensors"
        assert r"\x" in run("evaluate", model, data).stdout
        run("predict", model, data, "--out", folder / name(".csv"))
        run("predict", model, data, "--out", folder / name(".txt"), code=2)
        run("evaluate", model, folder / name(".npz"), code=2)
        run("evaluate", data, data, code=2)
        run("train", "--activation", name(), code=2)
        run(name(), code=2)
        run("train", f"--{name()}", code=2)
        assert labels[0] in (fastbp.load(model).metadata["classes"])  # the data itself is as it was
