"""Products that finish in registers, have room, or take a short way: the bits of the long way, and no other element."""

import numba
import numpy as np
import pytest

from fastbp.kernels import optimizers as updates
from fastbp.kernels import reference
from fastbp.kernels.activations import BY_CODE, CODES, FIRST_STORED_SLOPE, IDENTITY, RELU
from fastbp.kernels.activations.functions import functions_of
from fastbp.kernels.compile.pointers import at, doubles_at
from fastbp.kernels.linalg.matrix import Finish, Matrix
from fastbp.kernels.linalg.product import COLLIDING, K_BLOCK, PACK_STRIDE, ROW_BLOCK, product
from fastbp.kernels.optimizers import functions
from fastbp.kernels.simd.isa import isa
from fastbp.kernels.simd.microkernel import LOW_ROWS, ROW_VECTORS, TILE_ROWS
from fastbp.kernels.simd.modes import ACCUMULATE, B_ROOM, BIAS, RECTIFY, ROOM
from tests.kernels.calls import NO_NUMBERS, address_of, multiply, pass_over

WIDER = {np.float32: np.float64, np.float64: np.longdouble}
GUARD = -7.0
VECTOR_BYTES = isa().vector_bytes
DEPTHS = [*range(1, 41), K_BLOCK, 300, 600]


# What a product is finished with: nothing, an activation without and with its slope, the slope on the way back
PLAIN, FORWARD, FORWARD_WITH_SLOPE, BACKWARD = "plain", "forward", "forward with slope", "backward"


def finishing(kind, code, dtype):
    """Return the flags and the address of the pass that ops finish a product with."""
    if kind == PLAIN:
        return 0, 0
    functions = functions_of(BY_CODE[code], np.dtype(dtype), kind != FORWARD)
    if kind == BACKWARD:
        return functions.differentiate, 0 if functions.differentiate else functions.apply_slope
    return functions.finish, functions.activate


def lanes(dtype):
    return isa().lanes(np.dtype(dtype).itemsize)


