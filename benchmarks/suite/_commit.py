"""Is the fastbp that is installed the commit that asv will write beside the figures, with the kernels that it names?

One environment serves many commits, so a process that installs another one while this measures would give a commit the
figures of another. git names a file by a digest of what it holds, so the two are compared file by file.
"""

import functools
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

EXTENSION = "kernels/_native.abi3.so"  # the prebuilt kernels; they know themselves of which sources they were made


def native():
    """Tell whether prebuilt kernels are measured: asv sets this for them alone."""
    return os.environ.get("FASTBP_KERNELS") == "native"


@functools.cache
def of_the_commit(commit):
    """Return git's digest of each file of the package at a commit, by its place in the package."""
    line = ["git", "ls-tree", "-r", "-z", "--full-tree", commit, "fastbp", "kernels"]
    listed = subprocess.run(line, cwd=Path(__file__).parent, check=True, capture_output=True, text=True).stdout
    files = {}
    for entry in filter(None, listed.split("\0")):
        (mode, _, digest), name = entry.split("\t")[0].split(), entry.split("\t")[1]
        if mode != "120000":  # the symbolic link fastbp/kernels
            files[name.removeprefix("fastbp/")] = digest
    return files


def of_the_installed(package):
    """Return the same of a folder with an installed package, but for what Python and Numba compiled."""
    files = {}
    for path in Path(package).rglob("*"):
        if path.is_file() and path.parent.name != "__pycache__":
            data = path.read_bytes()
            files[path.relative_to(package).as_posix()] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return files


def differences(commit, package):
    """Return the names of the files that are not those of the commit; other files than .py need not be installed."""
    committed, installed = of_the_commit(commit), of_the_installed(package)
    code = {name for name in committed if name.endswith(".py")}
    built = installed.pop(EXTENSION, None) is not None
    different = [name for name in code | installed.keys() if installed.get(name) != committed.get(name)]
    return sorted(different + [EXTENSION] * (built != native()))


def check():
    """Raise an error where the figures would be those of another commit. In `--python=same` asv names none."""
    commit = os.environ.get("ASV_COMMIT")
    if commit is None:
        return
    package = Path(importlib.util.find_spec("fastbp").origin).parent
    if different := differences(commit, package):
        raise RuntimeError(
            f"the fastbp in {package} is not commit {commit[:8]}: {', '.join(different[:3])} "
            f"({len(different)} files) differ. Was another commit installed meanwhile? If it stays, remove .asv/env."
        )


if __name__ == "__main__":  # COMMIT PACKAGE: code 0 where they are the same
    sys.exit(bool(differences(*sys.argv[1:])))
