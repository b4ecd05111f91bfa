"""The grid of small calls: what it compares, and what it says of a slower one."""

import importlib
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def small_calls(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("small_calls")
    monkeypatch.setattr(module, "TURNS", 1)
    monkeypatch.setattr(module, "REST", 0.0)
    monkeypatch.setattr(module, "SECONDS", 0.0)
    return module


def run(module, *arguments):
    app = module.typer.Typer()
    app.command()(module.main)
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("ours", "theirs", "code"),
    [(2e-4, 1e-4, 1), (1e-4, 2e-4, 0), (1e-4, 1.0e-4, 0)],
    ids=["slower", "faster", "as fast"],
)
def test_a_call_that_is_slower_is_marked_and_the_exit_code_says_so(small_calls, monkeypatch, ours, theirs, code):
    now = [0.0]
    monkeypatch.setattr(small_calls.time, "perf_counter", lambda: now[0])

    def taking(seconds):
        def call():
            now[0] += seconds

        return call

    monkeypatch.setattr(
        small_calls, "CASES", {"own": lambda rows, width, dtype: [("a call", taking(ours), taking(theirs))]}
    )
    done = run(small_calls, "own", "--rows", "1", "--width", "8")
    assert done.exit_code == code, done.output
    assert ("! 2.00" in done.output) == bool(code)
    assert "a call" in done.output


def test_a_difference_that_nobody_sees_is_not_marked(small_calls, monkeypatch):
    """It is less than half a microsecond."""
    monkeypatch.setattr(small_calls, "by_turns", lambda rest, ours, theirs: [[4e-7], [2e-7]])
    monkeypatch.setattr(small_calls, "CASES", {"own": lambda rows, width, dtype: [("a call", time.time, time.time)]})
    assert run(small_calls, "own", "--rows", "1", "--width", "8").exit_code == 0


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_both_sides_of_each_pair_predict(small_calls):
    names = []
    for name, ours, theirs in small_calls.sklearn_cases(3, 8, "float64"):
        assert ours().shape == theirs().shape
        names.append(name)
    assert names == ["MLPClassifier.predict", "MLPClassifier.predict_proba", "MLPRegressor.predict"]


@pytest.mark.parametrize("kind", ["torch", "native"])
def test_both_sides_of_each_pair_compute(small_calls, torch, kind):
    for _, ours, theirs in small_calls.CASES[kind](3, 8, "float64"):
        ours()
        theirs()
