"""Measure the error of exp, log, cos, sin and every activation and slope against their bounds: ``make sweep``.

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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

from fastbp.kernels.activations import ACTIVATIONS, BY_CODE
from fastbp.kernels.activations.functions import activate
from fastbp.kernels.compile.passes import run_pass
from fastbp.kernels.compile.pointers import at, doubles_at
from fastbp.kernels.simd import elementary
from fastbp.kernels.simd.lanes import lanewise


class Function(NamedTuple):
    """What is looked at.

    code : an activation's, or one of those below
    truth : z, in a wider format, to g(z) and g'(z)
    ulp : the largest error of g and of g' in ULP
    near_zero : as in `Activation`
    domain : the smallest and the largest number that the kernel's function is for
    """

    code: int
    truth: Callable
    ulp: tuple[float, float] = (4.0, 4.0)
    near_zero: tuple[float, float, float] = (0.0, 0.0, 0.0)
    domain: tuple[float, float] = (-math.inf, math.inf)

    def bounds(self):
        """Return the largest error of g and g' in ULP, and that of g' near its zero in eps / 2."""
        return *self.ulp, self.near_zero[2]


_exp = lanewise(elementary.exp, reads=1, writes=1)
_log = lanewise(elementary.log, reads=1, writes=1)
_log1p = lanewise(elementary.log1p, reads=1, writes=1)
_cos_and_sin = lanewise(elementary.cos_and_sin, reads=1, writes=2)
EXP, LOG, LOG1P, COS, SIN = -1, -2, -3, -4, -5


def compute(code, z, a, slope):
    """Fill `a` with g(z) and `slope` with g'(z), as the kernels compute them."""
    function = 0
    if code >= 0:
        function = activate(BY_CODE[code], BY_CODE[code].stores_slope).address(z.dtype)
    _compute(code, function, z, a, slope)


@numba.njit(nogil=True)
def _compute(code, function, z, a, slope):
    a[:] = z
    if code == EXP:
        _exp(at(z, 0), at(a, 0), z.size)
    elif code == LOG:
        _log(at(z, 0), at(a, 0), z.size)
    elif code == LOG1P:
        _log1p(at(z, 0), at(a, 0), z.size)
    elif code in (COS, SIN):
        _cos_and_sin(at(z, 0), at(a if code == COS else slope, 0), at(slope if code == COS else a, 0), z.size)
        slope[:] = 0
    else:
        run_pass(function, at(a, 0), at(a, 0), at(slope, 0), doubles_at(0), 0, z.size, 1, z.size)


class Worst(NamedTuple):
    """The largest errors of g and g' in ULP and of g' near its zero in eps / 2, and where they are."""

    error: np.ndarray
    where: np.ndarray

    def broken(self, name):
        return [not e <= b for e, b in zip(self.error, FUNCTIONS[name].bounds(), strict=True)]


def worst_of(function, z, wide):
    """Return the `Worst` over the numbers that are in the domain of a function; the truth has the format `wide`."""
    inside = z.astype(wide)
    z = z[(function.domain[0] <= inside) & (inside <= function.domain[1])]
    a, slope = np.zeros((2, z.size), z.dtype)
    compute(function.code, z, a, slope)
    info = np.finfo(z.dtype)
    worst, where = np.zeros(3), np.zeros(3)
    low, high, _ = function.near_zero
    near = (low < z) & (z < high)
    with np.errstate(all="ignore"):
        exact = function.truth(z.astype(wide))
        for i, got in enumerate((a, slope)):
            top = wide(2) ** info.maxexp  # past the largest number infinity is right: both are the next power of two
            value, got = np.clip(exact[i], -top, top), np.clip(got.astype(wide), -top, top)
            error = np.abs(got - value)
            _, exponent = np.frexp(np.maximum(np.abs(value), info.tiny))
            ulp = np.ldexp(wide(1), exponent - info.nmant - 1)
            for kind, scale, mask in [(i, ulp, ~near if i else ...), (2, info.eps / 2, near)][: i + 1]:
                share = np.nan_to_num((error / scale)[mask], nan=np.inf)
                if share.size:
                    worst[kind], where[kind] = share.max(), z[mask][share.argmax()]
    return Worst(worst, where)


