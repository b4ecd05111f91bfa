"""A matrix's methods are NumPy's slices, whichever way it stands in memory; a finish moves with its part of C."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastbp.kernels.compile.functions import entry
from fastbp.kernels.compile.pointers import address_of, at, doubles_at
from fastbp.kernels.linalg.matrix import Finish, Matrix


@entry
def parts_of_matrix(x, ld, rows, cols, turned, i0, i1, j0, j1, flip, found):
    """Write where each part begins, in elements, and its ld, rows, cols, turned; `flip` takes the transpose first."""
    m = Matrix(at(x, 0), ld, rows, cols, turned)
    if flip:
        m = m.transposed()
    for k in range(4):
        part = m
        if k == 1:
            part = m.part(i0, i1, j0, j1)
        elif k == 2:
            part = m.rows_of(i0, i1)
        elif k == 3:
            part = m.cols_of(j0, j1)
        found[k, 0] = (address_of(part.data) - address_of(at(x, 0))) // x.itemsize
        found[k, 1], found[k, 2], found[k, 3], found[k, 4] = part.ld, part.rows, part.cols, part.turned
    found[4, 0] = (address_of(m.element(i0, j0)) - address_of(at(x, 0))) // x.itemsize


@entry
def moved(x, c, j, found):
    f = Finish(5, at(x, 1), 7, at(x, 2), at(x, 3), doubles_at(8), 9).moved(c, j)
    for k, pointer in enumerate((f.bias, f.below, f.beside)):
        found[k] = (address_of(pointer) - address_of(at(x, 0))) // x.itemsize
    found[3], found[4], found[5], found[6] = f.mode, f.after, f.n, address_of(f.numbers)


def view(flat, start, ld, rows, cols, turned):
    """Return the matrix that such a record is, in NumPy."""
    strides = (flat.itemsize, ld * flat.itemsize) if turned else (ld * flat.itemsize, flat.itemsize)
    return np.lib.stride_tricks.as_strided(flat[start:], (rows, cols), strides)


lengths = st.integers(1, 9)


@given(st.data(), lengths, lengths, st.integers(0, 3), st.booleans(), st.booleans())
def test_parts_of_a_matrix_are_numpys_slices(data, rows, cols, apart, turned, flip):
    ld = (rows if turned else cols) + apart
    flat = np.arange(ld * (cols if turned else rows) + 9, dtype=np.float32)
    exact = view(flat, 0, ld, rows, cols, turned)
    exact = exact.T if flip else exact
    (i0, i1), (j0, j1) = (
        sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n)))) for n in exact.shape
    )  # fmt: skip
    found = np.zeros((5, 5), np.int64)
    parts_of_matrix(flat, ld, rows, cols, int(turned), i0, i1, j0, j1, flip, found)
    for row, part in zip(found, (exact, exact[i0:i1, j0:j1], exact[i0:i1], exact[:, j0:j1]), strict=False):
        np.testing.assert_array_equal(view(flat, *row), part)
    assert flat[found[4, 0]] == exact[i0, j0]


@given(st.integers(0, 99), st.integers(0, 99))
def test_a_finish_moves_with_its_part(c, j):
    found = np.zeros(7, np.int64)
    moved(np.zeros(1), c, j, found)
    assert found.tolist() == [1 + j, 2 + c, 3 + c, 5, 7, 9, 8]
