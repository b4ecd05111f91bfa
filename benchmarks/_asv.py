"""Calling airspeed velocity, and reading what it wrote."""

import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import typer
from asv import runner, util
from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.machine import Machine, MachineCollection
from asv.results import Results

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "asv.conf.json"
SUITE = ROOT / "benchmarks" / "suite"
OWN = ROOT / ".asv"  # ignored by git
KEPT = ROOT / "benchmarks" / "results"  # and known to it
VARIABLE = "FASTBP_KERNELS"  # in results of native kernels


class Row(NamedTuple):
    """A benchmark with one choice of its parameters."""

    benchmark: str
    parameters: tuple[str, ...]

    def __str__(self):
        return f"{self.benchmark}({', '.join(self.parameters)})" if self.parameters else self.benchmark


def refuse(message):
    """Say in one line why nothing can be measured, and end with code 2: 1 is for what was measured and is worse."""
    print(message, file=sys.stderr)
    raise typer.Exit(2)


def configured(folder, **changes):
    """Write another configuration: that of the project with some entries changed. Return its path."""
    entries = util.load_json(str(CONFIGURATION), js_comments=True) | changes
    if not find_commit(entries["branches"][0]):
        entries["branches"] = ["HEAD"]  # a clone of another branch, or of a commit
    for name in ("repo", "benchmark_dir", "env_dir", "results_dir", "html_dir"):
        entries[name] = str(ROOT / entries[name])  # asv takes them from the folder of the file
    path = Path(folder) / "asv.conf.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries, indent=4))
    return path


def asv(command, *arguments, config=CONFIGURATION, quiet=False):
    """Run a command of asv; return its exit code. What it says is shown, or, where quiet, only if it fails."""
    line = [sys.executable, "-m", "asv", command, "--config", str(config), *map(str, arguments)]
    output = subprocess.PIPE if quiet else None
    # It gets the open file of `_alone.alone`, where there is one.
    done = subprocess.run(line, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True, close_fds=False)
    if quiet and done.returncode:
        print(done.stdout)
    return done.returncode


def asv_run(*arguments, **options):
    """Let asv measure; return 0, or 2 where rows failed. Refuse where it could not begin."""
    code = asv("run", *arguments, **options)
    if code not in (0, 2):
        refuse("asv run could not begin, or was stopped, as it says above")
    return code


def know_machine(name=None):
    """Let asv describe this machine, under its own name or another, if nobody has."""
    name = name or Machine.get_unique_machine_name()
    try:
        MachineCollection.load(name)
    except util.UserError:
        MachineCollection.save(name, Machine.get_defaults() | {"machine": name})


def require_rows(pattern):
    """Refuse a pattern of benchmarks that is none, or that finds no row of the suite. Nothing is built for that."""
    try:
        re.compile(pattern)
    except re.error as error:
        refuse(f"{pattern!r} is no regular expression: {error}")
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found.json")
        subprocess.run([sys.executable, runner.BENCHMARK_RUN_SCRIPT, "discover", str(SUITE), str(found)], check=True)
        listed = json.loads(found.read_text())
    if not Benchmarks(Config.load(str(CONFIGURATION)), listed, regex=pattern):
        rows = [str(Row(each["name"], tuple(values[0] for values in each["params"]))) for each in listed]
        refuse(f"no row of the suite matches {pattern!r}; a row is called, for example, {max(rows, key=len)}")


def git(*arguments, folder=ROOT):
    """Return what git says, or an empty text where it fails: a commit that the clone lacks, a folder that is none."""
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True).stdout.strip()


def find_commit(name):
    """Return the hash of a commit, or an empty text where the name is none of a commit here."""
    return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")


def resolve(name):
    """Return the hash of a commit; refuse a name that is none."""
    return find_commit(name) or refuse(f"{name} is no commit of this repository")


def is_installed(commit, kernels):
    """Tell whether it is this commit, with such kernels, that stands in one of asv's environments."""
    look = [sys.executable, str(SUITE / "_commit.py"), commit]
    packages = OWN.glob("env/*/lib/python*/site-packages/fastbp")
    measured = os.environ | {VARIABLE: kernels}
    return any(subprocess.run([*look, str(package)], env=measured).returncode == 0 for package in packages)


def benchmarks(results):
    """Return what asv knows of each benchmark, by name."""
    known = json.loads((Path(results) / "benchmarks.json").read_text())
    return {name: about for name, about in known.items() if isinstance(about, dict)}


def kernels_of(result):
    """Return which kernels a result, the content of a file of asv's, is of."""
    return result.get("env_vars", {}).get(VARIABLE, "jit")


def files(results, commit, kernels, machine="*"):
    """Return the files with what was measured at a commit with such kernels."""
    found = sorted(Path(results).glob(f"{machine}/{commit[:8]}-*.json"))
    return [path for path in found if kernels_of(json.loads(path.read_text())) == kernels]


def values(results, commit, kernels="jit", machine="*"):
    """Return what was measured at a commit: a number by row, NaN where a row was skipped, None where it failed."""
    found = {}
    for path in files(results, commit, kernels, machine):
        result = Results.load(str(path))
        for name in result.get_all_result_keys():
            parameters = result.get_result_params(name)
            # asv writes null for a row that failed, or for all of a benchmark, and NaN for one that was skipped.
            listed = result.get_result_value(name, parameters)
            rows = list(itertools.product(*parameters))
            found |= {
                Row(name, row): value
                for row, value in zip(rows, listed if listed is not None else [None] * len(rows), strict=True)
            }
    return found


def measured(value):
    """Tell a number from a row that failed or was skipped."""
    return value is not None and not math.isnan(value)
