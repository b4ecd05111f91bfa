"""Activations and their slopes: error bounds over all finite numbers, special values, position, PyTorch."""

import math

import numba
import numpy as np
import pytest

from fastbp.kernels import reference
from fastbp.kernels.activations import CODES, FIRST_STORED_SLOPE, SOFTPLUS, activate, activate_with_slope
from fastbp.kernels.dense import activation_backward
from fastbp.kernels.isa import isa
from fastbp.kernels.pointers import at

# Largest error of g and of g', in ULP (2**-23 or 2**-52 of the result's power of two). For the first four it is that of
# the result itself; for the others it is in ULP of a scale, see `scales`: where a result is the small difference of
# larger terms, of those terms. Counted: 1 for exp, 1/2 for each further operation, twice that where a result stands low
# in its power of two. The largest that were found are in the comments.
BOUNDS = {
    "elu": (1.5, 1),  # 1.13, 0.96
    "sigmoid": (3, 5),  # 2.67, 4.74
    "tanh": (3, 6),  # 2.49, 5.47
    "softplus": (3, 3),  # 2.67, 2.67
    "silu": (4, 5),  # 3.26, 4.41
    "gelu": (8, 7),  # 6.85, 6.38
    "gelu_tanh": (3, 3),  # 2.42, 2.35
}
PLAIN = ["identity", "relu", "leaky_relu"]
WIDER = {np.float32: np.float64, np.float64: np.longdouble}
BITS = {np.float32: np.uint32, np.float64: np.uint64}


@numba.njit
def apply(code, z, a, slope):
    a[: z.size] = z
    activate_with_slope(code, at(a, 0), at(slope, 0), z.size, 1, z.size)


@numba.njit
def apply_without_slope(code, z, a):
    a[: z.size] = z
    activate(code, at(a, 0), at(a, 0), z.size, 1, z.size)


def both(name, z):
    """Return ``g(z)`` and ``g'(z)`` as the kernels compute them."""
    a, slope = np.empty_like(z), np.empty_like(z)
    apply(CODES[name], z, a, slope)
    if CODES[name] < FIRST_STORED_SLOPE:
        one = np.ones((1, z.size), z.dtype)
        activation_backward(one, CODES[name], a[None], slope[None], slope[None])
    return a, slope


def numbers(dtype, count=100_000):
    """Finite numbers: of every magnitude, denormals too, then closer where the functions bend or cross zero."""
    rng = np.random.default_rng(0)
    bits = BITS[dtype]
    every = rng.integers(0, np.iinfo(bits).max, count, dtype=bits, endpoint=True).view(dtype)
    ranges = [(-3, 3), (-40, 40), (-110, 110), (-750, 750), (-1.279, -1.278), (-0.753, -0.751)]
    near = [rng.uniform(low, high, count).astype(dtype) for low, high in ranges]
    z = np.concatenate([every, *near, rng.standard_normal(count).astype(dtype) * dtype(1e-3)])
    return z[np.isfinite(z)]


def scales(name, z, value, slope):
    """Return for ``g`` and ``g'`` the size of the largest terms that they are summed from."""
    s = reference._sigmoid
    size = np.abs(z)
    if name == "silu":  # s (1 + z s(-z))
        slope = s(z) * (1 + size * s(-z))
    elif name == "gelu":  # phi + z * density
        phi, density = reference._normal(z)
        slope = phi + size * density
    elif name == "gelu_tanh":  # s(y) (1 + z s(-y) y'); an error of y in ULP is y times as large in exp(y)
        z = np.clip(z, -40, 40)
        c = 2 * math.sqrt(2 / math.pi)
        y, dy = c * (z + 0.044715 * z**3), c * (1 + 3 * 0.044715 * z**2)
        magnified = 1 + np.abs(y) * s(-y)
        value, slope = value * magnified, s(y) * (1 + size * s(-y) * dy) * magnified
    return np.abs(value), np.abs(slope)


def error(got, exact, scale, floor, dtype):
    """Return the error in ULP of `scale`; an error of `floor` is free."""
    wide = exact.dtype.type
    ulp = np.spacing(scale.astype(dtype)).astype(wide)
    return np.maximum(np.abs(got.astype(wide) - exact) - floor, 0) / ulp


