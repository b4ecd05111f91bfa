"""Build what is published, ``make wheel``: the sdist, the wheel with prebuilt kernels, and the one for other systems.

The C compiler is Zig's, which links against the glibc that manylinux_2_17 names; auditwheel confirms that. Two builds
with the same versions of the tools give the same bytes. Takes a folder: ``python tools/wheel.py dist``.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GLIBC = (2, 17)
PLATFORM = "manylinux_{}_{}_x86_64".format(*GLIBC)
COMPILER = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu.{}.{}".format(*GLIBC)]


def build(folder, kind, *options, tree=ROOT):
    """Build the sdist, and of it a wheel, ``native`` or ``pure``; return the wheel."""
    environment = os.environ | {"FASTBP_BUILD": kind, "CC": shlex.join(COMPILER)}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, *options, tree]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    return Path(folder, re.search(r"^Successfully built .* (\S+\.whl)$", done.stdout, re.MULTILINE)[1])


def confirm(wheel):
    """End with an error where a wheel needs a later glibc than its name says."""
    auditwheel = Path(sysconfig.get_path("scripts"), "auditwheel")
    done = subprocess.run([auditwheel, "show", "--json", wheel], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    tag = json.loads(done.stdout)["overall_tag"]
    found = re.fullmatch(r"manylinux_(\d+)_(\d+)_x86_64", tag)
    if not found or tuple(map(int, found.groups())) > GLIBC:
        sys.exit(f"{wheel.name} is {tag}: {done.stdout}")


def native_wheel(folder):
    """Build the wheel with prebuilt kernels into a folder, and confirm its name; return it."""
    wheel = build(folder, "native", f"--config-setting=--build-option=--plat-name={PLATFORM}")
    confirm(wheel)
    return wheel


def main(folder):
    """Build everything into a folder, and say how large it is."""
    build(folder, "pure")
    native_wheel(folder)
    for path in sorted(Path(folder).iterdir()):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
