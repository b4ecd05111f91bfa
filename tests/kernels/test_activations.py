"""Activations and their slopes: error bounds over all finite numbers, special values, position, PyTorch."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fastbp.kernels import reference
from fastbp.kernels.activations import ACTIVATIONS, CODES, FIRST_STORED_SLOPE
from fastbp.kernels.ops.by_hand import activation_backward
from fastbp.kernels.simd.isa import isa
from tests.kernels.calls import activate

# tools/sweep.py looks at every float32; here is a sample of it.
_spec = importlib.util.spec_from_file_location("sweep", Path(__file__).parents[2] / "tools" / "sweep.py")
sweep = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sweep)

needs_fma = pytest.mark.skipif(not isa().fma, reason="the bounds are for fused multiply-adds")
PLAIN = [name for name, activation in ACTIVATIONS.items() if not activation.stores_slope]


def both(name, z):
    """Return ``g(z)`` and ``g'(z)`` as the kernels compute them."""
    a, slope = np.empty_like(z), np.empty_like(z)
    activate(CODES[name], z, a, slope)
    if CODES[name] < FIRST_STORED_SLOPE:
        one = np.ones((1, z.size), z.dtype)
        activation_backward(one, CODES[name], a[None], slope[None], slope[None])
    return a, slope


@pytest.mark.parametrize("name", PLAIN)
def test_plain_activations_are_exact(name, dtype):
    z = sweep.numbers(dtype, 200_000)
    a, slope = both(name, z)
    np.testing.assert_array_equal(a, reference.value_of(CODES[name], z))
    np.testing.assert_array_equal(slope, reference.slope_of(CODES[name], z))


@needs_fma
@pytest.mark.parametrize("name", sweep.FUNCTIONS)
def test_float32_error_is_within_its_bound(name):
    worst = sweep.sweep32(name, step=2003)  # two million numbers, of each power of two the same number
    assert not any(worst.broken(name)), worst


@needs_fma
@pytest.mark.parametrize("name", sweep.FUNCTIONS)
def test_float64_error_is_within_its_bound(name, library):
    library("mpmath")
    worst = sweep.sweep64(name, 100_000)
    assert not any(worst.broken(name)), worst


def test_sweep_sees_a_broken_bound(monkeypatch, capsys):
    options = ["tanh", "--step", "100003", "--count", "1000"]
    assert sweep.main(options) == 0
    monkeypatch.setitem(sweep.FUNCTIONS, "tanh", sweep.FUNCTIONS["tanh"]._replace(ulp=(4.0, 1.0)))
    assert sweep.main(options) == 1
    assert "!" in capsys.readouterr().out


EXACT = {
    "exp": lambda mp, z: mp.exp(z),
    "log": lambda mp, z: mp.log(abs(z)),
    "log1p": lambda mp, z: mp.log1p(abs(z)),
    "cos": lambda mp, z: mp.cospi(2 * z),
    "sin": lambda mp, z: mp.sinpi(2 * z),
} | {name: activation.exact for name, activation in ACTIVATIONS.items()}


@pytest.mark.parametrize("name", EXACT)
def test_truths_and_twin_agree_with_mpmath(name, library):
    mp = library("mpmath")
    z = np.array([-12.5, -3.25, -0.7, -1e-5, 1e-5, 0.3, 2.0, 9.0])
    slopes = name in ACTIVATIONS
    if name in ("log", "log1p"):
        z = np.abs(z)
    with mp.workdps(50):
        value = [EXACT[name](mp, mp.mpf(x)) for x in z]
        slope = [mp.diff(lambda x: EXACT[name](mp, x), mp.mpf(x)) if slopes else mp.mpf(0) for x in z]
        wide = [np.array([np.longdouble(mp.nstr(x, 25)) for x in exact]) for exact in (value, slope)]
    truth = sweep.TRUTHS[name] if slopes else sweep.FUNCTIONS[name].truth
    for real in (np.longdouble, np.float64):
        # A dozen operations; z**2 = 156 magnifies the rounding of the exponents of gelu and gelu_tanh.
        # The truths are made for the long double of x86; that of ARM has more digits.
        bound = 300 * max(float(np.finfo(real).eps), 2.0**-63)
        for got, exact in zip(truth(z.astype(real)), wide, strict=True):
            np.testing.assert_allclose(got, exact.astype(real), rtol=bound)
    if slopes:
        np.testing.assert_allclose(ACTIVATIONS[name].value(z), wide[0].astype(float), rtol=300 * 2.0**-53)
        np.testing.assert_allclose(ACTIVATIONS[name].slope(z), wide[1].astype(float), rtol=300 * 2.0**-53)


