"""Other instruction sets than this machine's: recognised, and computed with."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from fastbp.kernels.simd.isa import Isa, isa
from fastbp.kernels.simd.microkernel import LOW_ROWS

SCRIPT = Path(__file__).with_name("other_cpu.py")
ROOT = Path(__file__).parents[2]
NATIVE = os.environ.get("FASTBP_REQUIRE_KERNELS") == "native"
# What NUMBA_CPU_NAME names, or the level of prebuilt kernels, and what is to be found; None is this machine
EXPECTED = {
    "x86-64": Isa("sse", 16, 16, fma=False),
    "x86-64-v3" if NATIVE else "haswell": Isa("avx2", 32, 16, fma=True),
    None: isa(),
}

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="names x86 CPUs")


def can_run(expected):
    """Whether this machine runs code for that instruction set: 16 bytes is what every x86-64 has."""
    return expected.vector_bytes <= max(16, isa().vector_bytes)


def computes(cpu):
    """Whether a test computes. Other levels' code is that of the wheel: the same, and nothing waits for a compiler."""
    return can_run(EXPECTED[cpu]) and (NATIVE or cpu is None)


@pytest.mark.parametrize("cpu", EXPECTED, ids=lambda cpu: cpu or "this machine")
def test_each_instruction_set_is_recognised_and_computes_right(cpu, tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if cpu:
        choice = {"FASTBP_KERNELS": f"native:{cpu}"} if NATIVE else {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
        environment |= {**choice, "NUMBA_CACHE_DIR": str(tmp_path)}
    compute = ["--compute"] if computes(cpu) else []
    done = subprocess.run([sys.executable, str(SCRIPT), *compute], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr}"  # -11: touched memory past an array
    report = json.loads(done.stdout.splitlines()[-1])
    assert Isa(**report["isa"]) == EXPECTED[cpu]
    if compute:
        # the share of (K + 2) * 2**-24 * (|A||B|)
        assert report["products"] <= 1
        # 16 units of max(1, |z|) is what test_activations allows; without FMA an operation is rounded twice
        assert max(report["activations"]) <= 32
        # 2**-24 of numbers up to 1, some 40 roundings each in three layers forward and back; eps = 0.01 keeps Adam,
        # whose step is 0.01, from magnifying them
        assert report["training"] <= 100 * 2.0**-24
        # outputs up to 3 in size, after some 80 roundings each; differences are right to 1e-8, counted as 1e-16
        assert report["kinds"][0] <= 100 * 2.0**-24
        assert report["kinds"][1] <= 100 * 2.0**-53


@pytest.mark.parametrize("each", EXPECTED.values(), ids=lambda each: each.name)
def test_the_tile_fits_the_register_file(each):
    rows, vectors = each.tile
    assert rows * vectors + vectors + 1 <= each.registers
    assert rows * vectors >= 8


@pytest.fixture(scope="module")
def arm():
    script = Path(__file__).with_name("neon_code.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_arm_computes_between_the_two_control_words(arm):
    assert arm["guarded_store"] == ["mrs", "msr", "ldr", "fmul", "str", "msr"]


def test_arm_gets_full_tiles_of_fmla_without_spills(arm):
    rows, vectors = arm["tile"]
    assert {rows * vectors, LOW_ROWS * vectors} <= {loop["fmla"] for loop in arm["loops"]}
    assert all(loop["stack"] == 0 for loop in arm["loops"])
