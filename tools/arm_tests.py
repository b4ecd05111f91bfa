"""Test fastbp on 64-bit ARM, which is emulated here, ``make test-arm``; in less than half an hour on two cores.

The wheel with prebuilt kernels is built here for ARM, and tested in an environment without Numba. It is built again in
the emulated system, to the same bytes. Then come some tests with Numba's kernels, and tests of the kernels and the API
with the wheel's; one of them trains a hundred networks with both, to the same bits. Arguments go to pytest.
"""

import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import wheel
from arm import System, variables
from native_tests import EXTENSION, copy_tree

FOLDER = wheel.ROOT / ".arm"
TOOLS = ["build", "hypothesis", "mpmath", "pytest", "pytest-xdist", "setuptools>=77"]
# The twins of a test that is left out compute in long double, which ARM has in software alone.
KERNELS = ["tests/kernels", "-k", "not each_product_has_them_where"]
# Ctrl-C is answered, and sent, within milliseconds: less than an emulated CPU takes.
API = [
    "tests/base/test_threads.py", "tests/nn/test_gradients.py", "tests/nn/test_kinds.py", "tests/nn/test_layers.py",
    "tests/nn/test_losses.py", "tests/train/test_by_hand.py", "tests/train/test_checkpoint.py",
    "tests/train/test_own_losses.py::test_a_row_loss_trains_as_its_twin_in_numpy[0]", "tests/train/test_steps.py",
    "tests/train/test_training.py", "-k", "not ctrl_c",
]  # fmt: skip
NUMBAS = [f"tests/kernels/test_{name}.py" for name in ("control", "region", "parts")] + ["tests/base/test_threads.py"]


class Tests:
    """Steps of the test, which all run though one fails."""

    def __init__(self):
        self.failed = []

    def step(self, title, command, **options):
        """Run a program, and say how long that took."""
        begun = time.monotonic()
        print(f"\n{title} ...", flush=True)
        if subprocess.call(command, **options):
            self.failed.append(title)
        print(f"{title}: {time.monotonic() - begun:.0f} s", flush=True)


def dependencies():
    """Return what a wheel without prebuilt kernels depends on."""
    project = tomllib.loads((wheel.ROOT / "pyproject.toml").read_text())
    return [*project["dependency-groups"]["base"], *project["project"]["optional-dependencies"]["jit"]]


def main(arguments):
    """Make the system and its environments, build, test; return an exit code."""
    system, tests, run = System(FOLDER), Tests(), FOLDER / "run"
    shutil.rmtree(run, ignore_errors=True)
    tree, again = run / "tree", run / "again"
    copy_tree(tree)
    compiler = shlex.join([*wheel.compiler("aarch64"), "-idirafter", str(system.root / "usr/include")])
    common = variables(CC=compiler, NUMBA_CACHE_DIR=run / "cache")

    built = wheel.published(run / "dist", "aarch64")
    print(f"{built.name}: {built.stat().st_size / 1000:.0f} kB", flush=True)
    alone, _ = system.environment("alone", built)
    pytest = [sys.executable, "-m", "pytest", *arguments]
    tests.step("tests of the wheel without Numba", [*pytest, "tests/project/test_wheel.py", "-k", "not door"],
               cwd=wheel.ROOT, env=variables(FASTBP_WHEEL_PYTHON=alone))  # fmt: skip

    numbas, site = system.environment("numba", *dependencies(), *TOOLS)
    build = [numbas, "-m", "build", "--no-isolation", "--outdir", again, wheel.name_option("aarch64"), tree]
    tests.step("the same wheel, built in the emulated system", build, env=common | {"FASTBP_BUILD": "native"},
               stdout=subprocess.DEVNULL)  # fmt: skip
    if not any(path.read_bytes() == built.read_bytes() for path in again.glob("*.whl")):
        tests.failed.append("the two builds have other bytes")

    pytest = ["-m", "pytest", "-n", "2", *arguments]
    tests.step("tests with Numba's kernels", [numbas, *pytest, *NUMBAS], cwd=tree, env=common)
    with zipfile.ZipFile(built) as archive:
        Path(tree, "kernels", Path(EXTENSION).name).write_bytes(archive.read(EXTENSION))
    native, own = system.environment("native", "--no-deps", built)
    (own / "libraries.pth").write_text(f"{site}\n{tree}\n")
    common |= {"FASTBP_REQUIRE_KERNELS": "native", "FASTBP_KERNELS": "native"}
    pytest = [native, "-P", *pytest, "-o", "pythonpath="]
    for title, selected in [("tests of the kernels", KERNELS), ("tests of the API", API)]:
        tests.step(title, [*pytest, *selected], cwd=tree, env=common)
    print(f"\nfailed: {', '.join(tests.failed) or 'nothing'}")
    return len(tests.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
