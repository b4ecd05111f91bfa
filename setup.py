"""What setuptools is told beside pyproject.toml: the prebuilt kernels, where there are some, and the dependencies.

``native/backend.py`` compiles and links; FASTBP_EXTENSION is the file that it has made. A wheel with it runs without
Numba; every other build depends on Numba.
"""

import os
import shutil
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PYPROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
BASE = PYPROJECT["dependency-groups"]["base"]
NUMBA = PYPROJECT["project"]["optional-dependencies"]["jit"]
LINKED = os.environ.get("FASTBP_EXTENSION")


class Copy(build_ext):
    """Puts the linked extension into its place."""

    def build_extension(self, ext):
        """Copy it."""
        shutil.copyfile(LINKED, self.get_ext_fullpath(ext.name))


if LINKED:
    setup(
        install_requires=BASE,
        ext_modules=[Extension("fastbp.kernels._native", sources=[], py_limited_api=True)],
        cmdclass={"build_ext": Copy},
        options={"bdist_wheel": {"py_limited_api": "cp311"}},
    )
else:
    setup(install_requires=[*BASE, *NUMBA])
