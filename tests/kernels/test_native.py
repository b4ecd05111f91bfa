"""The prebuilt kernels against what Numba compiles here, and their doors."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbp.kernels import entries
from fastbp.kernels.compile.prebuilt import prebuilt
from fastbp.kernels.ops.fill import all_codes

pytestmark = pytest.mark.native


def test_they_train_to_the_bits_of_those_that_numba_compiles_for_this_machine():
    script, found = Path(__file__).with_name("many_networks.py"), []
    for choice in ("native", "jit"):
        environment = os.environ | {"FASTBP_KERNELS": choice}
        run = [sys.executable, str(script)]
        found.append(subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout)
    assert found[0].count("\n") == 100
    assert found[0] == found[1]


def test_every_entry_and_every_function_of_the_tables_is_there():
    library = prebuilt().extension
    assert all(library.entry(name) is not None for names in entries.COMPILED.values() for name in names)
    assert all(library.address(f"{c.module}.{c.name}.{dtype}") for c in all_codes() for dtype in ("float32", "float64"))
    assert library.entry("nothing") is None
    assert library.address("fastbp.kernels.nothing.float32") == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (np.zeros(3), 2, 0),
        (np.zeros(3, np.int32), 2, 0),
        (np.zeros((3, 1), np.int64), 2, 0),
        (np.zeros(6, np.int64)[::2], 2, 0),
        (np.zeros(3, ">i8"), 2, 0),
        ([0, 1], 2, 0),
        (np.zeros(3, np.int64), 2.5, 0),
        (np.zeros(3, np.int64), 2**64, 0),
        (np.zeros(3, np.int64), None, 0),
    ],
)
def test_a_door_refuses_what_its_entry_does_not_take(arguments):
    with pytest.raises((TypeError, ValueError, BufferError, OverflowError)):
        entries.first_wrong_label(*arguments)


def test_a_door_refuses_an_array_that_may_not_be_written_to():
    target = np.zeros(3)
    target.flags.writeable = False
    with pytest.raises((ValueError, BufferError), match="read-only"):
        entries.copy(np.ones(3), target, 1)
    assert not target.any()


def test_a_door_refuses_two_types_of_elements_in_one_call():
    with pytest.raises(TypeError, match="one type of floats"):
        entries.copy(np.zeros(3, np.float32), np.zeros(3), 1)
