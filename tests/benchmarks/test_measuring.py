"""What is measured is the commit that was asked for: one at a time in a clone, names checked first, files compared."""

import importlib
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
DOORS = {
    "compare": ["compare.py", "HEAD~1", "HEAD"],
    "dashboard": ["dashboard.py", "run", "--no-serve", "--commits=HEAD~1..HEAD"],
    "keep": ["history.py", "keep", "here", "HEAD"],
}

pytest.importorskip("asv")


def git(folder, *arguments):
    person = {f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    line = ["git", "-c", "commit.gpgsign=false", *arguments]
    done = subprocess.run(line, cwd=folder, env={**os.environ, **person}, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Return a repository of two commits with the benchmarks of this one."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(BENCHMARKS, folder / "benchmarks", ignore=shutil.ignore_patterns("__pycache__", "results"))
    shutil.copy(ROOT / "asv.conf.json", folder)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "one")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "two")
    return folder


@pytest.fixture
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def begin(clone, script, *arguments):
    line = [sys.executable, f"benchmarks/{script}", *arguments]
    home = {**os.environ, "HOME": str(clone)}  # asv describes the machine there
    return subprocess.Popen(line, cwd=clone, env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def expect_refusal(process, word):
    """A line that says why, and code 2: 1 is what `make compare` has for a row that became worse."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, out + err
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert word in err


# One at a time

HOLD = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from _alone import alone
with alone():
    child = subprocess.Popen(["sleep", "60"], close_fds=False)  # as asv is started
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_a_second_measurement_is_refused_until_the_first_and_its_asv_are_gone(clone):
    line = [sys.executable, "-c", HOLD, str(clone / "benchmarks")]
    holder = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    with holder.stdout:
        child = int(holder.stdout.readline())
    try:
        for process in [begin(clone, *door) for door in DOORS.values()]:
            expect_refusal(process, f"process {holder.pid}")
        holder.kill()
        holder.wait()
        expect_refusal(begin(clone, *random.Random(0).choice(list(DOORS.values()))), "is at work in")
    finally:
        holder.kill()
        os.kill(child, signal.SIGKILL)
    assert not (clone / ".asv" / "env").exists()
    free = [sys.executable, "-c", "from _alone import alone\nwith alone(): pass"]
    for _ in range(50):  # the system may take a moment
        if subprocess.run(free, cwd=clone / "benchmarks", capture_output=True).returncode == 0:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the lock outlived those who held it")


# Names

REFUSED = {
    "no expression": (["--bench=["], "no regular expression"),
    "no row": (["--bench=no_such_benchmark"], "no row of the suite matches"),
    "no row ends so": (["--bench=time_step$"], "no row of the suite matches"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_pattern_that_finds_nothing_is_refused_before_anything_is_built(clone, reason):
    options, word = REFUSED[reason]
    scripts = [DOORS["compare"], DOORS["dashboard"], ["quick.py"]]
    for process in [begin(clone, *script, *options) for script in scripts]:
        expect_refusal(process, word)
    assert not (clone / ".asv" / "env").exists()


@pytest.mark.parametrize("commits", [("HEAD", "no-such-commit"), ("HEAD", "HEAD"), ("HEAD", "--all"), ("", "HEAD")])
def test_compare_wants_two_commits(clone, commits):
    expect_refusal(begin(clone, "compare.py", "--", *commits), "commit")


def is_expression(text):
    try:
        re.compile(text)
    except re.error:
        return False
    return True


@pytest.mark.filterwarnings("ignore:Possible nested set")
@settings(max_examples=50, deadline=None)
@given(text=st.text("[](){}*+?|\\^$a1-", min_size=1, max_size=6).filter(lambda text: not is_expression(text)))
def test_no_broken_expression_reaches_asv(text):
    import typer

    sys.path.insert(0, str(BENCHMARKS))
    try:
        asv = importlib.import_module("_asv")
    finally:
        sys.path.remove(str(BENCHMARKS))
    with pytest.raises(typer.Exit) as ended:
        asv.require_rows(text)
    assert ended.value.exit_code == 2


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Return a function that calls make with a Python that tells what it was called with."""
    venv = tmp_path_factory.mktemp("venv")
    (venv / "bin").mkdir()
    python = venv / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    python.chmod(0o755)
    for stamp in (".created", ".asv-installed", ".dev-installed"):
        (venv / stamp).touch()

    def call(target, **variables):
        line = ["make", "--silent", f"VENV={venv}", target, *(f"{name}={text}" for name, text in variables.items())]
        return subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")

    return call


TYPED = st.text("$'\"`\\#;|&()*?[]{}^~%=ax1.-", min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(bench=TYPED, base=TYPED, head=TYPED, commits=TYPED)
def test_make_passes_what_was_typed(make, bench, base, head, commits):
    found = make("compare", BENCH=bench, BASE=base, HEAD=head)
    assert found == ["benchmarks/compare.py", f"--bench={bench}", "--rounds=3", "--", base, head, ""]
    found = make("dashboard", BENCH=bench, RANGE=commits)
    assert found[1:4] == ["run", f"--commits={commits}", "--steps=10"]
    assert found[4] == f"--bench={bench}"
    assert make("bench-quick", BENCH=bench)[1:] == [f"--bench={bench}", ""]


# The commit that is installed


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def change(folder, rng):
    """Do something to a package that changes what it computes."""
    files = sorted(path for part in ("fastbp", "kernels") for path in (folder / part).rglob("*.py"))
    path = rng.choice(files)
    match rng.choice(["write", "add", "remove", "rename"]):
        case "write":
            path.write_text(path.read_text() + f"x = {rng.random()}\n")
        case "add":
            (path.parent / f"added_{rng.randrange(10**9)}.py").write_text("y = 1\n")
        case "remove" if len(files) > 2 and path.name != "__init__.py":
            path.unlink()
        case _:
            (folder / "fastbp" / "data.bin").write_bytes(rng.randbytes(20))


def install(folder, package):
    """Copy what a wheel of this project has."""
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(folder / "fastbp", package, ignore=shutil.ignore_patterns("kernels", "*.txt"))
    shutil.copytree(folder / "kernels", package / "kernels", ignore=shutil.ignore_patterns("*.txt"))
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.pyc").write_bytes(b"compiled")


@pytest.fixture
def commits(clone, tmp_path):
    """Return a repository, and for each of some commits what a wheel of it installs."""
    folder, rng = tmp_path / "repository", random.Random(0)
    shutil.copytree(clone, folder)
    for name in ("fastbp", "kernels"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("def SGD():\n    return 0\n")
        (folder / name / "not-installed.txt").touch()
    (folder / "fastbp" / "kernels").symlink_to("../kernels")
    packages = {}
    for i in range(8):
        change(folder, rng)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "-m", "changed")
        packages[git(folder, "rev-parse", "HEAD")] = tmp_path / f"site-{i}" / "fastbp"
        install(folder, tmp_path / f"site-{i}" / "fastbp")
    return folder, packages


def test_no_commit_passes_for_another(commits):
    folder, packages = commits
    differences = load(folder / "benchmarks" / "suite" / "_commit.py").differences
    for commit in packages:
        for other, package in packages.items():
            same = not git(folder, "diff", "--stat", commit, other)
            assert (differences(commit, package) == []) == same, (commit, other)


def test_a_row_of_another_commit_fails(commits):
    folder, packages = commits
    rows = ["suite._work.offered('SGD')", "suite.startup.Import().timeraw_fastbp()"]
    (right, package), (wrong, _) = random.Random(1).sample(list(packages.items()), 2)
    for row in rows:
        for commit in (right, wrong):
            line = [sys.executable, "-c", f"import suite._work, suite.startup; {row}"]
            path = os.pathsep.join([str(package.parent), str(folder / "benchmarks")])
            environment = {**os.environ, "PYTHONPATH": path, "ASV_COMMIT": commit}
            done = subprocess.run(line, cwd=package.parent, env=environment, capture_output=True, text=True)
            assert (done.returncode == 0) == (commit == right), done.stderr
            if commit == wrong:
                assert f"is not commit {wrong[:8]}" in done.stderr


def test_compare_ends_where_another_commit_was_installed_meanwhile(commits, importable, monkeypatch, capsys, tmp_path):
    import typer

    folder, packages = commits
    compare, asv = importlib.import_module("compare"), importlib.import_module("_asv")
    site = folder / ".asv" / "env" / "0" / "lib" / "python3" / "site-packages"
    meanwhile = next(iter(packages))

    def run(*line, **options):
        commit = line[-1].removesuffix("^!")
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(packages[commit if commit != meanwhile else list(packages)[-1]], site / "fastbp")
        return 0

    for module in (asv, compare):
        monkeypatch.setattr(module, "OWN", folder / ".asv")
    monkeypatch.setattr(asv, "SUITE", folder / "benchmarks" / "suite")
    monkeypatch.setattr(compare, "asv_run", run)
    monkeypatch.setattr(compare, "know_machine", lambda: None)
    monkeypatch.setattr(compare, "values", lambda results, commit: {})
    monkeypatch.setattr(compare, "benchmarks", lambda results: {})
    console = importlib.import_module("rich.console").Console(quiet=True)
    compare.measure(console, list(packages)[2:4], ".", 2)
    with pytest.raises(typer.Exit) as ended:
        compare.measure(console, [list(packages)[1], meanwhile], ".", 2)
    assert ended.value.exit_code == 2
    assert f"{meanwhile[:8]} is not what was measured" in capsys.readouterr().err


# The history that is kept


def test_the_suite_has_the_versions_that_the_history_was_measured_with(tmp_path):
    """asv shows results of one version of a benchmark: others would be lost without a word."""
    runner = importlib.import_module("asv.runner")
    line = [sys.executable, runner.BENCHMARK_RUN_SCRIPT, "discover", str(BENCHMARKS / "suite"), "found.json"]
    subprocess.run(line, cwd=tmp_path, check=True)
    found = json.loads((tmp_path / "found.json").read_text())
    kept = json.loads((BENCHMARKS / "results" / "benchmarks.json").read_text())
    assert {each["name"]: each["version"] for each in found} == {
        name: about["version"] for name, about in kept.items() if isinstance(about, dict)
    }


def write_result(folder, commit):
    folder.mkdir(parents=True, exist_ok=True)
    result = {"commit_hash": commit, "params": {"machine": folder.name, "cpu": commit, "numba": "1"}}
    (folder / f"{commit[:8]}-environment.json").write_text(json.dumps(result))


def test_age_counts_first_parents_to_the_nearest_kept_commit(importable, clone, tmp_path):
    """Along a random history with merges; a shallow clone says nothing."""
    history, rng, folder = importlib.import_module("history"), random.Random(2), tmp_path / "repository"
    shutil.copytree(clone, folder)
    line = [git(folder, "rev-parse", "HEAD")]  # first parents, the oldest first
    sides = []
    for i in range(30):
        git(folder, "commit", "--quiet", "--allow-empty", "-m", f"{i}")
        if rng.random() < 0.2:
            sides.append(git(folder, "rev-parse", "HEAD"))
            git(folder, "reset", "--quiet", "--hard", line[-1])
            git(folder, "commit", "--quiet", "--allow-empty", "-m", f"beside {i}")
            git(folder, "merge", "--quiet", "--no-ff", "-s", "ours", "-m", f"merge {i}", sides[-1])
            line.append(git(folder, "rev-parse", "HEAD~1"))
        line.append(git(folder, "rev-parse", "HEAD"))
    for _ in range(5):
        kept = rng.sample(range(len(line)), 3)
        commits = [line[i] for i in kept] + ["0" * 40]  # and one that is not in this clone
        assert history.behind(folder, commits) == len(line) - 1 - max(kept)
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "2", f"file://{folder}", str(shallow))
    assert history.behind(shallow, line) is None
    assert history.behind(tmp_path, line) is None  # no repository

    old, new = line[0], line[-1]
    for i in range(history.MOST + 1 - rng.randrange(3)):
        git(folder, "commit", "--quiet", "--allow-empty", "-m", f"later {i}")
    for commit, warns in ((old, True), (new, history.behind(folder, [new]) > history.MOST)):
        shutil.rmtree(folder / "benchmarks" / "results", ignore_errors=True)
        write_result(folder / "benchmarks" / "results" / "here", commit)
        done = begin(folder, "history.py", "age")
        out, err = done.communicate()
        assert (done.returncode, out) == (0, "")
        assert ("warning: benchmarks/results ends" in err) == warns


@pytest.mark.parametrize("fails", [False, True])
def test_keep_copies_what_was_asked_for_and_nothing_that_failed(importable, monkeypatch, tmp_path, capsys, fails):
    import typer

    history, asv = importlib.import_module("history"), importlib.import_module("_asv")
    own, kept, rng = tmp_path / "own", tmp_path / "kept", random.Random(3)
    measured = [f"{rng.getrandbits(160):040x}" for _ in range(6)]
    wanted = rng.sample(measured, 3)

    def run(*line, **options):
        (asked,) = (Path(part.removeprefix("HASHFILE:")).read_text().split() for part in line if "HASHFILE" in part)
        assert asked == wanted
        for commit in measured:
            write_result(own / "results" / "here", commit)
        for name in ("benchmarks.json", "here/machine.json"):
            (own / "results" / name).write_text('{"cpu": "measured", "version": 1}')
        return 2 if fails else 0

    def values(results, commit, machine):
        return {asv.Row("figures.track_it", ()): None if fails and commit == wanted[1] else 1.0}

    for name, value in {"OWN": own, "KEPT": kept, "asv_run": run, "values": values}.items():
        monkeypatch.setattr(history, name, value)
    monkeypatch.setattr(history, "resolve", lambda name: name)
    monkeypatch.setattr(history, "know_machine", lambda name: None)
    monkeypatch.setattr(history, "configured", lambda folder: folder)
    monkeypatch.setattr(history, "alone", lambda: importlib.import_module("_alone").alone(own))
    if fails:
        with pytest.raises(typer.Exit):
            history.keep("here", wanted)
        assert "figures.track_it" in capsys.readouterr().err
        assert not kept.exists()
        return
    for cpu in ("measured", "put better"):
        history.keep("here", wanted)
        found = [json.loads(path.read_text()) for path in (kept / "here").glob("*-*.json")]
        assert {result["commit_hash"] for result in found} == set(wanted)
        params = {"machine": "here", "cpu": cpu, "numba": "1"}
        assert all(result["params"] == params for result in found)  # or they would be lines of their own
        assert (kept / "benchmarks.json").exists()
        (kept / "here" / "machine.json").write_text('{"cpu": "put better", "version": 1}')
