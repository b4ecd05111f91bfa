"""The limits compute what they say: a loop that computes nothing would be a very high peak."""

import numpy as np
import pytest

from fastbp.kernels import entries, limits, reference
from fastbp.kernels.simd.isa import isa


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("repeats", [0, 1, 7, 30])
def test_chains_are_those_of_the_twin(dtype, tasks, repeats):
    width = limits.CHAINS * isa().lanes(np.dtype(dtype).itemsize)
    a = np.random.default_rng(0).uniform(-1, 1, (tasks, width)).astype(dtype)
    exact = a.astype(float)
    entries.fma_peak(a, dtype(0.5), dtype(1.0), repeats, tasks)
    reference.fma_peak(exact, 0.5, 1.0, repeats, tasks)
    # Each link rounds a number below 2.5 at most twice, and halves the error of those before.
    assert np.abs(a - exact).max() <= 2 * 2 * 2.5 * np.finfo(dtype).eps / 2


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 7, 64, 1001])
def test_copy_copies_all_and_no_more(dtype, tasks, n):
    source = np.random.default_rng(n).standard_normal(n).astype(dtype)
    room = np.full(n + 40, np.nan, dtype)
    entries.copy(source, room[20 : 20 + n], tasks)
    expected = np.full(n + 40, np.nan, dtype)
    reference.copy(source, expected[20 : 20 + n], tasks)
    np.testing.assert_array_equal(room, expected)
