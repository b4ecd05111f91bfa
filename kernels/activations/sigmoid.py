"""``g(z) = s(z) = 1 / (1 + exp(-z))``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..simd.elementary import SCALE, scaled_exp
from .gates import logistic
from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def _near_zero(v: Lanes, z: Vec) -> Vec:
    """Return s(-|z|), which is e / (1 + e) with e = exp(-|z|); the division also takes e back to its true size."""
    e = scaled_exp(v, -v.abs(z))
    return e / (2.0 ** SCALE[v.bits] + e)


def sigmoid(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    s = _near_zero(v, z)
    return v.select(v.negative(z), s, 1.0 - s), v.fma(-s, s, s)


def value(z):
    return logistic(z)


def slope(z):
    return logistic(z) * logistic(-z)


activation(
    "sigmoid",
    4,
    sigmoid,
    value,
    slope,
    exact=lambda mp, z: 1 / (1 + mp.exp(-z)),
    torch="Sigmoid",
    sklearn="logistic",
)
