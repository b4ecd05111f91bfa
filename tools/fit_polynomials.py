"""Print the polynomial coefficients that stand in ``kernels/simd/elementary.py``.

Each is a fit in 60-digit arithmetic of a function that is smooth on its whole interval: least squares at Chebyshev's
points, near the smallest largest error, in units of the result that the polynomial is for. Needs mpmath:
``python tools/fit_polynomials.py``.
"""

import numpy as np
from mpmath import atanh, cos, erfc, exp, linspace, ln, matrix, mp, mpf, nstr, pi, qr_solve, sin, sqrt

mp.dps = 60

# exp(r) from 3/4 to 3/2, and a little past that: the rounding of x / ln 2 may leave it.
EXP_LOW, EXP_HIGH = ln(mpf(3) / 4) * mpf("1.003"), ln(mpf(3) / 2) * mpf("1.003")


def exp_core(r):
    """(exp(r) - 1 - r) / r**2."""
    if abs(r) < mpf("1e-8"):
        return mpf(1) / 2 + r / 6 + r * r / 24
    return (exp(r) - 1 - r) / r**2


def log_core(s):
    """(atanh(f) / f - 1) / s with s = f**2."""
    if s < mpf("1e-12"):
        return mpf(1) / 3 + s / 5
    f = sqrt(s)
    return (atanh(f) / f - 1) / s


def normal_tail_core(pole):
    """Normal distribution function at -t times exp(t**2 / 2) * (t + pole), with u = (t - pole) / (t + pole)."""

    def core(u):
        if u > mpf("0.99999999"):
            return 1 / sqrt(2 * mp.pi)
        t = pole * (1 + u) / (1 - u)
        return erfc(t / sqrt(2)) / 2 * exp(t * t / 2) * (t + pole)

    return core


def cos_core(s):
    """(cos(2 pi r) - 1) / s with s = r**2."""
    if s < mpf("1e-12"):
        return -2 * pi**2 + 2 * pi**4 / 3 * s
    return (cos(2 * pi * sqrt(s)) - 1) / s


def sin_core(s):
    """(sin(2 pi r) / r - 2 pi) / s with s = r**2."""
    if s < mpf("1e-12"):
        return -4 * pi**3 / 3 + 4 * pi**5 / 15 * s
    return (sin(2 * pi * sqrt(s)) / sqrt(s) - 2 * pi) / s


def fit(function, weight, low, high, terms, real):
    """Return the coefficients of 1, x, x**2 …, rounded to `real`, and the largest weighted error.

    They are rounded one by one, and those that are left make up for it.
    """
    count = 3 * terms
    points = [(low + high + (high - low) * cos(pi * (2 * i + 1) / (2 * count))) / 2 for i in range(count)]
    weights = [weight(x) for x in points]
    left = [w * function(x) for w, x in zip(weights, points, strict=True)]
    coefficients = []
    for done in range(terms):
        powers = matrix([[w * x**j for j in range(done, terms)] for w, x in zip(weights, points, strict=True)])
        c = float(real(float(qr_solve(powers, matrix(left))[0][0])))
        coefficients.append(c)
        left = [value - w * c * x**done for value, w, x in zip(left, weights, points, strict=True)]

    def off(x):
        return weight(x) * (function(x) - sum(c * x**j for j, c in enumerate(coefficients)))

    return coefficients, max(abs(off(x)) for x in linspace(low, high, 1000))


def coefficients():
    """Yield for each polynomial its name, its coefficients and its error, a share of the result."""
    pole = mpf(4)
    tail = normal_tail_core(pole)
    for name, real, exp_terms, log_terms, tail_terms, last, turn_terms in [
        # up to t = 15 and t = 39, where the normal tail has left the numbers of each format
        ("float32", np.float32, 5, 4, 11, mpf(15), (4, 3)),
        ("float64", np.float64, 10, 10, 24, mpf(39), (7, 6)),
    ]:
        yield f"EXP {name}", *fit(exp_core, lambda r: r * r * exp(-r), EXP_LOW, EXP_HIGH, exp_terms, real)
        yield f"LOG {name}", *fit(log_core, lambda s: s, mpf(0), mpf(1) / 9, log_terms, real)
        end = (last - pole) / (last + pole)
        yield f"TAIL {name}", *fit(tail, lambda u: 1 / tail(u), mpf(-1), end, tail_terms, real)
        ends, (cos_terms, sin_terms) = (mpf(0), mpf(1) / 64), turn_terms
        yield f"COS {name}", *fit(cos_core, lambda s: s / (1 + s * cos_core(s)), *ends, cos_terms, real)
        yield f"SIN {name}", *fit(sin_core, lambda s: s / (2 * pi + s * sin_core(s)), *ends, sin_terms, real)


if __name__ == "__main__":
    for name, rising, error in coefficients():
        print(f"{name}  # error {nstr(error, 2)}")
        print("".join(f"    {c!r},\n" for c in rising))
