"""``g(z) = z min(max(z + 3, 0), 6) / 6`` (Howard et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def hardswish(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    a = z * (v.minimum(v.maximum(z + 3.0, 0.0), 6.0) / 6.0)
    return a, v.select(z <= -3.0, 0.0, v.select(z >= 3.0, 1.0, (z + 1.5) / 3.0))


def value(z):
    return z * (np.clip(z + 3, 0, 6) / 6)


def slope(z):
    return np.where(z <= -3, 0, np.where(z >= 3, 1, (z + z.dtype.type(1.5)) / 3))


activation(
    "hardswish",
    12,
    hardswish,
    value,
    slope,
    exact=lambda mp, z: z * min(max(z + 3, 0), 6) / 6,
    torch="Hardswish",
    rectifies=True,
)
