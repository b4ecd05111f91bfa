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


@pytest.fixture(autouse=True)
def no_wish(monkeypatch):
    monkeypatch.delenv("FASTBP_KERNELS", raising=False)  # a run of the tests with native kernels has one


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
    monkeypatch.setattr(compare, "values", lambda results, commit, kernels: {})
    monkeypatch.setattr(compare, "benchmarks", lambda results: {})
    console = importlib.import_module("rich.console").Console(quiet=True)
    compare.measure(console, list(packages)[2:4], "jit", ".", 2)
    with pytest.raises(typer.Exit) as ended:
        compare.measure(console, [list(packages)[1], meanwhile], "jit", ".", 2)
    assert ended.value.exit_code == 2
    assert f"{meanwhile[:8]} is not what was measured" in capsys.readouterr().err


# The kernels that are measured


@pytest.fixture
def kernels(importable, monkeypatch, clone, tmp_path):
    """Return the module, at work in a repository whose last commit builds native kernels."""
    folder, module = tmp_path / "repository", importlib.import_module("_kernels")
    shutil.copytree(clone, folder)
    (folder / "native").mkdir()
    (folder / "native" / "backend.py").touch()
    git(folder, "add", "native")
    git(folder, "commit", "--quiet", "-m", "native")
    monkeypatch.setattr(module, "git", lambda *line: importlib.import_module("_asv").git(*line, folder=folder))
    monkeypatch.setattr(module.sysconfig, "get_platform", lambda: "linux-x86_64")
    return module


def test_a_commit_is_measured_with_native_kernels_where_it_builds_them(kernels, monkeypatch):
    assert (kernels.of_commit("HEAD"), kernels.of_commit("HEAD~1")) == ("native", "jit")
    monkeypatch.setenv("FASTBP_KERNELS", "jit")
    assert (kernels.of_commit("HEAD"), kernels.of_commit("HEAD~1")) == ("jit", "jit")
    monkeypatch.delenv("FASTBP_KERNELS")
    monkeypatch.setattr(kernels.sysconfig, "get_platform", lambda: "macosx-14.0-arm64")
    assert kernels.of_commit("HEAD") == "jit"


@pytest.mark.parametrize(
    ("wish", "word"), [("native", "builds no native kernels"), ("native:x86-64", "expects jit or")]
)
def test_a_wish_that_cannot_be_had_is_refused(kernels, monkeypatch, capsys, wish, word):
    monkeypatch.setenv("FASTBP_KERNELS", wish)
    with pytest.raises(importlib.import_module("typer").Exit):
        kernels.of_commit("HEAD~1")
    assert word in capsys.readouterr().err


def test_native_kernels_are_not_compared_with_compiled_ones(kernels, monkeypatch, capsys):
    assert kernels.of_both("HEAD~1", "HEAD~2") == "jit"
    with pytest.raises(importlib.import_module("typer").Exit):
        kernels.of_both("HEAD~1", "HEAD")
    assert (
        "HEAD~1 with jit and HEAD with native kernels are not compared: FASTBP_KERNELS=jit" in capsys.readouterr().err
    )
    monkeypatch.setenv("FASTBP_KERNELS", "jit")
    assert kernels.of_both("HEAD~1", "HEAD") == "jit"


def test_commits_of_each_kind_are_measured_by_a_configuration_of_their_own(kernels, monkeypatch, tmp_path):
    seen = []

    def run(*line, config):
        entries = json.loads(config.read_text())
        wheel = entries["build_command"][-1]
        assert "--no-build-isolation" in wheel
        seen.append((wheel.split()[0], entries["matrix"].get("env"), (tmp_path / "commits").read_text().split()))
        return 2 * (len(seen) == 1)

    monkeypatch.setattr(kernels, "asv_run", run)
    assert kernels.measure(["HEAD", "HEAD~1", "HEAD~2"], tmp_path) == 2
    native = {"FASTBP_KERNELS": ["native"]}
    assert seen == [
        ("FASTBP_BUILD=native", native, ["HEAD"]), ("FASTBP_BUILD=pure", None, ["HEAD~1", "HEAD~2"]),
    ]  # fmt: skip


