"""Products: error bound, bits and guards for every small shape, and for large odd ones."""

from types import SimpleNamespace

import numba
import numpy as np
import pytest

from fastbp.kernels.activations import IDENTITY
from fastbp.kernels.compile.pointers import at, doubles_at
from fastbp.kernels.linalg.matrix import Finish, Matrix
from fastbp.kernels.linalg.product import K_BLOCK, PACK_ROWS, product
from fastbp.kernels.ops.by_hand import dense_backward, dense_forward
from fastbp.kernels.simd.isa import isa
from fastbp.kernels.simd.machine import panels
from fastbp.kernels.simd.microkernel import TILE_ROWS, TILE_VECTORS

WIDER = {np.float32: np.float64, np.float64: np.longdouble}
GUARD = -7.0

# Each product by how its factors stand in memory: Z = X @ W, dX = dZ @ W.T, dW = X.T @ dZ.
KINDS = {"X @ W": (False, False), "dZ @ W.T": (False, True), "X.T @ dZ": (True, False)}


def unit(dtype):
    return np.finfo(dtype).eps / 2


def tile_cols(dtype):
    return TILE_VECTORS * isa().lanes(dtype().itemsize)


def sizes(dtype):
    """Every length up to 40, and one around each side of the micro-kernel's tile."""
    around = {t + d for t in (TILE_ROWS, tile_cols(dtype)) for d in (-1, 0, 1)}
    return np.array(sorted(set(range(41)) | around))


