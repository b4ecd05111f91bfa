"""NaN, infinities and numbers below the normal ones, wherever they stand: what the twins say, in that place alone.

Numbers are small integers, so that every sum is exact in float32: apart from the special values, all bits are right.
"""

import numpy as np
import pytest

from fastbp.kernels import losses, reference
from fastbp.kernels.activations import CODES, FIRST_STORED_SLOPE, IDENTITY
from fastbp.kernels.linalg.product import K_BLOCK, PACK_ROWS, PACK_SPREAD, PACK_STRIDE, ROW_BLOCK
from fastbp.kernels.losses import by_hand
from fastbp.kernels.ops.by_hand import activation_backward, dense_backward, dense_forward
from fastbp.kernels.run.chunks import CHUNK_ROWS
from fastbp.kernels.run.plan import gradient_chunks
from fastbp.kernels.simd.isa import isa
from fastbp.kernels.simd.microkernel import LOW_ROWS, ROW_VECTORS, TILE_ROWS
from tests.kernels.loss_problems import class_weight_of, options_of, targets_of

SPECIALS = [np.nan, np.inf, -np.inf]
LANES = isa().lanes(4)
# (batch, in_features, out_features)
SHAPES = [
    (1, 5, ROW_VECTORS * LANES + 3),  # a single row
    (LOW_ROWS + 1, 1, 1),
    (TILE_ROWS, K_BLOCK + 1, LANES),
    (TILE_ROWS + 1, K_BLOCK - 1, 2 * LANES + 1),  # its last vector is half full
    (ROW_BLOCK + 1, 256, PACK_ROWS + 1),  # W is copied
    (3, PACK_STRIDE + 1, 9),  # columns of X are copied for dW
    (2 * CHUNK_ROWS + 1, 3, 5),  # dW is summed in chunks
]


def integers(seed, *shape):
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


