"""The levels that are built, and those that the kernels know."""

import importlib.util
from pathlib import Path

import pytest

from fastbp.kernels.simd.isa import LEVELS

OBJECTS = Path(__file__).parents[2] / "native" / "objects.py"


@pytest.fixture(scope="module")
def objects():
    spec = importlib.util.spec_from_file_location("objects", OBJECTS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_level_that_is_built_is_one_that_the_kernels_know(objects):
    assert objects.LEVELS.keys() == LEVELS.keys()


def test_levels_are_of_the_platforms_that_python_and_llvm_name(objects):
    found = {level.platform: level.triple for level in objects.LEVELS.values()}
    assert found == {"linux-x86_64": "x86_64-unknown-linux-gnu", "linux-aarch64": "aarch64-unknown-linux-gnu"}