def whole(cols, dtype):
    return -(-cols // lanes(dtype)) * lanes(dtype)


class Block:
    """A (rows, cols) block in a larger array of guards, with `apart` elements of them between its rows.

    room : whether what may be written reaches up to whole vectors
    """

    def __init__(self, rows, cols, dtype, *, room=False, apart=0, values=None):
        self.rows, self.cols, self.start = rows, cols, 64
        self.allowed = whole(cols, dtype) if room else cols
        self.ld = self.allowed + apart
        self.flat = np.full(self.start + rows * self.ld + 64, GUARD, dtype)
        self.all = self.flat[self.start : self.start + rows * self.ld].reshape(rows, self.ld)
        self.all[:, : self.allowed] = np.nan
        if values is not None:
            self.all[:, :cols] = values

    @property
    def values(self):
        return self.all[:, : self.cols]

    def around_is_whole(self):
        around = self.flat.copy()
        around[self.start : self.start + self.all.size].reshape(self.all.shape)[:, : self.allowed] = GUARD
        return bool((around == GUARD).all())


def run(
    a, b, *, bias=None, kind=PLAIN, code=IDENTITY, below=None, slope=None, room=False, apart=0, turned=False
):  # fmt: skip
    """Return C and `slope` as the epilogue left it, after a look at the guards; `turned` says that B is transposed."""
    rows, depth = a.shape
    cols = b.shape[0] if turned else b.shape[1]
    c, lower, slopes = (
        Block(rows, cols, a.dtype, room=room, apart=apart, values=values) for values in (None, below, slope)
    )
    flags = BIAS * (bias is not None) | ROOM * room
    addends = np.zeros(0, a.dtype) if bias is None else bias.copy()
    mode, after = finishing(kind, code, a.dtype)
    multiply(
        np.ravel(a), depth, 0, np.ravel(b), b.shape[1], int(turned), c.flat, c.start, c.ld, rows, cols, depth,
        flags | mode, addends, after, lower.flat, slopes.flat, NO_NUMBERS, 0,
    )  # fmt: skip
    for block in (c, lower, slopes):
        assert block.around_is_whole()
    if below is not None:
        assert lower.values.tobytes() == np.asarray(below).tobytes()  # read alone
    return c.values.copy(), slopes.values.copy()


def random(dtype, *shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


SHAPES = [
    (rows, cols, depth)
    for rows in (1, 2, LOW_ROWS, TILE_ROWS - 1, TILE_ROWS, 2 * LOW_ROWS, 2 * LOW_ROWS + 1, 30, 97)
    for cols in (1, 5, 8, 15, 16, 33, 130)
    for depth in (0, 1, 7, K_BLOCK, 300)
]
PLACES = [{}, {"apart": 3}, {"room": True}, {"room": True, "apart": 21}]


def test_bias_and_relu_in_registers_are_those_in_memory(dtype):
    for rows, cols, depth in SHAPES:
        a, b, bias = random(dtype, rows, depth), random(dtype, depth, cols), random(dtype, cols)
        plain, _ = run(a, b)
        for place in PLACES:
            assert run(a, b, **place)[0].tobytes() == plain.tobytes()
            for addend, z in ((None, plain), (bias, plain + bias)):
                assert run(a, b, bias=addend, kind=FORWARD, **place)[0].tobytes() == z.tobytes()
                relu = np.where(z < 0, dtype(0), z)
                for kind in (FORWARD, FORWARD_WITH_SLOPE):
                    found, untouched = run(a, b, bias=addend, kind=kind, code=RELU, **place)
                    assert found.tobytes() == relu.tobytes(), (rows, cols, depth, place)
                    assert np.isnan(untouched).all()


def test_the_gate_of_relu_in_registers_is_that_in_memory(dtype):
    for rows, cols, depth in SHAPES:
        dz, w = random(dtype, rows, depth), random(dtype, cols, depth)
        below = np.maximum(random(dtype, rows, cols, seed=1), 0)
        below[0, 0] = np.nan  # lets the gradient through
        plain, _ = run(dz, w, turned=True)
        gated = np.where(below <= 0, dtype(0), plain)
        for place in PLACES:
            found, _ = run(dz, w, turned=True, kind=BACKWARD, code=RELU, below=below, **place)
            assert found.tobytes() == gated.tobytes(), (rows, cols, depth, place)


def test_a_slope_multiplies_in_registers_as_in_memory(dtype):
    for rows, cols, depth in SHAPES:
        dz, w, slope = random(dtype, rows, depth), random(dtype, cols, depth), random(dtype, rows, cols, seed=1)
        plain, _ = run(dz, w, turned=True)
        for place in PLACES:
            found, _ = run(dz, w, turned=True, kind=BACKWARD, code=CODES["tanh"], slope=slope, **place)
            assert found.tobytes() == (plain * slope).tobytes(), (rows, cols, depth, place)


def test_relu_of_nan_and_infinity_is_that_of_the_twin(dtype):
    a, b = np.ones((9, 1), dtype), np.ones((1, 19), dtype)
    for value in (np.nan, np.inf, -np.inf, -0.0):
        bias = random(dtype, 19)
        bias[[0, 7, 18]] = value
        found, _ = run(0 * a, b, bias=bias, kind=FORWARD, code=RELU)
        np.testing.assert_array_equal(found, np.tile(reference.value_of(RELU, bias), (9, 1)))


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_every_epilogue_writes_as_far_as_it_may(code, dtype):
    for rows, cols, depth in [(1, 5, 3), (7, 33, 300), (30, 130, 8), (97, 17, 40)]:
        a, b, bias = random(dtype, rows, depth), random(dtype, depth, cols), random(dtype, cols)
        tight, tight_slope = run(a, b, bias=bias, kind=FORWARD_WITH_SLOPE, code=code)
        assert np.isnan(tight_slope).all() == (code < FIRST_STORED_SLOPE)
        w, below = random(dtype, cols, depth), random(dtype, rows, cols, seed=1)
        gate = tight if code < FIRST_STORED_SLOPE else below
        back, _ = run(a, w, turned=True, kind=BACKWARD, code=code, below=gate, slope=below)
        for place in PLACES[1:]:
            wide, wide_slope = run(a, b, bias=bias, kind=FORWARD_WITH_SLOPE, code=code, **place)
            assert wide.tobytes() == tight.tobytes()
            assert wide_slope.tobytes() == tight_slope.tobytes()
            wide, _ = run(a, w, turned=True, kind=BACKWARD, code=code, below=gate, slope=below, **place)
            assert wide.tobytes() == back.tobytes()


def test_room_in_b_changes_no_bit(dtype):
    for rows, cols, depth in SHAPES:
        if depth:
            a, b = random(dtype, rows, depth), random(dtype, depth, cols)
            roomy = np.full((depth, whole(cols, dtype)), np.nan, dtype)  # what stands in the room does not matter
            roomy[:, :cols] = b
            plain, _ = run(a, b)
            c = Block(rows, cols, dtype)
            multiply(
                np.ravel(a), depth, 0, np.ravel(roomy), roomy.shape[1], 0, c.flat, c.start, c.ld, rows, cols, depth,
                B_ROOM, c.flat, 0, c.flat, c.flat, NO_NUMBERS, 0,
            )  # fmt: skip
            assert c.around_is_whole()
            assert c.values.tobytes() == plain.tobytes(), (rows, cols, depth)


# Short ways: one row, few rows, columns of A far apart


@numba.njit
def sweep(a, b, col_sizes, row_sizes, bias, flags, ld_room, depth, exact, c):
    """Compute every product of the first rows of A and the first columns of B; count them, the elements with other
    bits than `exact`, and those that are written outside the block or its room.

    ld_room : rows of C are this many elements apart, or as many as it has columns where 0
    """
    products = moved = outside = 0
    width = VECTOR_BYTES // c.itemsize
    for rows in row_sizes:
        for cols in col_sizes:
            c[:] = GUARD
            ldc = ld_room if ld_room > 0 else cols
            product(
                Matrix(at(a, 0), depth, rows, depth, 0), Matrix(at(b, 0), b.shape[1], depth, cols, 0),
                Matrix(at(c, 0), ldc, rows, cols, 0),
                Finish(flags | RECTIFY, at(bias, 0), 0, at(c, 0), at(c, 0), doubles_at(0), 0),
            )  # fmt: skip
            products += 1
            allowed = (cols + width - 1) // width * width if flags & ROOM else cols
            for e in range(c.size):
                i, j = e // ldc, e % ldc
                if i < rows and j < cols:
                    moved += c[e] != exact[i, j]
                elif i >= rows or j >= allowed:
                    outside += c[e] != GUARD
    return products, moved, outside


def long_way(a, b, bias):
    """relu(A @ B + bias) by whole tiles, without a short way: more rows than one, and a multiple of the tile's."""
    rows = -(-max(len(a), 2) // TILE_ROWS) * TILE_ROWS
    more = np.zeros((rows, a.shape[1]), a.dtype)
    more[: len(a)] = a
    plain, _ = run(more, b)
    z = plain[: len(a)] + bias
    return np.where(z < 0, a.dtype.type(0), z)


def assert_within_the_bound(found, a, b, bias):
    wide = WIDER[a.dtype.type]
    a, b, unit = a.astype(wide), b.astype(wide), np.finfo(a.dtype).eps / 2
    exact = np.maximum(a @ b + bias, 0)
    # each of K terms is rounded once, and the sum with the bias
    bound = (a.shape[1] + 2) * unit * (np.abs(a) @ np.abs(b) + np.abs(bias))
    assert (np.abs(found - exact) <= bound).all()


def check_short_ways(rows, cols, depth, dtype):
    a, b, bias = random(dtype, rows[-1], depth), random(dtype, depth, cols[-1]), random(dtype, cols[-1])
    exact = long_way(a, b, bias)
    assert_within_the_bound(exact, a, b, bias)
    ld = whole(cols[-1], dtype) + lanes(dtype)
    c = np.empty(rows[-1] * ld + 64, dtype)
    rows, cols = np.array(rows), np.array(cols)
    for flags, ld_room in ((BIAS, 0), (BIAS | ROOM, ld)):
        found = sweep(np.ravel(a), b, cols, rows, bias, flags, ld_room, depth, exact, c)
        assert found == (rows.size * cols.size, 0, 0)


def test_a_single_row_has_the_bits_of_a_row_among_many(dtype):
    most = max(300, 2 * ROW_VECTORS * lanes(dtype) + 1)
    for depth in DEPTHS:
        check_short_ways([1], list(range(1, most + 1)), depth, dtype)


def test_a_single_row_takes_a_turned_matrix_as_it_stands(dtype):
    """To the bits of a row among many, and without a look at what stands beside the operands."""
    width = lanes(dtype)
    for depth in (1, width - 1, width, 2 * width + 3, K_BLOCK + width + 1):
        for cols in (1, width - 1, 2 * width, 3 * width + 2, ROW_VECTORS * width + 5):
            a, b, bias = random(dtype, 1, depth), random(dtype, cols, depth), random(dtype, cols)
            a[0, -1] = np.inf if cols % 2 else a[0, -1]  # times what is not there it would be NaN
            among_many, _ = run(np.repeat(a, TILE_ROWS, axis=0), b, turned=True)
            x, w = np.full(depth + width, np.nan, dtype), np.full((cols, depth + 3), np.nan, dtype)
            x[:depth], w[:, :depth] = a, b
            c, sums = Block(1, cols, dtype, room=True), Block(1, cols, dtype, values=bias)
            multiply(
                x, depth, 0, np.ravel(w), depth + 3, 1, c.flat, c.start, c.ld, 1, cols, depth, BIAS | RECTIFY | ROOM,
                bias, 0, c.flat, c.flat, NO_NUMBERS, 0,
            )  # fmt: skip
            assert c.around_is_whole()
            assert c.values.tobytes() == np.maximum(among_many[:1] + bias, 0).tobytes(), (depth, cols)
            if depth <= K_BLOCK:  # the chains go on from what stands in C
                chain, _ = run(np.hstack([np.ones((1, 1), dtype), a]), np.hstack([bias[:, None], b]), turned=True)
                multiply(
                    x, depth, 0, np.ravel(w), depth + 3, 1, sums.flat, sums.start, sums.ld, 1, cols, depth, ACCUMULATE,
                    bias, 0, c.flat, c.flat, NO_NUMBERS, 0,
                )  # fmt: skip
                assert sums.around_is_whole()
                assert sums.values.tobytes() == chain.tobytes(), (depth, cols)


def test_rows_that_meet_in_the_cache_have_the_bits_of_others(dtype):
    cols = COLLIDING * lanes(dtype)
    for rows in (2, TILE_ROWS + 1, ROW_BLOCK + 1):
        x, dz = random(dtype, 1, rows), random(dtype, 1, cols)
        for below in (None, np.maximum(random(dtype, rows, cols, seed=1), 0)):
            how = {} if below is None else {"kind": BACKWARD, "code": RELU, "below": below}
            found, _ = run(x.T, dz, **how)
            assert found.tobytes() == run(x.T, dz, apart=1, **how)[0].tobytes()


def test_few_rows_have_the_bits_of_whole_tiles(dtype):
    width = lanes(dtype)
    cols = [1, width - 1, width, width + 1, 2 * width, 3 * width - 1, 5 * width + 3, 130]
    for depth in DEPTHS:
        check_short_ways(list(range(1, 31)), cols, depth, dtype)


@pytest.mark.parametrize("apart", [PACK_STRIDE - 1, PACK_STRIDE, PACK_STRIDE + 1, 2 * PACK_STRIDE + 9])
def test_columns_of_a_may_stand_far_apart(apart, dtype):
    for rows in (1, 2, LOW_ROWS + 1, ROW_BLOCK - 1, ROW_BLOCK, ROW_BLOCK + 1, 2 * ROW_BLOCK + 7):
        for cols, depth in [(1, 1), (7, 40), (8, 3), (33, K_BLOCK + 1), (16, 600)]:
            x, b = random(dtype, depth, apart), random(dtype, depth, cols)
            together, _ = run(np.ascontiguousarray(x[:, :rows].T), b)
            c = Block(rows, cols, dtype)
            multiply(
                np.ravel(x), apart, 1, np.ravel(b), cols, 0, c.flat, c.start, cols, rows, cols, depth, 0, c.flat, 0,
                c.flat, c.flat, NO_NUMBERS, 0,
            )  # fmt: skip
            assert c.around_is_whole()
            assert c.values.tobytes() == together.tobytes(), (rows, cols, depth)
            if rows <= ROW_BLOCK:
                wide = WIDER[dtype]
                exact, size = (f(x[:, :rows].T.astype(wide)) @ f(b.astype(wide)) for f in (np.positive, np.abs))
                assert (np.abs(c.values - exact) <= (depth + 2) * np.finfo(dtype).eps / 2 * size).all()


def gradient_and_update(x, dz, after, c, params, state, hyper):
    rows, cols = x.shape[1], dz.shape[1]
    multiply(
        np.ravel(x), rows, 1, np.ravel(dz), cols, 0, np.ravel(c), 0, cols, rows, cols, x.shape[0], 0, params, after,
        params, state, hyper, params.size,
    )  # fmt: skip


@pytest.mark.parametrize("rule", updates.RULES.values(), ids=updates.RULES.keys())
@pytest.mark.parametrize(("rows", "cols", "depth"), [(1, 1, 1), (5, 10, 33), (130, 33, K_BLOCK + 1), (7, 600, 40)])
def test_update_in_the_epilogue_is_the_update_of_the_whole_gradient(rule, rows, cols, depth, dtype):
    x, dz, params = random(dtype, depth, rows), random(dtype, depth, cols, seed=1), random(dtype, rows * cols, seed=2)
    state = np.abs(random(dtype, rule.states * params.size, seed=3))
    hyper = np.zeros(updates.HYPER_SIZE)
    hyper[: updates.LR_DECAY] = 0.01, 0.1, 0.9, 0.99, 1e-8
    hyper[[updates.FIRST_POWER, updates.SECOND_POWER]] = 0.9, 0.99
    plain, fused = np.empty((rows, cols), dtype), np.empty((rows, cols), dtype)
    gradient_and_update(x, dz, 0, plain, params, state, hyper)
    expected, expected_state, n = params.copy(), state.copy(), params.size
    after = address_of(functions.update(rule), dtype)
    pass_over(after, plain.ravel(), expected, expected_state, hyper, n, 0, n, 1, n)
    gradient_and_update(x, dz, after, fused, params, state, hyper)
    assert fused.tobytes() == plain.tobytes()
    assert params.tobytes() == expected.tobytes()
    assert state.tobytes() == expected_state.tobytes()
