"""Which kernels a commit is measured with: *native*, those in its wheel, or *jit*, what Numba compiles.

asv has an environment for each, with wheels of its own, and draws the two as two lines: FASTBP_KERNELS is a parameter
of native results. Results of jit have no such parameter, and continue the line of commits that had nothing else.
"""

import os
import sysconfig
from pathlib import Path

from _asv import CONFIGURATION, VARIABLE, asv_run, configured, git, refuse
from asv import util

CHOICES = ("jit", "native")
# The C compiler of `make wheel`, from asv's environment
COMPILER = "CC='python -m ziglang cc -target x86_64-linux-gnu.2.17'"
BUILDS = {"jit": "FASTBP_BUILD=pure", "native": f"FASTBP_BUILD=native {COMPILER}"}


def configuration(folder, kernels, **changes):
    """Write a configuration that builds and measures these kernels, with some entries changed. Return its path."""
    project = util.load_json(str(CONFIGURATION), js_comments=True)
    changes["build_command"] = [f"{BUILDS[kernels]} {line}" for line in project["build_command"]]
    if kernels == "native":
        changes["matrix"] = project["matrix"] | {"env": {VARIABLE: [kernels]}}
    return configured(folder, **changes)


def of_commit(commit):
    """Return which kernels a commit is measured with; refuse a wish in FASTBP_KERNELS that cannot be had."""
    wish = os.environ.get(VARIABLE, "")
    if wish not in ("", *CHOICES):
        refuse(f"{VARIABLE} expects {' or '.join(CHOICES)} here, got {wish!r}")
    builds = sysconfig.get_platform() == "linux-x86_64" and git("ls-tree", "--name-only", commit, "native/backend.py")
    if wish == "native" and not builds:
        refuse(f"{VARIABLE}=native, and {commit[:8]} builds no native kernels here")
    return wish or ("native" if builds else "jit")


def of_both(base, head):
    """Return with which kernels two commits are compared; refuse to compare native ones with Numba's."""
    kernels = of_commit(base), of_commit(head)
    if kernels[0] != kernels[1]:
        found = " and ".join(f"{name[:8]} with {each}" for name, each in zip((base, head), kernels, strict=True))
        refuse(f"{found} kernels are not compared: {VARIABLE}=jit measures both with Numba's")
    return kernels[0]


def measure(commits, folder, *arguments, **changes):
    """Let asv measure commits, those of each kind in their environment; return 0, or 2 where rows failed."""
    groups = {}
    for commit in commits:
        groups.setdefault(of_commit(commit), []).append(commit)
    codes = []
    for kernels, group in groups.items():
        print(f"{len(group)} commits with {kernels} kernels", flush=True)
        config = configuration(folder, kernels, **changes)
        listed = Path(folder, "commits")
        listed.write_text("\n".join(group))
        codes.append(asv_run(*arguments, f"HASHFILE:{listed}", config=config))
    return max(codes)
