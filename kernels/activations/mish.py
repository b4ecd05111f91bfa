"""``g(z) = z tanh(softplus(z))`` (Misra 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..simd.elementary import SCALE, scaled_exp
from .gates import logistic
from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def mish(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    # With e = exp(-|z|), h = 1 / (1 + (1 + e)**2) below zero and 1 / (e**2 + (1 + e)**2) above, tanh(softplus(z)) is
    # e (1 - e (1 + e) h) or 1 - 2 e**2 h. The slope adds 4 z e (1 + e) h**2, or that times e; below zero both together
    # are e (1 + z - e h (1 + e + z h (4 + 8e + 4 e**2 + e**3))). What is taken from 1 is small where e is, and so are
    # its roundings.
    one = 2.0 ** -SCALE[v.bits]
    negative = v.negative(z)
    scaled = scaled_exp(v, -v.abs(z))
    e = scaled * one
    more = 1.0 + e
    h = 1.0 / v.fma(more, more, v.select(negative, 1.0, e * e))
    eh = e * h
    rest = 1.0 - eh * v.select(negative, more, e + e)
    a = v.select(negative, z * (scaled * rest) * one, z * rest)
    cubic = v.fma(e, v.fma(e, e + 4.0, 8.0), 4.0)
    below = scaled * (1.0 + z - v.fma(z * eh, h * cubic, eh * more)) * one
    return a, v.select(negative, below, v.fma(z * eh, 4.0 * eh * more, rest))


def value(z):
    return z * np.tanh(np.logaddexp(z, 0))


def slope(z):
    t = np.tanh(np.logaddexp(z, 0))
    return t + z * (1 - t * t) * logistic(z)


activation(
    "mish",
    10,
    mish,
    value,
    slope,
    exact=lambda mp, z: z * mp.tanh(mp.log1p(mp.exp(z))),
    torch="Mish",
    rectifies=True,
    near_zero=(-2.0, -0.5, 1.5),
)
