"""Calling airspeed velocity, and reading what it wrote."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from asv import util
from asv.machine import Machine, MachineCollection
from asv.results import Results

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "asv.conf.json"
OWN = ROOT / ".asv"  # ignored by git
KEPT = ROOT / "benchmarks" / "results"  # and known to it


class Row(NamedTuple):
    """A benchmark with one choice of its parameters."""

    benchmark: str
    parameters: tuple[str, ...]

    def __str__(self):
        return f"{self.benchmark}({', '.join(self.parameters)})" if self.parameters else self.benchmark


def configured(folder, **changes):
    """Write another configuration: that of the project with some entries changed. Return its path."""
    entries = util.load_json(str(CONFIGURATION), js_comments=True) | changes
    if not is_commit(entries["branches"][0]):
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
    done = subprocess.run(
        line, cwd=ROOT, stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT, text=True
    )
    if quiet and done.returncode:
        print(done.stdout)
    return done.returncode


def know_machine():
    """Let asv describe this machine, if nobody has."""
    try:
        MachineCollection.load(Machine.get_unique_machine_name())
    except util.UserError:
        asv("machine", "--yes", quiet=True)


def resolve(name):
    """Return the hash of a commit."""
    line = ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError(f"{name} is no commit of this repository")
    return done.stdout.strip()


def is_commit(name):
    """Tell whether a name is one of a commit here."""
    try:
        return bool(resolve(name))
    except ValueError:
        return False


def benchmarks(results):
    """Return what asv knows of each benchmark, by name."""
    known = json.loads((Path(results) / "benchmarks.json").read_text())
    return {name: about for name, about in known.items() if isinstance(about, dict)}


def values(results, commit):
    """Return what was measured at a commit: a number by row, NaN where a row was skipped, None where it failed."""
    found = {}
    for path in sorted(Path(results).glob(f"*/{commit[:8]}-*.json")):
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
