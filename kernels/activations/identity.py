"""``g(z) = z``, for a layer without an activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def identity(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    return z, v.constant(1.0)


def value(z):
    return z.copy()


def slope(z):
    return np.ones_like(z)


def gradient(v: Lanes, da: Vec, a: Vec) -> Vec:
    return da


def gradient_twin(da, a):
    return da


activation(
    "identity",
    0,
    identity,
    value,
    slope,
    exact=lambda mp, z: z,
    torch="Identity",
    gradient=gradient,
    gradient_twin=gradient_twin,
)
