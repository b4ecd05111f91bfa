"""Copies of the tree, builds of them, and environments to install into."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def run(*command, cwd, **environment):
    """Run a command with variables of its own, and return what it prints; it must not fail."""
    done = attempt(*command, cwd=cwd, **environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def attempt(*command, cwd, **environment):
    """Run a command that may fail. Builds take no time for kernels unless FASTBP_BUILD says so."""
    environment = os.environ | {"FASTBP_BUILD": "pure"} | {key: str(value) for key, value in environment.items()}
    command = [str(part) for part in command]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def copy_tree(folder):
    """Copy the files that belong to the project: known to git, or new and not ignored."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository: git knows which files belong to it")
    listed = run("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.exists():  # a deleted file is listed until its removal is committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name, follow_symlinks=False)
    return folder


def build(tree, dist, **environment):
    """Build the sdist, and of it the wheel, with the setuptools at hand; return their folder."""
    run(sys.executable, "-m", "build", "--no-isolation", "-o", dist, tree, cwd=tree, **environment)
    return dist


def new_environment(folder):
    """Make an environment that sees the dependencies installed here; return its Python."""
    venv.create(folder, with_pip=False)
    paths = sysconfig.get_paths("venv", {"base": folder, "platbase": folder})
    here = sysconfig.get_paths()
    # A .pth file adds the folder alone: an editable fastbp installed there stays out of sight.
    Path(paths["purelib"], "dependencies.pth").write_text(f"{here['purelib']}\n{here['platlib']}\n")
    return Path(paths["scripts"], "python")


def install(python, *what, cwd, **environment):
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
        "--no-build-isolation", "--ignore-installed", *what, cwd=cwd, **environment)  # fmt: skip
