"""The one parallel region: every piece is computed once, with the arguments that were given."""

import numba
import numpy as np
import pytest
from numba import types

from fastbp.kernels.compile.pointers import at
from fastbp.kernels.compile.region import shared


def _types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, types.CPointer(types.float64), i, dtype, types.float64, i, i)


@shared(_types)
def note(out, counts, width, number, wide, pieces, piece):
    """Write what came to row `piece` of `out`."""
    row = at(out, piece * width)
    numba.carray(row, width)[0] += number
    numba.carray(row, width)[1] += wide
    numba.carray(row, width)[2] += pieces
    numba.carray(counts, pieces)[piece] += 1


@numba.njit
def note_all(out, counts, number, wide, pieces, tasks):
    note(at(out, 0), at(counts, 0), out.shape[1], number, wide, pieces, tasks)


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("pieces", [0, 1, 2, 3, 17])
def test_each_piece_is_computed_once(tasks, pieces, dtype):
    out, counts = np.zeros((20, 3), dtype), np.zeros(20)
    note_all(out, counts, dtype(0.5), 0.25, pieces, tasks)
    expected = np.zeros((20, 3))
    expected[:pieces] = 0.5, 0.25, pieces
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(counts, np.arange(20) < pieces)
