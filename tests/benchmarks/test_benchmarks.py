"""The asv suite and what compares two commits: clocks, formulas, verdicts."""

import contextlib
import importlib
import json
import math
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
KEPT = BENCHMARKS / "results"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    # Importing the suite sets these for a run of asv; other tests keep theirs.
    for name in ("NUMBA_CACHE_DIR", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "")
    monkeypatch.delenv("FASTBP_KERNELS", raising=False)  # a run of the tests with native kernels has one


# The clock


@pytest.fixture
def clock():
    return importlib.import_module("suite._clock")


class Ticks:
    """A clock that goes on by so much at each look."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def perf_counter(self):
        self.now += self.step
        return self.now


def test_seconds_are_those_of_one_unit(clock, monkeypatch):
    ticks = Ticks(0.001)
    monkeypatch.setattr(clock, "time", ticks)

    class Work(clock.Timed):
        def prepare(self):
            return lambda: None, 5

    work = Work()
    work.setup()
    before = work.timer()
    ticks.now += 1.0 - ticks.step  # the next look is a second later
    assert math.isclose(work.timer() - before, 1.0 / (work.calls * 5))


def test_loop_holds_a_sample(clock, monkeypatch):
    ticks = Ticks(0.0)
    monkeypatch.setattr(clock, "time", ticks)

    def takes_a_millisecond():
        ticks.now += 1e-3

    assert clock.calls_in_a_sample(takes_a_millisecond) == round(clock.SAMPLE / 1e-3)


def test_setup_prepares_and_compiles_once(clock):
    prepared, called = [], []

    class Work(clock.Timed):
        def prepare(self, size):
            prepared.append(size)
            return lambda: called.append(size), 1

    work = Work()
    work.setup(3)
    before = len(called)
    work.setup(3)
    assert prepared == [3]
    assert len(called) == before > 0


def test_ratio_is_of_the_same_turn(clock, monkeypatch):
    """A machine that becomes ten times slower on the way changes no ratio."""
    ticks = Ticks(0.0)
    monkeypatch.setattr(clock, "time", ticks)
    calls = iter(range(10**9))

    def work(seconds):
        def call():
            ticks.now += seconds * (10 if next(calls) > 500 else 1)

        return call

    assert math.isclose(clock.ratio(work(2e-3), work(1e-3)), 2, rel_tol=0.01)


# What fastbp is measured with


def test_formulas_agree_with_finite_differences():
    formulas = importlib.import_module("suite._formulas")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 4)), rng.integers(0, 3, 6)
    for activation in formulas.ACTIVATIONS:
        parameters = [(rng.standard_normal((5, 4)), rng.standard_normal(5)), (rng.standard_normal((3, 5)), np.zeros(3))]
        _, found = formulas.gradients(parameters, activation, x, y)
        for pair, gradients in zip(parameters, found, strict=True):
            for array, gradient in zip(pair, gradients, strict=True):
                place = np.unravel_index(rng.integers(array.size), array.shape)
                at, h = array[place], 1e-6
                losses = []
                for value in (at - h, at + h):
                    array[place] = value
                    losses.append(formulas.gradients(parameters, activation, x, y)[0])
                array[place] = at
                # Central differences: the error is h² times a third derivative, and rounding over h.
                assert abs((losses[1] - losses[0]) / (2 * h) - gradient[place]) < 1e-8


def test_values_are_those_of_the_layers():
    import fastbp

    formulas = importlib.import_module("suite._formulas")
    z = np.linspace(-4, 4, 101, dtype=np.float32)[None]
    for name, value in formulas.VALUES.items():
        layer = fastbp.Dense(101, 101, activation=name, rng=0)
        layer.weight[...], layer.bias[...] = np.eye(101, dtype=np.float32), 0
        bound = 1e-3 if name == "gelu" else 1e-6  # NumPy has the approximation with tanh alone
        assert abs(layer.forward(z) - value(z)).max() < bound, name


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads code for x86-64")
def test_peak_is_nothing_but_fused_multiply_adds_in_registers():
    peak = importlib.import_module("suite._peak")
    if not peak.llvm.get_host_cpu_features().get("fma"):
        pytest.skip("a CPU without FMA")
    assembly = peak.compiler().emit_assembly(peak.llvm.parse_assembly(peak.source()))
    fused = re.findall(r"vfmadd\w+\s+(.*)", assembly)
    assert len(fused) == peak.chains()
    assert not any("(" in operands for operands in fused)
    call, operations = peak.fma_peak(1)
    call()
    assert operations == 2 * peak.lanes() * peak.chains() * peak.REPEATS


def test_suite_uses_what_fastbp_offers_and_nothing_below():
    """Older commits run it: what has no public name may not be there."""
    for path in (BENCHMARKS / "suite").glob("*.py"):
        found = re.findall(r"^\s*(?:from|import) (fastbp\.\S+)", path.read_text(), re.MULTILINE)
        assert not found, path.name


def test_fastbp_is_not_imported_before_a_row_has_its_process():
    """asv forks for each row, and fastbp keeps to one thread in a child of a process that had it."""
    names = [f"suite.{path.stem}" for path in (BENCHMARKS / "suite").glob("[a-z]*.py")]
    code = f"import sys, {', '.join(names)}; sys.exit('fastbp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS).returncode == 0


def test_a_commit_that_lacks_a_feature_skips():
    from asv_runner.benchmarks.mark import SkipNotImplemented  # what asv takes for a skip, in a setup and in a body

    work = importlib.import_module("suite._work")
    with pytest.raises(SkipNotImplemented, match="no teleporter here"):
        work.offered("teleporter")
    with pytest.raises(SkipNotImplemented, match="100000 threads"):
        work.use_threads(100_000)


# Comparing


@pytest.fixture
def compare():
    pytest.importorskip("asv")
    return importlib.import_module("compare")


def change(compare, base, head, unit="times", name="figures.track_it"):
    return compare.Change(compare.Row(name, ()), unit, base, head).verdict


def test_a_tenth_is_worse_for_a_figure_and_half_for_seconds(compare):
    assert change(compare, [1.0] * 3, [1.12] * 3) == "worse"
    assert change(compare, [1.0] * 3, [1.08] * 3) == "same"
    assert change(compare, [1.0] * 3, [1.3] * 3, "seconds") == "same"
    assert change(compare, [1.0] * 3, [1.6] * 3, "seconds") == "worse"
    assert change(compare, [1.0] * 3, [0.6] * 3, "seconds") == "better"


def test_one_busy_round_is_no_verdict(compare):
    assert change(compare, [1.0, 1.0, 1.0], [1.3, 1.3, 0.9]) == "same"
    assert change(compare, [1.0, 1.0, 1.0], [1.3, 1.0, 1.0]) == "same"


def test_less_of_the_peak_is_worse(compare):
    name = "figures.OfThePeak.track_percent_of_peak"
    assert change(compare, [80.0] * 3, [60.0] * 3, name=name) == "worse"
    assert change(compare, [60.0] * 3, [80.0] * 3, name=name) == "better"


def test_from_zero_is_worse_and_zero_to_zero_the_same(compare):
    assert change(compare, [0.0] * 3, [1.0] * 3) == "worse"
    assert change(compare, [0.0] * 3, [0.0] * 3) == "same"


def test_rows_of_one_side_are_named(compare):
    row, new, failed = (compare.Row("k.time_it", (name,)) for name in ("a", "new", "failed"))
    rounds = [({row: 1.0, new: math.nan, failed: 2.0}, {row: 1.0, new: 2.0, failed: None})] * 2
    found, broken, alone = compare.changes(rounds, {"k.time_it": {"unit": "seconds"}})
    assert [each.row for each in found] == [row]
    assert broken == [failed]
    assert alone == [new]


def test_asv_looks_for_no_step_where_larger_is_better(compare):
    asv = importlib.import_module("_asv")
    silent = asv.util.load_json(str(asv.CONFIGURATION), js_comments=True)["regressions_first_commits"]
    assert set(silent) == {f".*{part}.*" for part in compare.LARGER_IS_BETTER}


def measured_by(command, monkeypatch, sides, *arguments):
    """Run a command with results of the test's own in place of asv's; return its exit code and what it printed."""

    def values(results, commit, kernels="jit"):
        row = importlib.import_module("_asv").Row
        return {row("figures.track_it", (str(i),)): value for i, value in enumerate(sides[commit[0]])}

    monkeypatch.setattr(command, "resolve", lambda name: name * 8)
    for name in ("asv_run", "know_machine", "require_rows"):
        monkeypatch.setattr(command, name, lambda *line, **options: 0)
    monkeypatch.setattr(command, "benchmarks", lambda results: {"figures.track_it": {"unit": "times"}})
    monkeypatch.setattr(command, "values", values)
    app = typer.Typer()
    app.command()(command.main)
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})
    return done.exit_code, done.output


@pytest.mark.parametrize(("base", "head", "code", "word"), [
    (1.0, 1.0, 0, "0 worse, 0 better, 1 the same"),
    (1.0, 1.3, 1, "figures.track_it"),
    (1.3, 1.0, 0, "better"),
    (1.0, None, 2, "nothing was measured on both sides"),
])  # fmt: skip
def test_exit_code_is_the_verdict(compare, monkeypatch, tmp_path, base, head, code, word):
    monkeypatch.setattr(compare, "OWN", tmp_path)
    monkeypatch.setattr(compare, "alone", contextlib.nullcontext)
    monkeypatch.setattr(compare, "is_installed", lambda commit, kernels: True)
    got, printed = measured_by(compare, monkeypatch, {"a": [base], "b": [head]}, "a", "b")
    assert got == code, printed
    assert word in printed


@pytest.mark.parametrize(("values", "arguments", "code", "word"), [
    ([1.0, 2.0], ["--complete"], 0, "2 rows measured, 0 skipped, 0 failed"),
    ([1.0, None], [], 1, "failed: figures.track_it(1)"),
    ([1.0, math.nan], [], 0, "skipped: figures.track_it(1)"),
    ([1.0, math.nan], ["--complete"], 1, "skipped: figures.track_it(1)"),
    ([], [], 1, "failed: figures.track_it"),
])  # fmt: skip
def test_a_row_without_a_number_fails(monkeypatch, values, arguments, code, word):
    pytest.importorskip("asv")
    quick = importlib.import_module("quick")
    got, printed = measured_by(quick, monkeypatch, {"H": values}, *arguments)
    assert got == code, printed
    assert word in printed


# The history that is kept


def test_kept_results_are_small_and_name_no_machine_path():
    files = [path for path in KEPT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 500_000
    for path in files:
        assert not re.search(r'"(?:/|~|[A-Z]:)[\w/]', path.read_text()), path


def test_kept_results_are_of_ten_commits_at_least():
    results = [json.loads(path.read_text()) for path in KEPT.glob("*/*-*.json")]
    assert len({result["commit_hash"] for result in results}) >= 10
    for result in results:
        for name, values in result["results"].items():
            assert None not in (values[0] or [None]), name


def test_kept_results_are_of_the_suite_as_it_is():
    """asv shows results of one version of a benchmark: others would be lost without a word."""
    known = json.loads((KEPT / "benchmarks.json").read_text())
    for path in KEPT.glob("*/*-*.json"):
        result = json.loads(path.read_text())
        version = result["result_columns"].index("version")
        for name, values in result["results"].items():
            assert values[version] == known[name]["version"], (path, name)
