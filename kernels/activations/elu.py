"""``g(z) = z`` above zero, ``exp(z) - 1`` below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..simd.elementary import SCALE, exp_and_rest
from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def elu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    e, rest = exp_and_rest(v, v.minimum(z, 0.0))
    positive = z >= 0.0
    one = 2.0 ** -SCALE[v.bits]
    return v.select(positive, z, rest * -one), v.select(positive, 1.0, e * one)


def value(z):
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def slope(z):
    return np.exp(np.minimum(z, 0))


activation(
    "elu",
    3,
    elu,
    value,
    slope,
    exact=lambda mp, z: z if z > 0 else mp.expm1(z),
    torch="ELU",
    torch_options={"alpha": 1.0},
    rectifies=True,
)
