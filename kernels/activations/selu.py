"""``g(z) = 1.0507 z`` above zero, ``1.0507 * 1.6733 (exp(z) - 1)`` below (Klambauer et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..simd.elementary import SCALE, exp_and_rest
from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec

GAIN, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def selu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    e, rest = exp_and_rest(v, v.minimum(z, 0.0))
    below = GAIN * ALPHA * 2.0 ** -SCALE[v.bits]
    return v.select(z >= 0.0, GAIN * z, rest * -below), v.select(z > 0.0, GAIN, e * below)


def value(z):
    return z.dtype.type(GAIN) * np.where(z > 0, z, z.dtype.type(ALPHA) * np.expm1(np.minimum(z, 0)))


def slope(z):
    return z.dtype.type(GAIN) * np.where(z > 0, 1, z.dtype.type(ALPHA) * np.exp(np.minimum(z, 0)))


activation(
    "selu",
    11,
    selu,
    value,
    slope,
    exact=lambda mp, z: GAIN * (z if z > 0 else ALPHA * mp.expm1(z)),
    torch="SELU",
)
