"""``g(z) = z`` above zero, ``LEAK z`` below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec

LEAK = 0.01


def leaky_relu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    positive = z > 0.0
    return v.select(positive, z, LEAK * z), v.select(positive, 1.0, LEAK)


def value(z):
    return np.where(z > 0, z, LEAK * z)


def slope(z):
    return np.where(z > 0, 1, np.full_like(z, LEAK))


def gradient(v: Lanes, da: Vec, a: Vec) -> Vec:
    return v.select(a > 0.0, da, LEAK * da)


def gradient_twin(da, a):
    return np.where(a > 0, da, LEAK * da)


activation(
    "leaky_relu",
    2,
    leaky_relu,
    value,
    slope,
    exact=lambda mp, z: z if z > 0 else LEAK * z,
    torch="LeakyReLU",
    torch_options={"negative_slope": LEAK},
    rectifies=True,
    gradient=gradient,
    gradient_twin=gradient_twin,
)
