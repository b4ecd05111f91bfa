"""Measure the error of exp, log and every activation and slope against the bounds below: ``make sweep``.

float32: every finite number, against float64. float64: ten million numbers, of every magnitude and closer where the
functions bend, against long double. An ULP is the distance between the format's numbers at the size of the truth.

Prints a table and ends with 1 if a bound is broken. Takes the names of functions, else all are looked at:
``python tools/sweep.py tanh gelu``. Needs mpmath, for the truth of gelu in float64.
"""

import argparse
import functools
import math
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

from fastbp.kernels import reference
from fastbp.kernels.activations import CODES
from fastbp.kernels.activations.compiled import activate_with_slope
from fastbp.kernels.activations.gates import logistic
from fastbp.kernels.compile.pointers import at
from fastbp.kernels.simd import elementary
from fastbp.kernels.simd.lanes import lanewise

# The largest error of g and of g' in ULP; 4 where nothing else is said.
ULP = {"exp": (1.0, 0.0)}
# g' crosses zero inside these intervals, as a small difference of larger terms. There the bound is this many eps / 2.
NEAR_ZERO = {"silu": (-2.0, -0.75, 1.0), "gelu": (-1.5, -0.32, 1.5), "gelu_tanh": (-2.0, -0.32, 1.5)}
# exp, log and log1p, then the activations whose formulas round: the others are compared bit for bit in the tests
EXP, LOG, LOG1P = -1, -2, -3
FUNCTIONS = {"exp": EXP, "log": LOG, "log1p": LOG1P} | {
    name: CODES[name] for name in ("elu", "sigmoid", "tanh", "softplus", "silu", "gelu", "gelu_tanh")
}

ELU, SIGMOID, TANH, SOFTPLUS, GELU, GELU_TANH = (
    CODES[name] for name in ("elu", "sigmoid", "tanh", "softplus", "gelu", "gelu_tanh")
)

_exp = lanewise(elementary.exp, reads=1, writes=1)
_log = lanewise(elementary.log, reads=1, writes=1)
_log1p = lanewise(elementary.log1p, reads=1, writes=1)


def bounds(name):
    """Return the largest error of g and g' in ULP, and that of g' near its zero in eps / 2."""
    return *ULP.get(name, (4.0, 4.0)), NEAR_ZERO.get(name, (0, 0, 0.0))[2]


def domain(name):
    """Return the smallest and the largest number that the kernel's function is for."""
    return {"log": (5e-324, math.inf), "log1p": (0.0, 1.0)}.get(name, (-math.inf, math.inf))


@numba.njit(nogil=True)
def compute(code, z, a, slope):
    """Fill `a` with g(z) and `slope` with g'(z), as the kernels compute them."""
    a[:] = z
    if code == EXP:
        _exp(at(z, 0), at(a, 0), z.size)
    elif code == LOG:
        _log(at(z, 0), at(a, 0), z.size)
    elif code == LOG1P:
        _log1p(at(z, 0), at(a, 0), z.size)
    else:
        activate_with_slope(code, at(a, 0), at(slope, 0), z.size, 1, z.size)


@numba.njit
def truth(code, z):
    """Return g(z) and g'(z) in float64, by sums of what does not cancel, or little."""
    if code == LOG:
        return math.log(z), 0.0
    if code == LOG1P:
        return math.log1p(z), 0.0
    # Past these the result is 0, 1, z or infinity in float32, and libm takes long to underflow.
    x = min(max(z, -400.0), 400.0)
    if code == EXP:
        return math.exp(x), 0.0
    if code == ELU:
        return (z, 1.0) if z > 0 else (math.expm1(x), math.exp(x))
    if code == GELU:
        x = min(max(z, -35.0), 35.0)
        p, density = math.erfc(-x / math.sqrt(2.0)) / 2.0, math.exp(-x * x / 2.0) / math.sqrt(2.0 * math.pi)
        return z * p, p + x * density
    y, dy = x, 1.0
    if code == TANH:
        y = 2.0 * x
    elif code == GELU_TANH:
        x = min(max(z, -16.0), 16.0)
        c = 2.0 * math.sqrt(2.0 / math.pi)
        y, dy = c * (x + 0.044715 * x**3), c * (1.0 + 3.0 * 0.044715 * x**2)
    e = math.exp(-abs(y))
    small, large = e / (1.0 + e), 1.0 / (1.0 + e)  # s(-|y|) and s(|y|)
    s, rest = (small, large) if y < 0 else (large, small)
    if code == SIGMOID:
        return s, s * rest
    if code == TANH:
        return math.tanh(z), 4.0 * s * rest
    if code == SOFTPLUS:
        return max(z, 0.0) + math.log1p(e), s
    return z * s, s * (1.0 + x * rest * dy)