@pytest.mark.parametrize("name", CODES)
def test_nan_goes_through_value_and_gradient(name, dtype):
    z = np.array([np.nan, 1.0, -np.nan], dtype)
    a, slope = both(name, z)
    assert np.isnan(a[[0, 2]]).all()
    gradient = np.full((1, 3), np.nan, dtype)
    activation_backward(np.full((1, 3), np.nan, dtype), CODES[name], np.ones((1, 3), dtype), slope[None], gradient)
    assert np.isnan(gradient).all()
    if CODES[name] >= FIRST_STORED_SLOPE:
        assert np.isnan(slope[[0, 2]]).all()
    assert np.isfinite([a[1], slope[1]]).all()


def bits(x):
    """Return the bits; one pattern for every NaN, whose sign means nothing and depends on the order of operands."""
    return np.where(np.isnan(x), np.array(np.nan, x.dtype), x).tobytes()


@pytest.mark.parametrize("name", CODES)
def test_value_does_not_depend_on_its_position(name, dtype):
    rng = np.random.default_rng(1)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).smallest_subnormal, -np.finfo(dtype).tiny / 3]
    special += [np.finfo(dtype).max, np.finfo(dtype).min, -104.0, 89.0]
    z = rng.permutation(np.concatenate([special, rng.standard_normal(32) * 5]).astype(dtype))
    alone = [both(name, z[i : i + 1]) for i in range(z.size)]
    alone_value, alone_slope = (np.concatenate([pair[k] for pair in alone]) for k in (0, 1))
    guard = dtype(123.0)
    for start in range(3):
        for count in range(z.size - start):
            a, slope, value = np.full((3, count + 1), guard)
            part = z[start : start + count]
            activate(CODES[name], part, a, slope)
            activate(CODES[name], part, value, value, with_slope=False)
            assert bits(a[:count]) == bits(alone_value[start : start + count])
            assert bits(value[:count]) == bits(a[:count])
            if CODES[name] >= FIRST_STORED_SLOPE:
                assert bits(slope[:count]) == bits(alone_slope[start : start + count])
            assert (a[count], slope[count], value[count]) == (guard, guard, guard)


@pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
def test_activation_backward_equals_its_twin(code, dtype):
    rng = np.random.default_rng(2)
    da, a, slope = rng.standard_normal((3, 5, 37)).astype(dtype)
    a[0, :3] = 0.0, -0.0, np.nan
    dz, twin = np.empty_like(da), np.empty_like(da)
    activation_backward(da, code, a, slope, dz)
    reference.activation_backward(da, code, a, slope, twin)
    np.testing.assert_array_equal(dz, twin)  # one multiplication, by the same factor
    activation_backward(da, code, a, slope, da)
    np.testing.assert_array_equal(da, dz)  # in place


@pytest.fixture
def torch_both(torch):
    def compute(name, z):
        function = getattr(torch.nn, ACTIVATIONS[name].torch)(**ACTIVATIONS[name].torch_options)
        z = torch.tensor(z, requires_grad=True)
        a = function(z)
        a.sum().backward()
        return a.detach().numpy(), z.grad.numpy()

    return compute


@pytest.mark.parametrize("name", CODES)
def test_agrees_with_pytorch(name, dtype, torch_both):
    # softplus: PyTorch returns z itself past 20, which float64 can tell from log(1 + exp(z))
    z = np.linspace(-30, 20 if name == "softplus" else 30, 5001).astype(dtype)
    unit = np.finfo(dtype).eps / 2
    for ours, theirs in zip(both(name, z), torch_both(name, z), strict=True):
        # both within a few ULP of their terms, which are no larger than max(1, |z|)
        assert (np.abs(ours - theirs) <= 16 * unit * np.maximum(1, np.abs(z))).all()


@pytest.mark.parametrize("name", CODES)
def test_infinities_and_zeros_do_what_pytorch_does(name, dtype, torch_both):
    # in float64: PyTorch's float32 gelu of infinity is NaN in arrays of 8 and more, infinity in shorter ones
    z = np.array([np.inf, -np.inf, 0.0, -0.0])
    for ours, theirs in zip(both(name, z.astype(dtype)), torch_both(name, z), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=4 * np.finfo(dtype).eps)
