"""No entry touches memory before or past an array: a script runs them all between pages that kill."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("guard_pages.py")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects pages as Linux does")


def run(*options):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([sys.executable, str(SCRIPT), *options], env=environment, capture_output=True, text=True)


def test_no_entry_touches_memory_outside_its_arrays():
    done = run()
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr}"  # -11: touched a guard page


@pytest.mark.parametrize("where", ["--past", "--before"])
def test_the_fences_hold(where):
    assert run(where).returncode < 0
