"""``g(z) = max(z, 0)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def relu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    return v.maximum(z, 0.0), v.select(z > 0.0, 1.0, 0.0)


def value(z):
    return np.maximum(z, 0)


def slope(z):
    return np.where(z <= 0, 0, np.ones_like(z))  # a NaN lets the gradient through


def gradient(v: Lanes, da: Vec, a: Vec) -> Vec:
    return v.select(a <= 0.0, 0.0, da)  # a NaN lets the gradient through


def gradient_twin(da, a):
    return np.where(a <= 0, 0, da)


activation(
    "relu",
    1,
    relu,
    value,
    slope,
    exact=lambda mp, z: max(z, 0),
    torch="ReLU",
    rectifies=True,
    gradient=gradient,
    gradient_twin=gradient_twin,
)