def factors(rows, cols, depth, kind, dtype, seed=0):
    """Return A, B, and the arrays that hold them: C-contiguous, transposed as the kind says."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rows, depth)).astype(dtype)
    b = rng.standard_normal((depth, cols)).astype(dtype)
    a_turned, b_turned = KINDS[kind]
    return a, b, np.ascontiguousarray(a.T if a_turned else a), np.ascontiguousarray(b.T if b_turned else b)


@numba.njit
def multiply(a, a_turned, b, b_turned, c, first, rows, cols, depth):
    """C = A @ B for `rows` rows from row `first` of A, `cols` columns and `depth` terms; C begins at its row 0."""
    whole = Matrix(at(a, 0), a.shape[1], first + rows, depth, a_turned)
    product(
        whole.rows_of(first, first + rows), Matrix(at(b, 0), b.shape[1], depth, cols, b_turned),
        Matrix(at(c, 0), c.shape[1], rows, cols, 0), Finish(0, at(c, 0), 0, at(c, 0), at(c, 0), doubles_at(0), 0),
    )  # fmt: skip


@numba.njit
def sweep(a, a_turned, b, b_turned, row_sizes, col_sizes, depths, high, low, bound, c, alone):
    """Compute every product; count them, and the elements past the bound, with other bits than the same row alone, and
    written outside the block.

    high + low : the exact products for each of `depths`; bound : the largest allowed errors
    c, alone : with a row and a column more than the largest product
    """
    products = inexact = moved = outside = 0
    for d in range(depths.size):
        most = row_sizes[-1]
        alone[:] = GUARD
        for i in range(most):
            multiply(a, a_turned, b, b_turned, alone[i:], i, 1, col_sizes[-1], depths[d])
        for rows in row_sizes:
            for cols in col_sizes:
                c[:] = GUARD
                multiply(a, a_turned, b, b_turned, c, 0, rows, cols, depths[d])
                products += 1
                for i in range(c.shape[0]):
                    for j in range(c.shape[1]):
                        if i < rows and j < cols:
                            gap = abs((np.float64(c[i, j]) - high[d, i, j]) - low[d, i, j])
                            inexact += not gap <= bound[d, i, j]
                            moved += c[i, j] != alone[i, j]
                        else:
                            outside += c[i, j] != GUARD
    return products, inexact, moved, outside


def run_sweep(kind, dtype, row_sizes):
    depths = cols = sizes(dtype)
    a, b, stored_a, stored_b = factors(row_sizes[-1], cols[-1], depths[-1], kind, dtype)
    wide = WIDER[dtype]
    terms = a.T[:, :, None].astype(wide) * b[:, None, :]

    def sums(terms):  # over the first k terms, for every k
        return np.concatenate([np.zeros_like(terms[:1]), np.cumsum(terms, axis=0)])[depths]

    exact = sums(terms)
    high = exact.astype(np.float64)
    low = (exact - high).astype(np.float64)
    bound = (depths[:, None, None] + 2) * unit(dtype) * sums(np.abs(terms)).astype(np.float64)
    c, alone = np.empty((2, row_sizes[-1] + 1, cols[-1] + 1), dtype)
    a_turned, b_turned = map(int, KINDS[kind])
    products, *wrong = sweep(
        stored_a, a_turned, stored_b, b_turned, row_sizes, cols, depths, high, low, bound, c, alone
    )
    assert products == row_sizes.size * cols.size * depths.size
    return dict(zip(["past the bound", "other bits than the row alone", "outside"], wrong, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_every_small_product_is_within_the_bound_and_its_block(kind, dtype):
    assert set(run_sweep(kind, dtype, sizes(dtype)).values()) == {0}


@pytest.mark.parametrize("kind", ["X @ W", "X.T @ dZ"])
def test_every_small_packed_product_is_within_the_bound_and_its_block(kind, dtype):
    # dZ @ W.T packs always; the others from PACK_ROWS on, unlike the single rows that they are compared with
    rows = PACK_ROWS + np.arange(TILE_ROWS)
    assert set(run_sweep(kind, dtype, rows).values()) == {0}


# Odd, and on both sides of what a block of k, a group of panels and packing hold
COLS = panels() * tile_cols(np.float32)
LARGE = [
    (1, 1000, 999),
    (997, 1, 513),
    (67, COLS + 1, K_BLOCK + 1),
    (129, 2 * COLS - 1, K_BLOCK - 1),
    (63, 769, K_BLOCK),
    (64, 97, 3 * K_BLOCK + 1),
    (513, 49, 300),
    (300, 1000, 33),
    (7, COLS, 2 * K_BLOCK + 511),
    (200, 201, 203),
    (1001, 10, 17),
    (31, 33, 3000),
]


def guarded(rows, cols, dtype):
    """Return a C-contiguous block, and a function that tells whether what stands around it is untouched."""
    around = 64
    flat = np.full(rows * cols + 2 * around, GUARD, dtype)
    flat[around:-around] = np.nan
    return flat[around:-around].reshape(rows, cols), lambda: bool(
        (flat[:around] == GUARD).all() and (flat[-around:] == GUARD).all()
    )


def layer(x, w, dz, tasks):
    """Return Z, dX, dW and db of a dense layer, after looking at the guards around them."""
    batch, ins = x.shape
    outs = w.shape[1]
    z, z_whole = guarded(batch, outs, x.dtype)
    dx, dx_whole = guarded(batch, ins, x.dtype)
    dw, dw_whole = guarded(ins, outs, x.dtype)
    db, db_whole = guarded(1, outs, x.dtype)
    partials = np.full(16 * (ins + 1) * outs, np.nan, x.dtype)
    none = np.zeros(0, x.dtype)
    dense_forward(x, w, none, IDENTITY, False, tasks, z, z)
    dense_backward(x, w, dz, IDENTITY, x, x, True, partials, tasks, dx, dw, db[0])
    assert z_whole()
    assert dx_whole()
    assert dw_whole()
    assert db_whole()
    return SimpleNamespace(z=z, dx=dx, dw=dw, db=db[0])


def random_layer(batch, outs, ins, dtype):
    rng = np.random.default_rng(batch)
    shapes = (batch, ins), (ins, outs), (batch, outs)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize(("batch", "outs", "ins"), LARGE)
def test_large_products_are_within_the_bound(batch, outs, ins, dtype):
    x, w, dz = random_layer(batch, outs, ins, dtype)
    found = layer(x, w, dz, tasks=1)
    for c, a, b in [(found.z, x, w), (found.dx, dz, w.T), (found.dw, x.T, dz)]:
        # longdouble has no fast product: some rows of it stand for all
        some = slice(None, None, 1 if dtype is np.float32 else max(1, a.size * b.shape[1] // 10**6))
        wide = a[some].astype(WIDER[dtype]), b.astype(WIDER[dtype])
        bound = (a.shape[1] + 2) * unit(dtype) * (np.abs(wide[0]) @ np.abs(wide[1]))
        assert (np.abs(c[some] - wide[0] @ wide[1]) <= bound).all()


@pytest.mark.parametrize(("batch", "outs", "ins"), LARGE)
def test_bits_do_not_depend_on_tasks(batch, outs, ins, dtype):
    x, w, dz = random_layer(batch, outs, ins, dtype)
    alone = layer(x, w, dz, tasks=1)
    for tasks in (2, 3, 7, 16):
        cut = layer(x, w, dz, tasks)
        for name, value in vars(alone).items():
            assert value.tobytes() == getattr(cut, name).tobytes(), (name, tasks)


@pytest.mark.parametrize(("batch", "outs", "ins"), LARGE)
def test_row_result_does_not_depend_on_its_batch(batch, outs, ins, dtype):
    x, w, dz = random_layer(batch, outs, ins, dtype)
    together = layer(x, w, dz, tasks=2)
    for i in range(0, batch, max(1, batch // 9)):
        alone = layer(x[i : i + 1], w, dz[i : i + 1], tasks=1)
        assert alone.z.tobytes() == together.z[i].tobytes()
        assert alone.dx.tobytes() == together.dx[i].tobytes()


def test_more_tasks_than_rows_and_columns(dtype):
    x, w, dz = random_layer(2, 3, 1, dtype)
    few, many = layer(x, w, dz, 1), layer(x, w, dz, 64)
    assert few.z.tobytes() == many.z.tobytes()
    assert few.dw.tobytes() == many.dw.tobytes()