@numba.njit(nogil=True)
def block(code, first, step, count, low, high, zero_low, zero_high):
    """Return the errors of `Worst` over `count` bit patterns of float32, and where they were found.

    Numbers outside of low … high are left out.
    """
    size = 4096
    worst, where = np.zeros(3), np.zeros(3)
    pattern = np.empty(size, np.uint32)
    z, (a, slope) = pattern.view(np.float32), np.empty((2, size), np.float32)
    exact = np.empty((2, size))
    exponents = exact.view(np.int64)
    for start in range(0, count, size):
        for j in range(size):
            pattern[j] = np.uint32(first + min(start + j, count - 1) * step)
            if not low <= z[j] <= high:
                z[j] = np.float32(1.0)
        compute(code, z, a, slope)
        for j in range(size):
            exact[0, j], exact[1, j] = truth(code, np.float64(z[j]))
        for j in range(size):
            for i in range(1 if code < 0 else 2):
                # Past the largest number infinity is right: both are taken as the next power of two.
                value = min(max(exact[i, j], -(2.0**128)), 2.0**128)
                got = min(max(np.float64(a[j] if i == 0 else slope[j]), -(2.0**128)), 2.0**128)
                error, kind = abs(got - value), i
                if i == 1 and zero_low < z[j] < zero_high:
                    error, kind = error * 2.0**24, 2
                else:
                    exact[i, j] = value
                    exponents[i, j] &= 0x7FF << 52  # the power of two below
                    error *= 2.0**23 / max(exact[i, j], 2.0**-126)
                if not error <= worst[kind]:
                    worst[kind], where[kind] = error, z[j]
    return worst, where


class Worst(NamedTuple):
    """The largest errors of g and g' in ULP and of g' near its zero in eps / 2, and where they are."""

    error: np.ndarray
    where: np.ndarray

    def broken(self, name):
        return [not e <= b for e, b in zip(self.error, bounds(name), strict=True)]


def _largest(parts):
    errors, places = (np.array([part[i] for part in parts]) for i in (0, 1))
    errors = np.where(np.isnan(errors), np.inf, errors)
    at_most = errors.argmax(axis=0)
    return Worst(errors[at_most, [0, 1, 2]], places[at_most, [0, 1, 2]])


def sweep32(name, step=1, threads=1):
    """Return the `Worst` over every `step`-th bit pattern of the finite float32 numbers."""
    zero = NEAR_ZERO.get(name, (0, 0, 0))[:2]
    low, high = domain(name)
    compute(FUNCTIONS[name], *np.ones((3, 1), np.float32))  # compiled before threads come in
    past, length = int(np.nextafter(np.float32(high), np.float32(np.inf)).view(np.uint32)), 1 << 20

    def part(first):
        end = (first & 0x80000000) + past
        count = len(range(first, min(first + length * step, end), step))
        return block(FUNCTIONS[name], first, step, count, float(low), float(high), *map(float, zero))

    signs = (0, 0x80000000) if low < 0 else (0,)
    starts = [sign + first for sign in signs for first in range(0, past, length * step)]
    with ThreadPoolExecutor(threads) as pool:
        return _largest(list(pool.map(part, starts)))


# float64


