"""Builds: the same sources give the same archives, wherever and under whatever settings they are built."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from tools.wheel import build

from .frame import ROOT, Result

SECONDS = 1200
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs")


def builds(times, kind="native"):
    """Build the sdist and a wheel; then again, from copies of the tree in other folders and with another umask."""
    result = Result(f"sdist and {kind} wheel, built again elsewhere, to the same bytes")
    with tempfile.TemporaryDirectory() as folder:
        first = result.call("the first build", SECONDS, digests, f"{folder}/first", kind, 0o022)
        for i in range(times if first else 0):
            again = result.call(f"build {i}", SECONDS, digests, f"{folder}/{'again' * (i + 1)}", kind, 0o077)
            different = [name for name in first if again and again.get(name) != first[name]]
            result.expect(not different, f"build {i}: other bytes in {', '.join(different)}")
    return result


def digests(folder, kind, umask):
    """Build a copy of the tree; return the name and a digest of all that was made."""
    os.umask(umask)
    tree = shutil.copytree(ROOT, Path(folder, "tree"), symlinks=True, ignore=LEFT_OUT)
    wheel = build(Path(folder, "dist"), kind, tree=tree)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(wheel.parent.iterdir())}
