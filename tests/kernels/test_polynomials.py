"""The constants in elementary.py are what tools/fit_polynomials.py computes."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from fastbp.kernels.simd import elementary

TOOL = Path(__file__).parents[2] / "tools" / "fit_polynomials.py"


@pytest.fixture(scope="module")
def fits(library):
    """Map the name of each fit to its coefficients and its largest error."""
    mp = library("mpmath")
    spec = importlib.util.spec_from_file_location("fit_polynomials", TOOL)
    tool = importlib.util.module_from_spec(spec)
    with mp.workdps(60):
        spec.loader.exec_module(tool)
        return {name: (tuple(rising), float(error)) for name, rising, error in tool.coefficients()}


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", ["EXP", "LOG", "TAIL", "COS", "SIN"])
def test_refit_gives_the_constants(fits, name, bits):
    rising, _ = fits[f"{name} float{bits}"]
    assert getattr(elementary, name)[bits] == rising


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", ["EXP", "LOG", "TAIL", "COS", "SIN"])
def test_error_of_the_fit_is_below_the_rounding(fits, name, bits):
    _, error = fits[f"{name} float{bits}"]
    # The error is a share of the result. A float32 coefficient of the tail can itself be off by half a unit.
    half_ulp = np.finfo(f"f{bits // 8}").eps / 2
    assert error < half_ulp / 3


@pytest.mark.parametrize("bits", [32, 64])
def test_two_part_ln2_multiplies_exactly(bits):
    high, low = elementary.LN2[bits]
    real = np.dtype(f"f{bits // 8}").type
    assert real(high) == high
    assert high + low == math.log(2)
    exponents = np.arange(-1100 if bits == 64 else -160, 1100 if bits == 64 else 160)
    wide = np.longdouble
    np.testing.assert_array_equal(
        (exponents.astype(real) * real(high)).astype(wide), exponents.astype(wide) * wide(high)
    )
