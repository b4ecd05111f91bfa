"""exp, log and the normal distribution as vector formulas: no call to libm, no table, no branch.

Coefficients come from ``tools/fit_polynomials.py`` (fits in 60-digit arithmetic; a test refits them). Each function
is evaluated the same way in both formats, with a polynomial of the format's own degree.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lanes import Lanes, Vec

# (exp(r) - 1 - r) / r**2 for 3/4 <= exp(r) <= 3/2
EXP = {
    32: (0.5000002384185791, 0.16666580736637115, 0.041657138615846634, 0.008359165862202644, 0.0014712089905515313),
    64: (
        0.4999999999999998,
        0.16666666666667804,
        0.04166666666669467,
        0.008333333332381615,
        0.0013888888882679262,
        0.0001984127256729448,
        2.4801579094311626e-05,
        2.7554035705979603e-06,
        2.7589160110641487e-07,
        2.649267908669578e-08,
    ),
}
# (atanh(f) / f - 1) / f**2 in f**2, for |f| <= 1/3
LOG = {
    32: (0.3333320617675781, 0.20010851323604584, 0.13999707996845245, 0.14011096954345703),
    64: (
        0.3333333333333315,
        0.20000000000079296,
        0.1428571427388581,
        0.11111111985726436,
        0.09090871971897345,
        0.07693279169748095,
        0.06650502772679782,
        0.06052884196260665,
        0.04170851550183603,
        0.08507654127572672,
    ),
}
# P(N < -t) * exp(t**2 / 2) * (t + TAIL_POLE) in (t - TAIL_POLE) / (t + TAIL_POLE)
TAIL_POLE = 4.0
TAIL = {
    32: (
        0.7552851438522339,
        -0.607896625995636,
        0.38713687658309937,
        -0.18652217090129852,
        0.060402192175388336,
        -0.007537062745541334,
        -0.003504219464957714,
        0.0016143108950927854,
        0.00017994795052800328,
        -0.00019153561152052134,
        -3.302238474134356e-05,
    ),
    64: (
        0.7552851304157515,
        -0.6078966419718921,
        0.387137400742212,
        -0.1865218579596589,
        0.060396574891023166,
        -0.007540188966685697,
        -0.003479692368742233,
        0.0016308184570261784,
        0.0001333443240758403,
        -0.0002310949303875024,
        -1.908320192971361e-06,
        3.5144659588519946e-05,
        7.168763146450968e-07,
        -5.9200762904227605e-06,
        -6.301658242841854e-07,
        1.0213180082122406e-06,
        2.7248955113232464e-07,
        -1.5458994441757628e-07,
        -8.603735478934645e-08,
        1.2908073766381384e-08,
        1.994915269617971e-08,
        2.1281614295260385e-09,
        -2.597212844680908e-09,
        -7.772452419158406e-10,
    ),
}

# (cos(2 pi r) - 1) / r**2 and (sin(2 pi r) / r - 2 pi) / r**2 in r**2, for |r| <= 1/8
COS = {
    32: (-19.739208221435547, 64.93917846679688, -85.42949676513672, 58.81477355957031),
    64: (
        -19.739208802178716,
        64.93939402266696,
        -85.45681720617033,
        60.244641269216075,
        -26.42624566441003,
        7.902860674822817,
        -1.6928174904600115,
    ),
}
SIN = {
    32: (-41.341670989990234, 81.59352111816406, -75.43512725830078),
    64: (
        -41.34170224039967,
        81.60524927596418,
        -76.70585970763508,
        42.05868536242721,
        -15.093821042027814,
        3.781188924795797,
    ),
}
# 2 pi in two parts
TURN = {32: (6.2831854820251465, -1.7484555314695172e-07), 64: (6.283185307179586, 2.4492935982947064e-16)}

# ln 2 in two parts; the first has trailing zeros, so that its product with an exponent is exact.
LN2 = {32: (0.693359375, math.log(2) - 0.693359375), 64: (0.6931471803691238, 1.9082149292705877e-10)}

# gelu_tanh's y = CUBIC * t * (t**2 + CUBIC_POLE); 1 / 0.044715 and ln(2) / -CUBIC stand in two parts as well.
CUBIC = 2 * math.sqrt(2 / math.pi) * 0.044715
CUBIC_POLE = (22.375, -0.011139997763614)
CUBIC_PERIOD = {32: (-9.71875, 0.0046589719763039045), 64: (-9.714091028028633, 4.9373498940974755e-12)}

# exp of negative numbers is computed times 2**SCALE, where it stays a normal number until it no longer matters, even
# times x. What goes back to the true size is rounded below the normal numbers once, and right.
SCALE = {32: 32, 64: 64}
# From here the power of two is zero, one step below the normal numbers.
LOWEST = {bits: -(scale + bias) * math.log(2) for (bits, scale), bias in zip(SCALE.items(), (127, 1023), strict=True)}
# exp(r) is kept between 3/4 and 3/2. Between sqrt(1/2) and sqrt(2), where r would be centred at 0, the last digits of r
# and exp(r) - 1 weigh more: the error was 1.04 ULP, and is 0.92.
CENTRE = math.log(3 / 4 * 3 / 2) / 2


def reduce_exp(
    v: Lanes,
    x: Vec,
    shift: Vec | float,
    low: Vec | None = None,
    rate: float = 1.0,
    period: tuple[float, float] | None = None,
) -> tuple[Vec, Vec]:
    """Return 2**(k + scale) and p = exp(r) - 1, with exp(rate * (x + low)) = 2**k * (1 + p).

    shift : `Lanes.exponent_shift` of the scale
    period : ln(2) / rate in two parts
    """
    high_part, low_part = period or LN2[v.bits]
    k, power = v.round_to_power(x - CENTRE / rate, rate / math.log(2), shift)
    if low is None:
        r = v.fma(k, -low_part, v.fma(k, -high_part, x))
    else:
        r = v.fma(k, -high_part, x) + v.fma(k, -low_part, low)
    if rate != 1.0:
        r = r * rate
    return power, v.fma(r * r, v.polynomial(r, EXP[v.bits]), r)


def exp(v: Lanes, x: Vec) -> Vec:
    """Return exp(x)."""
    # Large results are computed 2**SCALE times too small, for the same reason as small ones too large.
    scale = SCALE[v.bits]
    small = x < 0.0
    shift = v.select(small, v.exponent_shift(scale), v.exponent_shift(-scale))
    power, p = reduce_exp(v, v.minimum(v.maximum(x, LOWEST[v.bits]), -LOWEST[v.bits]), shift)
    return v.fma(power, p, power) * v.select(small, 2.0**-scale, 2.0**scale)


def scaled_exp(v: Lanes, x: Vec) -> Vec:
    """Return exp(x) * 2**SCALE for x <= 0."""
    power, p = reduce_exp(v, v.maximum(x, LOWEST[v.bits]), v.exponent_shift(SCALE[v.bits]))
    return v.fma(power, p, power)


def exp_of_negative(v: Lanes, x: Vec) -> Vec:
    """Return exp(x) for x <= 0, which takes less work."""
    return scaled_exp(v, x) * 2.0 ** -SCALE[v.bits]


def exp_and_rest(v: Lanes, x: Vec) -> tuple[Vec, Vec]:
    """Return exp(x) and 1 - exp(x) for x <= 0, both times 2**SCALE and with full relative accuracy."""
    scale = SCALE[v.bits]
    power, p = reduce_exp(v, v.maximum(x, LOWEST[v.bits]), v.exponent_shift(scale))
    return v.fma(power, p, power), v.fma(-power, p, 2.0**scale - power)


def power(v: Lanes, x: Vec, y: Vec | float) -> Vec:
    """Return x**y for 0 <= x <= 1 and y >= 0, to about y |log x| roundings."""
    y = v.lift(y)
    return v.select(x.equals(0.0), v.select(y.equals(0.0), 1.0, 0.0), exp(v, y * log(v, x)))


def log1p(v: Lanes, x: Vec, one: float = 1.0) -> Vec:
    """Return log(1 + x / one) for 0 <= x <= one, as 2 atanh(x / (2 + x))."""
    return _twice_atanh(v, x / (2 * one + x))


def log(v: Lanes, x: Vec) -> Vec:
    """Return log(x) for x > 0; infinity and NaN stay."""
    # A number below the normal ones has no exponent to split off before it is multiplied.
    lift = v.mantissa_bits + 1
    tiny = x < 2.0 ** (1 - v.bias)
    k, m = v.split_exponent(v.select(tiny, x * 2.0**lift, x))
    k = v.select(tiny, k - float(lift), k)
    ln2_high, ln2_low = LN2[v.bits]
    small = v.fma(k, ln2_low, _twice_atanh(v, (m - 1.0) / (m + 1.0)))
    result = v.fma(k, ln2_high, small)
    return v.select(x < math.inf, result, x)


def _twice_atanh(v: Lanes, f: Vec) -> Vec:
    s = f * f
    return v.fma(2.0 * f * s, v.polynomial(s, LOG[v.bits]), 2.0 * f)


def cos_and_sin(v: Lanes, turns: Vec) -> tuple[Vec, Vec]:
    """Return cos(2 pi t) and sin(2 pi t) of any finite t, a number of turns; NaN for an infinity.

    Whole turns, and quarters of what is left, are taken off without an error, however many they are.
    """
    size, whole = v.abs(turns), 2.0**v.mantissa_bits
    rest = size - v.select(size < whole, (size + whole) - whole, size)
    quarter = v.fma(rest, 4.0, 1.5 * whole) - 1.5 * whole  # -2 to 2
    r = v.fma(quarter, -0.25, rest)
    square, (high, low) = r * r, TURN[v.bits]
    cosine = v.fma(square, v.polynomial(square, COS[v.bits]), 1.0)
    sine = v.fma(r, high, r * v.fma(square, v.polynomial(square, SIN[v.bits]), low))
    b = v.builder
    swapped = v.abs(quarter).equals(1.0)
    c, s = v.select(swapped, sine, cosine), v.select(swapped, cosine, sine)
    turned_c, turned_s = b.or_(quarter > 0.5, quarter < -1.5), b.or_(quarter < -0.5, quarter > 1.5)
    return v.select(turned_c, -c, c), v.select(b.xor(turned_s, v.negative(turns)), -s, s)


def normal_tail(v: Lanes, t: Vec) -> tuple[Vec, Vec, Vec]:
    """Return bell, q and tq, all for t >= 0: bell * q is P(N < -t) of the standard normal distribution, tq is t * q.

    bell : exp(-t**2 / 2) * 2**SCALE
    """
    t = v.minimum(t, math.sqrt(-2 * LOWEST[v.bits]))  # both are 0 from here, and t * t stays finite
    square = t * t
    # exp magnifies the rounding of t * t by t**2 / 2: what was rounded off is given to it apart.
    rounded_off = v.fma(t, t, -square)
    power, p = reduce_exp(v, -0.5 * square, v.exponent_shift(SCALE[v.bits]), -0.5 * rounded_off)
    bell = v.fma(power, p, power)
    s = t / (t + TAIL_POLE)
    inverse = v.fma(s, -1 / TAIL_POLE, 1 / TAIL_POLE)  # 1 / (t + TAIL_POLE)
    # The rounding of t + TAIL_POLE would be seen in all that follows.
    s = v.fma(v.fma(-s, t, v.fma(-TAIL_POLE, s, t)), inverse, s)
    polynomial = v.polynomial(v.fma(s, 2.0, -1.0), TAIL[v.bits])
    return bell, polynomial * inverse, polynomial * s


def exp_of_cubic(v: Lanes, t: Vec) -> tuple[Vec, Vec]:
    """Return power and p for y = 2 sqrt(2/pi) (t + 0.044715 t**3), 0 <= t <= 40: exp(-y) * 2**SCALE is power * (1 + p).

    exp magnifies the rounding of y by y: what is rounded off is kept apart. The factor CUBIC is left to the range
    reduction, so that it does not round y once more.
    """
    pole, pole_low = CUBIC_POLE
    factor = v.fma(t, t, pole)
    # factor - pole is exact, because the first part of POLE has few digits.
    factor_low = v.fma(t, t, pole - factor) + pole_low
    w = t * factor
    w_low = v.fma(t, factor_low, v.fma(t, factor, -w))
    w = v.minimum(w, -LOWEST[v.bits] / CUBIC)
    return reduce_exp(v, w, v.exponent_shift(SCALE[v.bits]), w_low, -CUBIC, CUBIC_PERIOD[v.bits])
