"""The benchmark: what it says of a case is right, and a library that is missing, fails or dies stops nothing."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fastbp.bench import report, workers
from fastbp.bench.cases import KINDS, LAYERS, PEERS, Case
from fastbp.bench.limits import LIMITS
from fastbp.bench.measure import Outcome, Timing, Turn, _measure_one, measure
from fastbp.bench.roofline import roofline
from fastbp.bench.workers import LIBRARIES, WorkerError, started
from fastbp.kernels.simd.caches import caches

SMALL = {
    "step": Case("step", (3, 5, 2), 4),
    "layers": Case("layers", (3, 5, 2), 4, norm="batch_norm", dropout=0.5),
    "loop": Case("loop", (3, 5, 2), 4, activation="tanh", loss="mse", optimizer="adam"),
    "cross_entropy": Case("cross_entropy", (5,), 4),
    "dense": Case("dense", (3, 5), 4, output_activation="relu"),
    "predict": Case("predict", (3, 5, 2), 1),
    "epoch": Case("epoch", (3, 5, 2), 4, optimizer="adam", rows=10),
}


# Cases


def test_work_of_a_step_is_that_of_its_products():
    wide = Case("step", (1024, 4096, 4096, 1000), 512)
    forward = 512 * (1024 * 4096 + 4096 * 4096 + 4096 * 1000)
    assert wide.work == 2 * (3 * forward - 512 * 1024 * 4096)
    assert Case("predict", (784, 128, 10), 1).work == 2 * (784 * 128 + 128 * 10)


def test_the_digits_are_as_many_as_their_case_says():
    (case,) = (case for case in PEERS if case.data == "digits")
    x, y = case.inputs()
    assert x.shape == (case.rows, case.sizes[0])
    assert x.dtype == np.float32
    assert 0 <= x.min() < x.max() == 1
    assert set(y) == set(range(case.sizes[-1]))


def test_an_epoch_is_all_of_its_steps():
    step = Case("step", (64, 100, 10), 128, optimizer="adam")
    epoch = replace(step, kind="epoch", rows=1280)
    assert epoch.work == 10 * step.work
    assert epoch.bytes == 10 * step.bytes


def test_bytes_of_a_step_are_its_parameters_twice_and_its_batch():
    case = Case("step", (3, 5, 2), 4)
    assert case.parameters == 3 * 5 + 5 + 5 * 2 + 2
    assert case.bytes == 2 * 4 * case.parameters + 4 * (4 * 3 + 8)
    assert Case("cross_entropy", (10,), 7).bytes == 2 * 4 * 70


def test_every_case_has_a_name_of_its_own_and_a_kind():
    assert len({case.label for case in PEERS}) == len(PEERS)
    assert {case.kind for case in PEERS} == set(KINDS)


@pytest.mark.parametrize("case", PEERS, ids=lambda case: case.label)
def test_a_case_survives_the_way_to_a_worker(case):
    assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


def test_timing_is_the_median_and_the_quartiles():
    timing = Timing.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert timing == (3.0, 2.0, 4.0)
    assert timing.spread == pytest.approx(1 / 3)


def test_the_caches_have_sizes():
    sizes = [caches()[level] for level in (1, 2, 3)]
    assert 1 << 13 <= sizes[0] <= sizes[1] <= sizes[2] <= 1 << 34


# Reports


@pytest.fixture
def outcomes():
    """Make what a run could have measured: of every case, and one of them without a peer."""
    limits = {("fma", 1): 1e11, ("fma", 2): 2e11, ("copy", 1): 1e10, ("copy", 2): 2e10}
    found = []
    for case in PEERS:
        times = {("fastbp", 1): Timing(2e-3, 1e-3, 3e-3), ("fastbp", 2): Timing(1e-3, 1e-3, 1e-3)}
        if case.kind != "optimizer" and case is not PEERS[0]:
            times |= {("torch", 1): Timing(3e-3, 3e-3, 3e-3), ("torch", 2): Timing(4e-3, 4e-3, 4e-3)}
        found.append(Outcome(case, times, limits, {1: Timing(1e-3, 1e-3, 1e-3)} if case.kind == "optimizer" else {}))
    return found


def printed(tables):
    text = io.StringIO()
    for table in tables:
        Console(width=150, file=text).print(table)
    return text.getvalue()


def test_a_peer_counts_by_its_better_number_of_threads(outcomes):
    assert outcomes[1].best("torch") == Timing(3e-3, 3e-3, 3e-3)
    assert outcomes[0].best("torch") is None
    lines = printed(report.tables(outcomes)).splitlines()
    (line,) = [line for line in lines if line.strip().startswith("17-64-64-6 tanh")]
    assert "3000 ±0%" in line
    assert "3.00x" in line
    (line,) = [line for line in lines if line.strip().startswith("10-46-46-10")]
    assert line.split()[-1] == "-"


def test_shares_are_of_the_limits_of_all_threads(outcomes):
    by_kind = {outcome.case.kind: outcome for outcome in outcomes}
    dense, entropy = by_kind["dense"], by_kind["cross_entropy"]
    assert dense.share == pytest.approx(dense.case.work / 1e-3 / 2e11)
    assert entropy.share == pytest.approx(entropy.case.bytes / 1e-3 / 2e10)


def test_tables_fit_150_columns(outcomes):
    for outcome in outcomes:  # no kind has more peers
        outcome.times |= {(name, 2): Timing(1.234567, 1.0, 1.5) for name in ("torch", "torch_compile", "jax")}
    text = printed(report.tables(outcomes))
    assert "…" not in text
    assert all(kind in text for kind in KINDS.values())


def test_adam_is_shown_beside_sgd(outcomes):
    text = printed(report.tables(outcomes))
    (line,) = [line for line in text.splitlines() if line.strip().startswith("784-128-10 adam")]
    assert "2.00" in line.split()


def test_json_has_every_case(outcomes):
    content = json.loads(report.to_json(outcomes, [], {"jax": "not installed"}))
    assert len(content["cases"]) == len(PEERS)
    assert content["missing"] == {"jax": "not installed"}
    assert content["limits"]["fma"] == {"1": 1e11, "2": 2e11}
    assert content["cases"][1]["times"]["torch"]["1"]["median"] == 3e-3


def test_roofline_is_a_picture(outcomes):
    pytest.importorskip("matplotlib")
    assert roofline(outcomes).startswith(b"\x89PNG")


# Workers


@pytest.fixture(scope="module")
def own_worker():
    with started(["fastbp"], [1]) as (found, missing):
        assert not missing
        yield found[0]


@pytest.mark.parametrize("kind", SMALL)
def test_fastbp_does_every_kind(own_worker, kind):
    own_worker.prepare("case", SMALL[kind])
    assert 0 < own_worker.turn("case", 0.0) < 60
    own_worker.drop("case")


def test_a_limit_is_the_faster_quartile_of_its_turns(monkeypatch):
    class Worker:
        threads = 2
        kinds = ()

    worker = Worker()
    found = {Turn(worker, limit): Timing(2.0, 1.0, 4.0) for limit in LIMITS}
    monkeypatch.setattr("fastbp.bench.measure.take_turns", lambda *_: (found, {}))
    outcome = _measure_one([], [worker], Case("step", (3, 2), 4), 3, 0.1)
    assert outcome.limits == {("fma", 2): 1.0, ("copy", 2): 1.0}


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_are_rates(own_worker, limit):
    own_worker.prepare(limit)
    assert 1e8 < 1 / own_worker.turn(limit, 0.001) < 1e14
    own_worker.drop(limit)


def test_an_error_in_a_worker_is_named_and_it_lives_on(own_worker):
    with pytest.raises(WorkerError, match="rleu"):
        own_worker.prepare("case", replace(SMALL["step"], activation="rleu"))
    own_worker.prepare("case", SMALL["step"])
    own_worker.drop("case")


@pytest.mark.parametrize("library", ["torch", "jax", "sklearn", "numpy"])
def test_peers_do_their_kinds(library, peer):
    peer(LIBRARIES[library][1])
    with started([library], [1]) as ((worker,), missing):
        assert not missing
        for kind in worker.kinds:
            worker.prepare("case", SMALL[kind])
            assert worker.turn("case", 0.0) > 0


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.label)
def test_layers_are_the_same_in_pytorch(torch, case):
    from fastbp.bench import _fastbp, _torch

    ours, theirs = _fastbp.network(case).to_torch(), _torch.network(case)
    assert [type(each) for each in ours] == [type(each) for each in theirs]
    assert {name: p.shape for name, p in ours.state_dict().items()} == {
        name: p.shape for name, p in theirs.state_dict().items()
    }
    (dropout, *_) = [each.p for each in theirs if isinstance(each, torch.nn.Dropout)] or [0.0]
    assert dropout == case.dropout


def test_a_worker_of_one_thread_has_one_core():
    before = os.sched_getaffinity(0)
    with started(["numpy"], [1]) as ((worker,), _):
        assert len(os.sched_getaffinity(worker._process.pid)) == 1
    assert os.sched_getaffinity(0) == before


def test_a_worker_that_dies_is_named_and_the_others_go_on():
    with started(["fastbp", "numpy"], [1]) as ((own, numpy), _):
        os.kill(numpy._process.pid, signal.SIGKILL)
        numpy._process.wait()
        (outcome,) = measure([own, numpy], [SMALL["dense"]], rounds=2, seconds=0.0)
    assert set(outcome.times) == {("fastbp", 1)}
    assert "died" in outcome.failures["numpy, 1 thread"]
    assert "numpy, 1 thread: died" in report.failures([outcome])[0]


def test_a_library_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(LIBRARIES, "jax", ("jax", "a_package_that_is_nowhere"))
    with started(["jax", "numpy"], [1]) as (found, missing):
        assert [worker.library for worker in found] == ["numpy"]
    assert missing == {"jax": "not installed"}
    assert "without jax (not installed)" in report.versions(found, missing)


def test_torch_compile_needs_a_compiler(monkeypatch):
    monkeypatch.setitem(LIBRARIES, "torch_compile", ("torch.compile", "numpy"))
    monkeypatch.setenv("CXX", "a-compiler-that-is-nowhere")
    assert workers.why_missing("torch_compile") == "no C++ compiler"


def test_an_error_ends_all_workers():
    def fail_inside():
        with started(["numpy"], [1, 2]) as (found, _):
            processes.extend(worker._process for worker in found)
            raise KeyboardInterrupt

    processes = []
    with pytest.raises(KeyboardInterrupt):
        fail_inside()
    assert [process.poll() for process in processes] == [-signal.SIGKILL] * 2


def test_workers_end_with_their_parent():
    code = (
        "import os, signal\nfrom fastbp.bench.workers import started\n"
        "with started(['numpy'], [1]) as ((worker,), _):\n"
        "    print(worker._process.pid, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    status = Path(f"/proc/{int(done.stdout)}/stat")
    for _ in range(100):
        # Nobody may have asked for the exit code yet: then it is still listed, as a zombie.
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail(f"{status} says that the worker is still there")
