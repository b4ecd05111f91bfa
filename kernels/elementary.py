"""exp, log and the normal distribution as vector formulas: no call to libm, no table, no branch.

Coefficients come from ``tools/fit_polynomials.py`` (Chebyshev fits in 60-digit arithmetic; a test refits them). Each
function is evaluated the same way in both formats, with a polynomial of the format's own degree.
"""

import math

from llvmlite import ir

from .simd import Lanes, Vec

# (exp(r) - 1 - r) / r**2 on |r| <= ln(2) / 2
EXP = {
    32: (
        0.500000001353873,
        0.16666666681704215,
        0.04166646419740569,
        0.008333310844647862,
        0.0013933730715792083,
        0.00019891080463998843,
    ),
    64: (
        0.5,
        0.1666666666666667,
        0.04166666666666667,
        0.008333333333326084,
        0.0013888888888883711,
        0.0001984126987500228,
        2.480158732567746e-05,
        2.755725517000089e-06,
        2.755727347871858e-07,
        2.5105312729622103e-08,
        2.09147553258932e-09,
    ),
}
# (atanh(f) / f - 1) / f**2 in f**2, for |f| <= 1/3
LOG = {
    32: (0.3333333366026371, 0.1999985316596486, 0.14296178997151418, 0.10853287900440187, 0.11612164612011674),
    64: (
        0.3333333333333333,
        0.20000000000007292,
        0.1428571428355438,
        0.11111111358713932,
        0.09090894718066429,
        0.07692785032479312,
        0.06657072104827468,
        0.06000536404795356,
        0.04400369243072337,
        0.08082022805971766,
    ),
}
# P(N < -t) * exp(t**2 / 2) * (t + TAIL_POLE) in (t - TAIL_POLE) / (t + TAIL_POLE)
TAIL_POLE = 4.0
TAIL = {
    32: (
        0.7552851305155063,
        -0.6078966580554771,
        0.3871373793933736,
        -0.1865213014526716,
        0.06039734363966471,
        -0.007545272888086292,
        -0.003488339966809313,
        0.0016460784448739869,
        0.00016972886890891106,
        -0.00023401937651948938,
        -5.241525001028064e-05,
    ),
    64: (
        0.7552851304157515,
        -0.6078966419718921,
        0.38713740074221453,
        -0.18652185795965728,
        0.06039657489093685,
        -0.007540188966725102,
        -0.003479692367398525,
        0.0016308184575612862,
        0.00013334431244912699,
        -0.00023109493492765596,
        -1.9082586229120826e-06,
        3.5144684788216245e-05,
        7.166663838363896e-07,
        -5.920169251778467e-06,
        -6.296951788189418e-07,
        1.0215460000532854e-06,
        2.717993072714319e-07,
        -1.5495574447458483e-07,
        -8.53995685855106e-08,
        1.3275890577898443e-08,
        1.9612139765090198e-08,
        1.918248645011255e-09,
        -2.5195527648553657e-09,
        -7.25429102036063e-10,
    ),
}

# Past these, exp is 0 or infinity in the format, whatever the last digit.
EXP_RANGE = {32: (-104.0, 89.0), 64: (-746.0, 710.0)}
# ln 2 in two parts; the first has trailing zeros, so that its product with an exponent is exact.
LN2 = {32: (0.693359375, math.log(2) - 0.693359375), 64: (0.6931471803691238, 1.9082149292705877e-10)}


def reduce_exp(v: Lanes, x: Vec, low: Vec | None = None) -> tuple[ir.Value, Vec]:
    """Return integer lanes k and p = exp(r) - 1, with exp(x + low) = 2**k * (1 + p); x within EXP_RANGE."""
    whole, k = v.round_to_int(x * (1 / math.log(2)))
    ln2_high, ln2_low = LN2[v.bits]
    r = v.fma(whole, -ln2_low, v.fma(whole, -ln2_high, x))
    if low is not None:
        r = r + low
    return k, v.fma(r * r, v.polynomial(r, EXP[v.bits]), r)


def exp(v: Lanes, x: Vec) -> Vec:
    """Return exp(x)."""
    smallest, largest = EXP_RANGE[v.bits]
    k, p = reduce_exp(v, v.minimum(v.maximum(x, smallest), largest))
    half, rest = v.halve(k)
    # In two steps, so that results below the normal numbers are rounded once and right.
    return (1.0 + p) * v.power_of_two(half) * v.power_of_two(rest)


def exp_of_negative(v: Lanes, x: Vec, low: Vec | None = None) -> Vec:
    """Return exp(x), or exp(x + low) for a small `low`; x <= 0, which takes less work."""
    k, p = reduce_exp(v, v.maximum(x, EXP_RANGE[v.bits][0]), low)
    most, rest = v.split_at(k, 1 - v.bias)
    return (1.0 + p) * v.power_of_two(most) * v.power_of_two(rest)


def exp_and_expm1(v: Lanes, x: Vec) -> tuple[Vec, Vec]:
    """Return exp(x) and exp(x) - 1 for x <= 0, both with full relative accuracy."""
    k, p = reduce_exp(v, v.maximum(x, EXP_RANGE[v.bits][0]))
    # 2**k in two factors, the first a normal number; where that is not all of it, exp(x) - 1 is -1 all the same.
    most, rest = v.split_at(k, 1 - v.bias)
    power = v.power_of_two(most)
    return (1.0 + p) * power * v.power_of_two(rest), v.fma(power, p, power - 1.0)


def log1p(v: Lanes, x: Vec) -> Vec:
    """Return log(1 + x) for 0 <= x <= 1, as 2 atanh(x / (2 + x))."""
    return _twice_atanh(v, x / (2.0 + x))


def log(v: Lanes, x: Vec) -> Vec:
    """Return log(x) for normal x > 0; infinity and NaN stay."""
    k, m = v.split_exponent(x)
    ln2_high, ln2_low = LN2[v.bits]
    small = v.fma(k, ln2_low, _twice_atanh(v, (m - 1.0) / (m + 1.0)))
    result = v.fma(k, ln2_high, small)
    return v.select(x < math.inf, result, x)


def _twice_atanh(v: Lanes, f: Vec) -> Vec:
    s = f * f
    return v.fma(2.0 * f * s, v.polynomial(s, LOG[v.bits]), 2.0 * f)


def normal_tail(v: Lanes, t: Vec) -> tuple[Vec, Vec]:
    """Return P(N < -t) of the standard normal distribution and exp(-t**2 / 2), for t >= 0."""
    t = v.minimum(t, 40.0)  # both are 0 from here, and t * t stays finite
    square = t * t
    # exp magnifies the rounding of t * t by t**2 / 2: what was rounded off is given to it apart.
    bell = exp_of_negative(v, -0.5 * square, -0.5 * v.fma(t, t, -square))
    inverse = 1.0 / (t + TAIL_POLE)
    u = v.fma(inverse, -2.0 * TAIL_POLE, 1.0)
    return bell * (v.polynomial(u, TAIL[v.bits]) * inverse), bell
