"""Build what is published, ``make wheel``: the sdist, the wheels with prebuilt kernels, and the one for other systems.

The C compiler is Zig's, which links for any machine, against the glibc that manylinux_2_17 names; auditwheel confirms
that. LLVM writes code for any machine too, so all is built on the one at hand. Two builds with the same versions of the
tools give the same bytes. Takes a folder: ``python tools/wheel.py dist``.
"""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GLIBC = (2, 17)
MACHINES = ("x86_64", "aarch64")
THIS = platform.machine()


def compiler(machine):
    """Return the command of the C compiler for a machine."""
    return [sys.executable, "-m", "ziglang", "cc", "-target", "{}-linux-gnu.{}.{}".format(machine, *GLIBC)]


def name_option(machine):
    """Return the option of a build that names the wheel's platform as PyPI wants it."""
    return "--config-setting=--build-option=--plat-name=manylinux_{}_{}_{}".format(*GLIBC, machine)


def build(folder, kind, *options, machine=THIS, tree=ROOT):
    """Build the sdist, and of it a wheel, ``native`` or ``pure``; return the wheel."""
    environment = os.environ | {"FASTBP_BUILD": kind, "CC": shlex.join(compiler(machine))}
    environment["_PYTHON_HOST_PLATFORM"] = f"linux-{machine}"  # what sysconfig and setuptools take it for
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, *options, tree]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    return Path(folder, re.search(r"^Successfully built .* (\S+\.whl)$", done.stdout, re.MULTILINE)[1])


def published(folder, machine):
    """Build the wheel with prebuilt kernels for a machine, whose name says which systems it is for; return it."""
    wheel = build(folder, "native", name_option(machine), machine=machine)
    confirm(wheel, machine)
    return wheel


def confirm(wheel, machine):
    """End with an error where a wheel needs a later glibc than its name says."""
    auditwheel = Path(sysconfig.get_path("scripts"), "auditwheel")
    done = subprocess.run([auditwheel, "show", "--json", wheel], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    tag = json.loads(done.stdout)["overall_tag"]
    found = re.fullmatch(rf"manylinux_(\d+)_(\d+)_{machine}", tag)
    if not found or tuple(map(int, found.groups())) > GLIBC:
        sys.exit(f"{wheel.name} is {tag}: {done.stdout}")


def main(folder):
    """Build everything into a folder, and say how large it is."""
    build(folder, "pure")
    for machine in MACHINES:
        published(folder, machine)
    for path in sorted(Path(folder).iterdir()):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