def scattered(values, special, along):
    """Return a copy with one special value in each row (along=1) or column (along=0), so that every place of a row,
    from its first to its last, has its turn; a few rows have none.
    """
    result = values.copy()
    lines, places = result.shape if along else result.shape[::-1]
    line = np.arange(lines)
    marks = [0, places - 1, places // 2, *range(max(0, K_BLOCK - 2), min(places, K_BLOCK + 2)), *range(places)]
    place = np.take(marks, line, mode="wrap")
    view = result if along else result.T
    kept = line % 5 != 3
    view[line[kept], place[kept]] = special
    return result


def forward(module, x, w, b, code=IDENTITY):
    a, slope = (np.full((len(x), w.shape[1]), -7, x.dtype) for _ in range(2))
    module.dense_forward(x, w, b, code, True, 1, a, slope)
    return a, slope


def backward(module, x, w, dz):
    partials = np.zeros(gradient_chunks(len(x), *w.shape) * (w.shape[0] + 1) * w.shape[1], x.dtype)
    dx, dw, db = np.empty_like(x), np.empty_like(w), np.empty(w.shape[1], x.dtype)
    module.dense_backward(x, w, dz, IDENTITY, dx, dx, True, partials, 1, dx, dw, db)
    return dx, dw, db


class Kernels:
    dense_forward = staticmethod(dense_forward)
    dense_backward = staticmethod(dense_backward)


def wide(*arrays):
    # longdouble: NumPy multiplies it by plain loops, where a BLAS may leave out a 0 times NaN
    return [array.astype(np.longdouble) for array in arrays]


@pytest.mark.parametrize("special", SPECIALS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_product_has_them_where_its_twin_has_them(shape, special):
    batch, ins, outs = shape
    x, w, b, dz = integers(0, batch, ins), integers(1, ins, outs), integers(2, outs), integers(3, batch, outs)
    poisoned_b = scattered(b[None], special, along=0)[0]
    with np.errstate(invalid="ignore"):
        for case in [
            (scattered(x, special, along=1), w, b),
            (x, scattered(w, special, along=0), b),
            (x, w, poisoned_b),
        ]:
            np.testing.assert_array_equal(forward(Kernels, *case)[0], forward(reference, *wide(*case))[0])
        for case in [
            (scattered(x, special, along=0), w, dz),
            (x, scattered(w, special, along=1), dz),
            (x, w, scattered(dz, special, along=1)),
            (x, w, scattered(dz, special, along=0)),
        ]:
            for found, exact in zip(backward(Kernels, *case), backward(reference, *wide(*case)), strict=True):
                np.testing.assert_array_equal(found, exact)


def test_the_shapes_take_every_way_through_a_product():
    assert any(batch >= PACK_ROWS and min(ins, K_BLOCK) * outs > PACK_SPREAD for batch, ins, outs in SHAPES)
    assert any(ins > PACK_STRIDE for _, ins, _ in SHAPES)
    assert any(gradient_chunks(*shape) > 1 for shape in SHAPES)


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_each_activation_and_its_gradient_have_them_where_the_twin_has_them(code):
    cols = 3 * LANES - 1
    x, w, da = np.zeros((3, 1), np.float32), np.zeros((1, cols), np.float32), integers(4, 3, cols)
    for place in range(cols):
        b = integers(5, cols)
        for special in SPECIALS:
            b[place] = special
            a, slope = forward(Kernels, x, w, b, code)
            with np.errstate(invalid="ignore", over="ignore"):
                exact_a, exact_slope = forward(reference, *wide(x, w, b), code)
                found, exact = np.empty_like(da), np.empty_like(exact_a)
                activation_backward(da, code, a, slope, found)
                reference.activation_backward(da, code, exact_a, exact_slope, exact)
            # what test_activations allows; here it is the place that counts
            np.testing.assert_allclose(a, exact_a, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
            if code >= FIRST_STORED_SLOPE:
                np.testing.assert_allclose(slope, exact_slope, rtol=1e-5, atol=1e-6)


LOSSES = {name: loss.code for name, loss in losses.LOSSES.items() if loss.code != losses.SOFTMAX_ONE_HOT}


@pytest.mark.parametrize("n", [2, LANES + 2, 70], ids="{} columns".format)
@pytest.mark.parametrize("code", LOSSES.values(), ids=LOSSES.keys())
def test_each_loss_and_its_gradient_have_them_where_the_twin_has_them(code, n):
    batch, loss, rng = 2 * LANES + 1, losses.BY_CODE[code], np.random.default_rng(7)
    options = options_of(loss, losses.SUM, constant=0.0)
    labels, targets = targets_of(loss, rng, batch, n)
    targets, width = targets.astype(np.float32), targets.shape[1]
    z = integers(6, batch, n)
    if code in (losses.SOFTMAX_PROBABILITIES, losses.BCE_LOGITS):
        targets[: batch // 2] = np.rint(targets[: batch // 2])  # certain ones too
    class_weight = class_weight_of(loss, rng, n, weighted=False).astype(np.float32)
    if code == losses.SOFTMAX_LABELS:
        class_weight = class_weight[:0]
    none = np.zeros(0, np.float32)
    cases = [(scattered(z, special, along=1), targets) for special in SPECIALS]
    if width:
        cases.append((z, scattered(targets, np.nan, along=1)))
    for given, wanted in cases:
        results = []
        for module, real in ((by_hand, np.float32), (reference, np.longdouble)):
            rows, gradient = (
                np.zeros((3, batch), real if module is reference else np.float64),
                np.empty((batch, n), real),
            )
            with np.errstate(invalid="ignore", over="ignore"):
                module.loss_and_gradient(
                    code, given.astype(real), labels, wanted.astype(real), class_weight.astype(real), options,
                    none.astype(real), rows, 1, gradient,
                )  # fmt: skip
            results.append((rows[1], gradient))
        for found, exact in zip(*results, strict=True):
            np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


def test_numbers_below_the_normal_ones_are_not_flushed():
    """Inputs and weights of a few units of the smallest number: products of it and integers are exact."""
    smallest = np.finfo(np.float32).smallest_subnormal
    for shape in SHAPES:
        batch, ins, outs = shape
        x, w, b, dz = integers(0, batch, ins), integers(1, ins, outs), integers(2, outs), integers(3, batch, outs)
        for case in [(x * smallest, w, b * smallest), (x, w * smallest, b * smallest)]:
            np.testing.assert_array_equal(forward(Kernels, *case)[0], forward(reference, *wide(*case))[0])
        for case in [(x * smallest, w, dz), (x, w * smallest, dz), (x, w, dz * smallest)]:
            for found, exact in zip(backward(Kernels, *case), backward(reference, *wide(*case)), strict=True):
                np.testing.assert_array_equal(found, exact)
