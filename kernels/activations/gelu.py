"""``g(z) = z P(N < z)``, N of the standard normal distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..simd.elementary import SCALE, normal_tail
from .gates import slope_of_gate
from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec

_erfc = np.vectorize(math.erfc, otypes=[float])


def gelu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    # With p = P(N < -|z|): g(z) = max(z, 0) - |z| p, and the slope below zero is p - |z| density.
    t = v.abs(z)
    bell, q, tq = normal_tail(v, t)
    positive_part = z - v.minimum(z, 0.0)  # NaN for -infinity, as PyTorch has it
    a = v.fma(bell * tq, -(2.0 ** -SCALE[v.bits]), positive_part)
    return a, slope_of_gate(v, z, bell * v.fma(t, -1 / math.sqrt(2 * math.pi), q))


def _normal(z):
    """Distribution function and density of the standard normal."""
    return (_erfc(-z / math.sqrt(2)) / 2).astype(z.dtype), np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def value(z):
    return z * _normal(z)[0]


def slope(z):
    phi, density = _normal(z)
    return phi + z * density


activation(
    "gelu",
    8,
    gelu,
    value,
    slope,
    exact=lambda mp, z: z * mp.ncdf(z),
    torch="GELU",
    torch_options={"approximate": "none"},
    rectifies=True,
    near_zero=(-1.5, -0.32, 1.5),
)
