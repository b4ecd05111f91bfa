"""The build backend (PEP 517, PEP 660): setuptools, and for wheels the kernels compiled ahead, where that works.

FASTBP_BUILD chooses: ``auto``, the default, makes a wheel without them where they cannot be compiled, and says why;
``native`` makes that an error; ``pure`` does not try. Editable installs have none: their sources change.

There is no ``prepare_metadata_for_build_wheel``: what a wheel depends on is known when it is built, see setup.py.
"""

import gzip
import io
import os
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

import extension
from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401  # hooks
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
)

# Two builds give the same bytes: all in the archives has this date, by default the first that zip files know, and these
# permissions.
DATE = int(os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800"))
os.umask(0o022)
CHOICES = ("auto", "native", "pure")


def choice():
    """Return what FASTBP_BUILD asks for."""
    asked = os.environ.get("FASTBP_BUILD") or "auto"
    if asked not in CHOICES:
        sys.exit(f"FASTBP_BUILD expects {', '.join(CHOICES)}, got {asked!r}")
    return asked


def get_requires_for_build_wheel(config_settings=None):
    """Return Numba where it will be used, else nothing."""
    if choice() == "pure":
        return []
    try:
        extension.check()
    except Exception:  # build_wheel says why
        return []
    return tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]["jit"]


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Build a wheel with prebuilt kernels, or one that depends on Numba."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "_native.abi3.so")
        os.environ["FASTBP_EXTENSION"] = str(target) if built(target) else ""
        return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def built(target):
    """Build the extension where it is wanted; return whether there is one."""
    asked = choice()
    if asked == "pure":
        return False
    try:
        extension.build(target)
    except Exception as error:
        if asked == "native":
            sys.exit("\n".join([f"fastbp: no prebuilt kernels: {error}", *getattr(error, "__notes__", ())]))
        print(f"fastbp: no prebuilt kernels, Numba will compile them: {error}", file=sys.stderr)
        return False
    return True


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Install this folder, without prebuilt kernels."""
    if choice() == "native":
        sys.exit("FASTBP_BUILD=native: an editable install has no prebuilt kernels")
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory, config_settings=None):
    """Build the sdist, and pack it again: members by name, with one date and no owner."""
    name = build_meta.build_sdist(sdist_directory, config_settings)
    path = Path(sdist_directory, name)
    with tarfile.open(path) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        contents = [archive.extractfile(member).read() if member.isfile() else b"" for member in members]
    with gzip.GzipFile(path, "wb", mtime=DATE) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for member, content in zip(members, contents, strict=True):
            member.mtime, member.pax_headers = DATE, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            archive.addfile(member, io.BytesIO(content))
    return name