def sweep32(name, step=1, threads=1):
    """Return the `Worst` over every `step`-th bit pattern of the finite float32 numbers."""
    compute(FUNCTIONS[name].code, *np.ones((3, 1), np.float32))  # compiled before threads come in
    past, length = int(np.float32(np.inf).view(np.uint32)), 1 << 13

    def part(first):
        end = (first & 0x80000000) + past
        z = np.arange(first, min(first + length * step, end), step, np.uint32).view(np.float32)
        return worst_of(FUNCTIONS[name], z, np.float64)

    starts = [sign + first for sign in (0, 0x80000000) for first in range(0, past, length * step)]
    with ThreadPoolExecutor(threads) as pool:
        errors, places = (np.array(found) for found in zip(*pool.map(part, starts), strict=True))
    at_most = errors.argmax(axis=0)
    return Worst(errors[at_most, [0, 1, 2]], places[at_most, [0, 1, 2]])


def sweep64(name, count):
    """Return the `Worst` over some `count` float64 numbers."""
    compute(FUNCTIONS[name].code, *np.ones((3, 1)))
    return worst_of(FUNCTIONS[name], numbers(np.float64, count), np.longdouble)


def numbers(dtype, count, seed=0):
    """Return finite numbers: half of every magnitude, half where the functions bend, cross zero or end."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    every = rng.integers(0, 2 ** (8 * dtype.itemsize), count // 2, np.dtype(f"u{dtype.itemsize}")).view(dtype)
    ranges = [(-1e-3, 1e-3), (-3, 3), (-12, 12), (-40, 40), (-110, 110), (-760, 760)]
    near = [rng.uniform(low, high, count // (2 * len(ranges))).astype(dtype) for low, high in ranges]
    z = np.concatenate([every, *near])
    return z[np.isfinite(z)]


# The truth: an activation's twin, evaluated in a wider format. NumPy has no error function, so gelu has two of its own.


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


@numba.vectorize(["f8(f8)"])
def _erfc(x):
    return math.erfc(x)


def _gelu(z):
    if z.dtype != np.float64:
        return _wide_gelu(z)
    p, density = _erfc(-z / math.sqrt(2)) / 2, np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return z * p, p + z * density


def _by_numpy(function):
    return lambda z: (function(z), np.zeros_like(z))


def _of_turns(shift):
    """Return sin(2 pi t) in quarters of turns from the one that begins `shift` quarters on, which need no rounding."""

    def function(t):
        rest = t - np.rint(t)
        quarter = np.rint(4 * rest)
        angle = (rest - quarter / 4) * (8 * np.arctan(np.ones_like(t)))
        return np.choose(
            (quarter + shift).astype(int) % 4, [np.sin(angle), np.cos(angle), -np.sin(angle), -np.cos(angle)]
        )

    return _by_numpy(function)


def _by_twin(activation):
    return lambda z: (activation.value(z), activation.slope(z))


TRUTHS = {name: _by_twin(activation) for name, activation in ACTIVATIONS.items()} | {"gelu": _gelu}
# exp, log, log1p, cos and sin of turns, then the activations whose formulas round: the others are compared bit for bit
# in the tests
FUNCTIONS = {
    "exp": Function(EXP, _by_numpy(np.exp), ulp=(1.0, 0.0)),
    "log": Function(LOG, _by_numpy(np.log), domain=(5e-324, math.inf)),
    "log1p": Function(LOG1P, _by_numpy(np.log1p), domain=(0.0, 1.0)),
    "cos": Function(COS, _of_turns(1), ulp=(1.0, 0.0)),
    "sin": Function(SIN, _of_turns(0), ulp=(1.0, 0.0)),
} | {
    name: Function(activation.code, TRUTHS[name], activation.ulp, activation.near_zero or (0.0, 0.0, 0.0))
    for name, activation in ACTIVATIONS.items()
    if activation.stores_slope
}


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
