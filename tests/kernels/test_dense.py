"""The dense layer against its twins in float64, with error bounds from the number of roundings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp.kernels import reference
from fastbp.kernels.activations import CODES, FIRST_STORED_SLOPE, IDENTITY
from fastbp.kernels.ops.by_hand import dense_backward, dense_forward
from fastbp.kernels.run.chunks import CHUNK_ROWS
from fastbp.kernels.run.plan import gradient_chunks

# float32 inputs, exact in float64, where the twins' own errors are 2**-29 of what is allowed
UNIT = 2.0**-24
# Rounding of g and g' themselves, of terms up to max(1, |z|): see test_activations.
ACTIVATION_ERROR = 16 * UNIT
# |g'| <= 1.13 (gelu, gelu_tanh; silu 1.1) and |g''| <= 1 (elu below 0), so an error of z grows no more than this.
STEEPEST = 1.13
# leaky_relu and relu jump at 0 in g': their slope is told from a, never stored, and so not compared.

codes = st.sampled_from(sorted(CODES.values()))
lengths = st.integers(1, 70)
seeds = st.integers(0, 2**32 - 1)


def forward(module, x, w, b, code, tasks=1):
    a = np.full((len(x), w.shape[1]), np.nan, x.dtype)
    slope = np.full_like(a, np.nan)
    module.dense_forward(x, w, b, code, True, tasks, a, slope)
    return a, slope


def backward(module, x, w, dz, code, below, slope, bias=True, tasks=1):
    chunks = gradient_chunks(len(x), *w.shape)
    partials = np.full(chunks * (w.shape[0] + 1) * w.shape[1], np.nan, x.dtype)
    dx, dw = np.full_like(x, np.nan), np.full_like(w, np.nan)
    db = np.full(w.shape[1] if bias else 0, np.nan, x.dtype)
    module.dense_backward(x, w, dz, code, below, slope, True, partials, tasks, dx, dw, db)
    return dx, dw, db


class Kernels:
    dense_forward = staticmethod(dense_forward)
    dense_backward = staticmethod(dense_backward)


def wide(*arrays):
    return [array.astype(np.float64) for array in arrays]


def bound(a, b):
    """The largest error of a product: each of K terms is rounded once, and the sum where a bias is added."""
    return (a.shape[1] + 2) * UNIT * (np.abs(a) @ np.abs(b))


def check_forward(x, w, b, code):
    a, slope = forward(Kernels, x, w, b, code)
    x, w, b = wide(x, w, b)
    z = x @ w + (b if b.size else 0)
    z_error = bound(x, w) + (2 * UNIT * np.abs(b) if b.size else 0)
    exact_a, exact_slope = forward(reference, x, w, b, code)
    own = ACTIVATION_ERROR * np.maximum(1, np.abs(z))
    assert (np.abs(a - exact_a) <= STEEPEST * z_error + own).all()
    if code >= FIRST_STORED_SLOPE:
        assert (np.abs(slope - exact_slope) <= z_error + own).all()
    else:
        assert np.isnan(slope).all()  # not written


def check_backward(x, w, dz, code, below, slope, bias=True):
    dx, dw, db = backward(Kernels, x, w, dz, code, below, slope, bias)
    x, w, dz, below, slope = wide(x, w, dz, below, slope)
    exact_dx, exact_dw, exact_db = backward(reference, x, w, dz, code, below, slope, bias)
    factor = np.ones_like(slope)  # of the activation below
    reference.activation_backward(np.ones_like(slope), code, below, slope, factor)
    assert (np.abs(dx - exact_dx) <= bound(dz, w.T) * np.abs(factor)).all()
    assert (np.abs(dw - exact_dw) <= bound(x.T, dz)).all()
    assert (np.abs(db - exact_db) <= (len(dz) + 2) * UNIT * np.abs(dz).sum(axis=0)).all() if bias else db.size == 0


def layer(seed, batch, ins, outs):
    rng = np.random.default_rng(seed)
    shapes = (batch, ins), (ins, outs), (outs,), (batch, outs), (batch, ins), (batch, ins)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@given(seeds, lengths, lengths, lengths, codes, st.booleans())
def test_forward_equals_its_twin(seed, batch, ins, outs, code, bias):
    x, w, b, _, _, _ = layer(seed, batch, ins, outs)
    check_forward(x, w, b if bias else b[:0], code)


@given(seeds, lengths, lengths, lengths, codes, st.booleans())
def test_backward_equals_its_twin(seed, batch, ins, outs, code, bias):
    x, w, _, dz, below, slope = layer(seed, batch, ins, outs)
    check_backward(x, w, dz, code, below, slope, bias)


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_every_activation_in_a_layer_of_several_blocks(code):
    x, w, b, dz, below, slope = layer(code, 130, 300, 210)
    check_forward(x, w, b, code)
    check_forward(x, w, b[:0], code)
    check_backward(x, w, dz, code, below, slope)


@settings(max_examples=10)
@given(seeds, st.integers(2 * CHUNK_ROWS, 5 * CHUNK_ROWS), st.integers(1, 20), st.integers(1, 20))
def test_chunked_weight_gradient_equals_its_twin(seed, batch, ins, outs):
    x, w, _, dz, below, slope = layer(seed, batch, ins, outs)
    assert gradient_chunks(batch, ins, outs) > 1
    check_backward(x, w, dz, IDENTITY, below, slope)


@pytest.mark.parametrize("shape", [(2 * CHUNK_ROWS + 77, 9, 33), (37, 130, 150), (1, 5, 3), (70, 1, 1)])
@pytest.mark.parametrize("code", [IDENTITY, CODES["relu"], CODES["gelu"]])
def test_bits_do_not_depend_on_tasks(shape, code):
    x, w, b, dz, below, slope = layer(3, *shape)
    alone = forward(Kernels, x, w, b, code) + backward(Kernels, x, w, dz, code, below, slope)
    for tasks in (2, 3, 7, 16):
        cut = forward(Kernels, x, w, b, code, tasks) + backward(Kernels, x, w, dz, code, below, slope, tasks=tasks)
        for one, other in zip(alone, cut, strict=True):
            assert one.tobytes() == other.tobytes()


def test_predicting_gives_the_bits_of_training(dtype):
    x, w, b, _, _, _ = (array.astype(dtype) for array in layer(4, 20, 30, 41))
    for code in CODES.values():
        trained, _ = forward(Kernels, x, w, b, code)
        predicted = np.empty_like(trained)
        untouched = np.full_like(trained, np.nan)
        dense_forward(x, w, b, code, False, 1, predicted, untouched)
        assert predicted.tobytes() == trained.tobytes()
        assert np.isnan(untouched).all()


def test_no_input_feature_leaves_the_bias(dtype):
    x, w = np.zeros((5, 0), dtype), np.zeros((0, 19), dtype)
    b = np.linspace(-1, 1, 19).astype(dtype)
    a, _ = forward(Kernels, x, w, b, IDENTITY)
    np.testing.assert_array_equal(a, np.tile(b, (5, 1)))


def test_float64_equals_its_twin():
    x, w, b, dz, below, slope = (array.astype(np.float64) for array in layer(5, 40, 50, 60))
    code = CODES["tanh"]
    # 50 or 60 terms of size 1 each: (K + 2) * 2**-53 * (|A||B|) is below 1e-12
    for found, exact in zip(forward(Kernels, x, w, b, code), forward(reference, x, w, b, code), strict=True):
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12)
    found = backward(Kernels, x, w, dz, code, below, slope)
    for one, exact in zip(found, backward(reference, x, w, dz, code, below, slope), strict=True):
        np.testing.assert_allclose(one, exact, rtol=0, atol=1e-12)
