"""``g(z) = tanh(z)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..simd.elementary import SCALE, exp_and_rest
from .gates import logistic
from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def tanh(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    # With e = exp(-2|z|): t = tanh|z| = (1 - e) / (1 + e), and 1 - t**2 = e (1 + t)**2 without cancellation.
    one = 2.0 ** SCALE[v.bits]
    e, rest = exp_and_rest(v, -2.0 * v.abs(z))
    t = rest / (one + e)
    return v.with_sign(t, z), v.fma(e, v.fma(t, t, t + t), e) * (1 / one)


def value(z):
    return np.tanh(z)


def slope(z):
    return 4 * logistic(2 * z) * logistic(-2 * z)  # 1 - tanh**2, without the difference


activation(
    "tanh",
    5,
    tanh,
    value,
    slope,
    exact=lambda mp, z: mp.tanh(z),
    torch="Tanh",
)