def test_results_of_the_two_have_names_of_their_own_and_continue_the_kept_lines(kernels, tmp_path, monkeypatch):
    asv, environment = importlib.import_module("_asv"), importlib.import_module("asv.environment")
    importlib.import_module("asv.plugins.virtualenv")
    monkeypatch.chdir(ROOT)
    found = {}
    for each in kernels.CHOICES:
        config = asv.Config.load(str(kernels.configuration(tmp_path / each, each)))
        (found[each],) = environment.get_environments(config, [])
    assert found["native"].env_vars == {"FASTBP_KERNELS": "native"}
    assert found["jit"].env_vars == {}
    assert found["native"].dir_name != found["jit"].dir_name  # and so the wheels that asv keeps
    kept = {json.loads(path.read_text())["env_name"] for path in (BENCHMARKS / "results").glob("*/*-*.json")}
    assert {without_python(name) for name in kept} <= {without_python(each.name) for each in found.values()}


def without_python(name):
    """Return the name of an environment for any Python."""
    return re.sub(r"py3\.\d+", "py", name)


def test_values_are_those_of_one_kind(importable, tmp_path):
    asv, folder = importlib.import_module("_asv"), tmp_path / "here"
    write_result(folder, "a" * 40)
    native = json.loads((folder / "aaaaaaaa-environment.json").read_text()) | {"env_vars": {"FASTBP_KERNELS": "native"}}
    (folder / "aaaaaaaa-environment-native.json").write_text(json.dumps(native))
    for kernels, name in (("jit", "aaaaaaaa-environment.json"), ("native", "aaaaaaaa-environment-native.json")):
        assert asv.files(tmp_path, "a" * 40, kernels) == [folder / name]


def test_a_wheel_of_the_other_kind_is_not_the_commit_that_is_measured(commits, monkeypatch):
    folder, packages = commits
    commit, package = next(iter(packages.items()))
    differences = load(folder / "benchmarks" / "suite" / "_commit.py").differences
    for built in (False, True):
        if built:
            (package / "kernels" / "_native.abi3.so").touch()
        for kernels in ("jit", "native"):
            monkeypatch.setenv("FASTBP_KERNELS", kernels)
            assert (differences(commit, package) == []) == (built == (kernels == "native"))


def test_an_install_has_the_size_of_what_is_required_and_of_nothing_else(importable, monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")
    startup = importlib.import_module("suite.startup")
    needs = {
        "fastbp": ["alpha>=1", "numba; extra == 'jit'"], "alpha": ["beta", "fastbp", "never; python_version < '3'"],
        "beta": [], "numba": ["beta"], "torch": [],
    }  # fmt: skip
    for i, (name, lines) in enumerate(needs.items()):
        about, code = tmp_path / f"{name}-1.dist-info", tmp_path / name / "code.py"
        for path in (about, code.parent):
            path.mkdir()
        code.write_bytes(b"x" * 10**i)
        (code.parent / "code.pyc").write_bytes(b"x")
        (about / "RECORD").write_text(f"{name}/code.py,,\n{name}/code.pyc,,\n")
        (about / "METADATA").write_text("\n".join([f"Name: {name}", *(f"Requires-Dist: {line}" for line in lines)]))
    (tmp_path / "fastbp" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    size = startup.Size()
    assert (size.track_install(), size.track_install_with_numba()) == (111, 1111)
    assert 0 < size.track_wheel() < 1000


# The history that is kept


def test_the_suite_has_the_versions_that_the_history_was_measured_with(tmp_path):
    """asv shows results of one version of a benchmark: others would be lost without a word."""
    runner = importlib.import_module("asv.runner")
    line = [sys.executable, runner.BENCHMARK_RUN_SCRIPT, "discover", str(BENCHMARKS / "suite"), "found.json"]
    subprocess.run(line, cwd=tmp_path, check=True)
    found = json.loads((tmp_path / "found.json").read_text())
    kept = json.loads((BENCHMARKS / "results" / "benchmarks.json").read_text())
    versions = {name: about["version"] for name, about in kept.items() if isinstance(about, dict)}
    assert versions.items() <= {each["name"]: each["version"] for each in found}.items()


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

    history, asv, kernels = (importlib.import_module(name) for name in ("history", "_asv", "_kernels"))
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

    def values(results, commit, kernels, machine):
        return {asv.Row("figures.track_it", ()): None if fails and commit == wanted[1] else 1.0}

    for name, value in {"OWN": own, "KEPT": kept, "values": values}.items():
        monkeypatch.setattr(history, name, value)
    (own / "dashboard").mkdir(parents=True)
    monkeypatch.setattr(kernels, "asv_run", run)
    monkeypatch.setattr(history, "resolve", lambda name: name)
    monkeypatch.setattr(history, "know_machine", lambda name: None)
    monkeypatch.setattr(kernels, "configured", lambda folder, **changes: folder)
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