def numbers(dtype, count, seed=0):
    """Return finite numbers: half of every magnitude, half where the functions bend, cross zero or end."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    every = rng.integers(0, 2 ** (8 * dtype.itemsize), count // 2, np.dtype(f"u{dtype.itemsize}")).view(dtype)
    ranges = [(-1e-3, 1e-3), (-3, 3), (-12, 12), (-40, 40), (-110, 110), (-760, 760)]
    near = [rng.uniform(low, high, count // (2 * len(ranges))).astype(dtype) for low, high in ranges]
    z = np.concatenate([every, *near])
    return z[np.isfinite(z)]


@functools.cache
def _tail_series():
    """Return Chebyshev coefficients in long double of P(N < -t) exp(t**2 / 2) (t + 4), for u = (t - 4) / (t + 4)."""
    import mpmath as mp

    def function(u):
        t = 4 * (1 + u) / (1 - u)
        return mp.erfc(t / mp.sqrt(2)) / 2 * mp.exp(t * t / 2) * (t + 4)

    with mp.workdps(60):
        low, high, terms = mp.mpf(-1), mp.mpf("0.83"), 36
        nodes = [mp.cos(mp.pi * (2 * i + 1) / (2 * terms)) for i in range(terms)]
        values = [function((low + high + (high - low) * x) / 2) for x in nodes]
        series = [
            2 * mp.fsum(v * mp.cos(j * mp.pi * (2 * i + 1) / (2 * terms)) for i, v in enumerate(values)) / terms
            for j in range(terms)
        ]
        series[0] /= 2
        return np.array([np.longdouble(mp.nstr(c, 25)) for c in series]), np.longdouble("0.83")


def _wide_gelu(z):
    series, high = _tail_series()
    t = np.minimum(np.abs(z), 40)  # u = 0.82; beyond, the tail is 0 in float64
    u = (t - 4) / (t + 4)
    bell = np.where(np.abs(z) > 40, 0, np.exp(-t * t / 2))
    core = np.polynomial.chebyshev.chebval((2 * u - (high - 1)) / (high + 1), series)
    tail = bell * core / (t + 4)
    slope = tail - t * bell / np.sqrt(2 * np.arccos(np.longdouble(-1)))
    return np.where(z > 0, z * (1 - tail), z * tail), np.where(z > 0, 1 - slope, slope)


def wide_truth(name, z):
    """Return g(z) and g'(z) for an array of long doubles."""
    if name == "gelu":
        return _wide_gelu(z)
    if name in ("exp", "log", "log1p"):
        return getattr(np, name)(z), np.zeros_like(z)
    if name == "gelu_tanh":  # c in long double; beyond 40 s(y) is 0 or 1
        near = np.clip(z, -40, 40)
        c, cubic = 2 * np.sqrt(2 / np.arccos(np.longdouble(-1))), np.longdouble("0.044715")
        y, dy = c * (near + cubic * near**3), c * (1 + 3 * cubic * near**2)
        s = logistic
        return z * s(y), s(y) * (1 + near * s(-y) * dy)
    return reference.value_of(CODES[name], z), reference.slope_of(CODES[name], z)


def sweep64(name, count):
    """Return the `Worst` over some `count` float64 numbers."""
    z = numbers(np.float64, count)
    low, high = domain(name)
    z = z[(low <= z) & (z <= high)]
    a, slope = np.zeros((2, z.size))
    compute(FUNCTIONS[name], z, a, slope)
    info = np.finfo(np.float64)
    worst, where = np.zeros(3), np.zeros(3)
    zero_low, zero_high = NEAR_ZERO.get(name, (0, 0, 0))[:2]
    near = (zero_low < z) & (z < zero_high)
    with np.errstate(all="ignore"):
        exact = wide_truth(name, z.astype(np.longdouble))
        for i, got in enumerate((a, slope)):
            top = np.longdouble(2) ** 1024
            value, got = np.clip(exact[i], -top, top), np.clip(got.astype(np.longdouble), -top, top)
            error = np.abs(got - value)
            power = np.ldexp(np.longdouble(1), np.frexp(np.maximum(np.abs(value), info.tiny))[1] - 53)
            for kind, scale, mask in [(i, power, ~near if i else ...), (2, info.eps / 2, near)][: i + 1]:
                share = np.nan_to_num((error / scale)[mask], nan=np.inf)
                if share.size:
                    worst[kind], where[kind] = share.max(), z[mask][share.argmax()]
    return Worst(worst, where)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("functions", nargs="*", default=list(FUNCTIONS), metavar="function")
    parser.add_argument("--step", type=int, default=1, help="look at every step-th float32 number only")
    parser.add_argument("--count", type=int, default=10_000_000, help="how many float64 numbers")
    options = parser.parse_args(arguments)
    heads = ["g, ULP  at", "g', ULP  at", "near zero, eps/2  at", "seconds"]
    print(f"{'':19} {heads[0]:22} {heads[1]:22} {heads[2]:22} {heads[3]}")
    failed = False
    for name in options.functions:
        for format_name, run in [
            ("float32", lambda name: sweep32(name, options.step, numba.config.NUMBA_NUM_THREADS)),
            ("float64", lambda name: sweep64(name, options.count)),
        ]:
            start = time.perf_counter()
            worst = run(name)
            failed |= any(worst.broken(name))
            marks = ["!" if broken else " " for broken in worst.broken(name)]
            cells = [f"{e:6.3f}{m} {x:<14.7g}" for e, m, x in zip(worst.error, marks, worst.where, strict=True)]
            print(f"{name:10} {format_name:8} {' '.join(cells)} {time.perf_counter() - start:6.1f}", flush=True)
    if failed:
        print("! : a bound is broken")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