def check(name, z, exact_value, exact_slope):
    dtype = z.dtype.type
    value_scale, slope_scale = scales(name, z.astype(exact_value.dtype), exact_value, exact_slope)
    a, slope = both(name, z)
    assert np.isfinite(a).all()
    assert np.isfinite(slope).all()
    # An exponential below the normal numbers is off by one step, and is multiplied by z (and by y' in gelu_tanh).
    step = np.finfo(dtype).smallest_subnormal.astype(exact_value.dtype)
    size = np.maximum(1, np.abs(z.astype(exact_value.dtype)))
    value_bound, slope_bound = BOUNDS[name] if isa().fma else [2 * bound for bound in BOUNDS[name]]
    assert error(a, exact_value, value_scale, step * size, dtype).max() <= value_bound
    assert error(slope, exact_slope, slope_scale, step * size**3, dtype).max() <= slope_bound


@pytest.mark.parametrize("name", PLAIN)
def test_plain_activations_are_exact(name, dtype):
    z = numbers(dtype)
    a, slope = both(name, z)
    np.testing.assert_array_equal(a, reference.value_of(CODES[name], z))
    np.testing.assert_array_equal(slope, reference.slope_of(CODES[name], z))


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_error_is_a_few_ulp_for_all_finite_numbers(name, dtype, peer):
    if name == "gelu" and dtype is np.float64:  # the twin's erfc is itself float64
        mp = peer("mpmath")
        z = np.concatenate([numbers(dtype, 200), np.linspace(-39, 9, 500)])
        z = z[(z > -140) & (z < 1e6)]  # below, the value leaves the numbers of longdouble
        with mp.workdps(30):
            exact = [(x * mp.ncdf(x), mp.ncdf(x) + x * mp.npdf(x)) for x in map(mp.mpf, z.tolist())]
            value, slope = (np.array([np.longdouble(mp.nstr(pair[i], 25)) for pair in exact]) for i in (0, 1))
    else:
        z = numbers(dtype)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            value = reference.value_of(CODES[name], z.astype(WIDER[dtype]))
            slope = reference.slope_of(CODES[name], z.astype(WIDER[dtype]))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        check(name, z, value, slope)


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_twin_agrees_with_mpmath(name, peer):
    mp = peer("mpmath")
    exact = {
        "elu": lambda z: z if z > 0 else mp.expm1(z),
        "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
        "tanh": mp.tanh,
        "softplus": lambda z: mp.log1p(mp.exp(z)),
        "silu": lambda z: z / (1 + mp.exp(-z)),
        "gelu": lambda z: z * mp.ncdf(z),
        "gelu_tanh": lambda z: z / (1 + mp.exp(-2 * mp.sqrt(2 / mp.pi) * (z + mp.mpf("0.044715") * z**3))),
    }[name]
    z = np.array([-12.5, -3.25, -0.7, -1e-5, 1e-5, 0.3, 2.0, 9.0])
    with mp.workdps(50):
        value = [float(exact(mp.mpf(x))) for x in z]
        slope = [float(mp.diff(exact, mp.mpf(x))) for x in z]
    # float64, a dozen operations; z**2 = 156 magnifies the rounding of the exponents of gelu and gelu_tanh
    np.testing.assert_allclose(reference.value_of(CODES[name], z), value, rtol=300 * 2.0**-53)
    np.testing.assert_allclose(reference.slope_of(CODES[name], z), slope, rtol=300 * 2.0**-53)


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
            apply(CODES[name], part, a, slope)
            apply_without_slope(CODES[name], part, value)
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
        functional = torch.nn.functional
        function = {
            "identity": lambda t: t * 1,
            "tanh": torch.tanh,
            "sigmoid": torch.sigmoid,
            "gelu_tanh": lambda t: functional.gelu(t, approximate="tanh"),
        }.get(name) or getattr(functional, name)
        z = torch.tensor(z, requires_grad=True)
        a = function(z)
        a.sum().backward()
        return a.detach().numpy(), z.grad.numpy()

    return compute


@pytest.mark.parametrize("name", CODES)
def test_agrees_with_pytorch(name, dtype, torch_both):
    # softplus: PyTorch returns z itself past 20, which float64 can tell from log(1 + exp(z))
    z = np.linspace(-30, 20 if CODES[name] == SOFTPLUS else 30, 5001).astype(dtype)
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
