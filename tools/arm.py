"""A 64-bit ARM system that qemu-user runs here, process by process: Debian's Python, and wheels from PyPI.

All of it lies in one folder. Nothing is installed on this machine, and no right beyond that folder is needed: apt keeps
its lists there too. A program of an environment is started by a script of the machine's own shell, which is
``sys.executable`` inside, so its children are emulated as well. What else it starts, such as a compiler, is the
machine's own.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

# What is unpacked with all that it needs: Python, Python.h, Numba's OpenMP, and LLVM's C++
PACKAGES = ["python3", "libpython3-dev", "libgomp1", "libstdc++6"]
WHEELS = [f"manylinux_2_{minor}_aarch64" for minor in (17, 27, 28)]
QEMU = "usr/bin/qemu-aarch64-static"


class System:
    """The system in a folder, made if it is not there."""

    def __init__(self, folder):
        self.folder, self.root = folder, folder / "root"
        self.emulated = [folder / "host" / QEMU, "-L", self.root]
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            self._unpack()
            (folder / "complete").touch()
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        self.version = said([*self.emulated, self.root / "usr/bin/python3", "-c", code])

    def _unpack(self):
        """Download packages of Debian with lists of our own, and unpack them."""
        missing = [program for program in ("apt-get", "dpkg", "dpkg-deb") if not shutil.which(program)]
        if missing:
            sys.exit(f"an ARM system is made of Debian's packages, and this machine has no {', no '.join(missing)}")
        here, state = said(["dpkg", "--print-architecture"]), self.folder / "apt"
        for each in ("lists/partial", "archives/partial"):
            (state / each).mkdir(parents=True)
        (state / "status").touch()  # nothing is installed yet
        settings = {
            "Dir::State": state, "Dir::State::status": state / "status", "Dir::Cache": state, "Debug::NoLocking": 1,
            "APT::Architecture": "arm64", "APT::Install-Recommends": 0, "APT::Sandbox::User": "root",
        }  # fmt: skip
        options = [f"-o{name}={value}" for name, value in settings.items()]
        options += [f"-oAPT::Architectures::={each}" for each in ("arm64", here)]
        said(["apt-get", *options, "update"])
        wanted = [*PACKAGES, f"qemu-user-static:{here}"]
        said(["apt-get", *options, "--yes", "--download-only", "install", *wanted])
        (self.folder / "host").mkdir()
        for package in sorted((state / "archives").glob("*.deb")):
            if package.name.startswith("qemu-user-static"):
                one = 'dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" "./$2"'  # of half a gigabyte
                said(["sh", "-c", one, package, self.folder / "host", QEMU])
            else:
                said(["dpkg-deb", "-x", package, self.root])
        shutil.rmtree(state)

    def environment(self, name, *requirements):
        """Make an environment with wheels for ARM alone, pip's arguments; return its Python and its site-packages."""
        folder = self.folder / name
        python, site = folder / "bin" / "python", folder / "lib" / f"python{self.version}" / "site-packages"
        shutil.rmtree(folder, ignore_errors=True)
        python.parent.mkdir(parents=True)
        choice = [f"--platform={each}" for each in WHEELS] + [f"--python-version={self.version}", "--only-binary=:all:"]
        said([sys.executable, "-m", "pip", "install", "--quiet", *choice, "--target", site, *requirements])
        (folder / "pyvenv.cfg").write_text(f"home = {self.root}/usr/bin\n")
        start = shlex.join(map(str, self.emulated))
        scripts = {"python": f'#!/bin/sh\nexec {start} -0 "$0" {self.root}/usr/bin/python3 "$@"\n'}
        for script in (site / "bin").glob("*"):
            scripts[script.name] = f"#!{python}\n{script.read_text().partition(chr(10))[2]}"
        for each, content in scripts.items():
            (python.parent / each).write_text(content)
            (python.parent / each).chmod(0o755)
        return python, site


def said(command):
    """Run a command; return what it prints. End with the last line that it says where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        sys.exit(f"{Path(command[0]).name} failed: {lines[-1]}")
    return done.stdout.strip()


def variables(**more):
    """Return this process's variables without those that are about its own Python or choose kernels, and some more."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "NUMBA_", "FASTBP_"))}
    return kept | {key: str(value) for key, value in more.items()}
