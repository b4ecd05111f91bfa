"""The benchmark of rows that are read while steps run: a time for each source, and how much memory an epoch takes."""

import importlib
import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def streaming(monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("streaming")
    monkeypatch.setattr(module, "console", Console(file=io.StringIO(), width=120))
    return module


def run(module, *arguments):
    app = module.typer.Typer()
    app.command()(module.main)
    return CliRunner().invoke(app, list(arguments))


def test_each_source_has_a_time_beside_that_in_memory(streaming):
    done = run(streaming, "speed", "--rows", "2000", "--turns", "1", "--group", "500")
    assert done.exit_code == 0, done.output
    said = streaming.console.file.getvalue()
    assert re.search(r"in memory +[\d,]+ +1.000", said)
    for name in ("Parquet", "memory maps, all rows permuted", "memory maps in blocks"):
        assert re.search(rf"{name} +[\d,]+ +\d+.\d\d\d", said)


def test_memory_of_an_epoch_is_looked_at_in_a_process_of_its_own(streaming, tmp_path):
    before, most = streaming.memory(0.001, 3000, tmp_path)
    assert 10 < before <= most < before + 100


def test_anything_else_is_refused(streaming):
    assert run(streaming, "else").exit_code == 2
