"""``g(z) = log(1 + exp(z))``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..simd.elementary import SCALE, log1p, scaled_exp
from .gates import logistic
from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def softplus(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    one = 2.0 ** SCALE[v.bits]
    e = scaled_exp(v, -v.abs(z))
    s = e / (one + e)
    return v.maximum(z, 0.0) + log1p(v, e, one), v.select(v.negative(z), s, 1.0 - s)


def value(z):
    return np.logaddexp(z, 0)


def slope(z):
    return logistic(z)


activation(
    "softplus",
    6,
    softplus,
    value,
    slope,
    exact=lambda mp, z: mp.log1p(mp.exp(z)),
    torch="Softplus",
    torch_options={"beta": 1.0, "threshold": 20.0},
    rectifies=True,
)
