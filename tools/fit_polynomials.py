"""Print the polynomial coefficients that stand in ``kernels/elementary.py``.

Each is a Chebyshev (near-minimax) fit in 60-digit arithmetic of a function that is smooth on its whole interval.
Needs mpmath: ``python tools/fit_polynomials.py``.
"""

from mpmath import atanh, chebyfit, erfc, exp, ln, mp, mpf, nstr, sqrt

mp.dps = 60

HALF_LN2 = ln(2) / 2 * mpf("1.001")  # a little past the interval: the rounding of x / ln 2 may leave it


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


def show(name, function, interval, terms):
    coefficients, error = chebyfit(function, interval, terms, error=True)
    print(f"{name}  # error {nstr(error, 2)}")
    for c in reversed(coefficients):
        print(f"    {float(c)!r},")


def coefficients():
    """Return {name: (coefficients, error)}."""
    fits = {
        "EXP float32": (exp_core, -HALF_LN2, HALF_LN2, 6),
        "EXP float64": (exp_core, -HALF_LN2, HALF_LN2, 11),
        "LOG float32": (log_core, mpf(0), mpf(1) / 9, 5),
        "LOG float64": (log_core, mpf(0), mpf(1) / 9, 10),
        # up to t = 14.5 and t = 39, where the normal tail leaves the numbers of each format
        "TAIL float32": (normal_tail_core(mpf(4)), mpf(-1), mpf("0.57"), 11),
        "TAIL float64": (normal_tail_core(mpf(4)), mpf(-1), mpf("0.815"), 24),
    }
    for name, (function, low, high, terms) in fits.items():
        falling, error = chebyfit(function, [low, high], terms, error=True)
        yield name, [float(c) for c in reversed(falling)], error


if __name__ == "__main__":
    for name, rising, error in coefficients():
        print(f"{name}  # error {nstr(error, 2)}")
        print("".join(f"    {c!r},\n" for c in rising))
