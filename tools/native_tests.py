"""Run a module with the kernels of an installed wheel: pytest for ``make test-native``, torture for ``torture-native``.

Takes the module and its arguments.

The wheel is built and installed into an environment of its own, which sees the libraries installed here but no fastbp
other than its own. Tests run in a copy of the tree that has the same extension: a process that a test starts there may
import fastbp from the current folder.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

from wheel import ROOT, THIS, published

FOLDER = ROOT / ".venv-native"
EXTENSION = "fastbp/kernels/_native.abi3.so"
ALONE = ["tests/project/test_packaging.py", "tests/project/test_prebuilt_wheel.py"]  # they build from the repository


def copy_tree(target):
    """Copy the files that belong to the project."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


def install(wheel, tree):
    """Make an environment with the wheel, which sees the libraries here and then the tree; return its Python."""
    venv.create(FOLDER / "venv", with_pip=False)
    paths = sysconfig.get_paths("venv", {"base": FOLDER / "venv", "platbase": FOLDER / "venv"})
    here = sysconfig.get_path("purelib")
    # A .pth file adds the folder alone: an editable fastbp installed there stays out of sight.
    Path(paths["purelib"], "libraries.pth").write_text(f"{here}\n{tree}\n")
    python = Path(paths["scripts"], "python")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--ignore-installed",
        wheel,
    ]
    subprocess.run(pip, check=True)
    return python


def main(module, *arguments):
    """Build, install, copy, run; return the exit code."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    tree = FOLDER / "tree"
    copy_tree(tree)
    wheel = published(FOLDER / "dist", THIS)
    with zipfile.ZipFile(wheel) as archive:
        (tree / "kernels" / Path(EXTENSION).name).write_bytes(archive.read(EXTENSION))
    python = install(wheel, tree)
    environment = os.environ | {
        "FASTBP_REQUIRE_KERNELS": "native", "FASTBP_KERNELS": "native", "FASTBP_WHEEL": str(wheel),
    }  # fmt: skip
    if module == "pytest":
        arguments = "-o", "pythonpath=", *(f"--ignore={path}" for path in ALONE), *arguments
    # -P: not from the current folder
    return subprocess.call([python, "-P", "-m", module, *arguments], cwd=tree, env=environment)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
