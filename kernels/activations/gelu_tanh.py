"""gelu with tanh in place of the normal distribution.

``g(z) = z/2 (1 + tanh(y/2)) = z s(y)``, with ``y = 2 sqrt(2/pi) (z + 0.044715 z**3)`` and s the logistic function.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..simd.elementary import CUBIC, SCALE, exp_of_cubic
from .gates import gate, logistic
from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def gelu_tanh(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    t = v.minimum(v.abs(z), 40.0)  # s is 0 or 1 from here, and nothing below becomes 0 * infinity
    power, p = exp_of_cubic(v, t)
    a, s, rest = gate(v, z, v.fma(power, p, power))
    # Below zero the slope is s (1 - |z| dy rest). To round less, s is taken as power (1 + q) and dy rest as dy - s dy:
    # far from zero s is small, q at most 1/2, and so are their roundings. The 2**SCALE of power meets 2**-SCALE in dy
    # and factor, where |z| dy stays finite.
    one = 2.0 ** -SCALE[v.bits]
    minus_s = s * -one
    q = v.fma(p, rest, minus_s)
    dy = v.fma(t * t, 3 * CUBIC * one, 2 * math.sqrt(2 / math.pi) * one)
    factor = v.fma(-v.abs(z), v.fma(minus_s, dy, dy), one)
    below = power * v.fma(factor, q, factor)
    return a, v.select(v.negative(z), below, 1.0 - below)


def _exponent(z):
    """Return y and its derivative."""
    factor, cubic = 2 * np.sqrt(2 / np.arccos(z.dtype.type(-1))), z.dtype.type("0.044715")
    return factor * (z + cubic * z**3), factor * (1 + 3 * cubic * z**2)


def value(z):
    return z * logistic(_exponent(z)[0])


def slope(z):
    y, dy = _exponent(z)
    return logistic(y) * (1 + z * logistic(-y) * dy)


activation(
    "gelu_tanh",
    9,
    gelu_tanh,
    value,
    slope,
    exact=lambda mp, z: z / (1 + mp.exp(-2 * mp.sqrt(2 / mp.pi) * (z + mp.mpf("0.044715") * z**3))),
    torch="GELU",
    torch_options={"approximate": "tanh"},
    rectifies=True,
    near_zero=(-2.0, -0.32, 1.5),
)
