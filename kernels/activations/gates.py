"""What several activations share: ``z s(y)``, s the logistic function, and slopes of ``g(z) - g(-z) = z``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..simd.elementary import SCALE

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def gate(v: Lanes, z: Vec, e: Vec) -> tuple[Vec, Vec, Vec]:
    """Return z s(y), s(-|y|) * 2**SCALE and s(|y|), with e = exp(-|y|) * 2**SCALE and y of the sign of z.

    Below zero e is multiplied by z before it goes back to its true size, so that it is rounded once.
    """
    one = 2.0 ** -SCALE[v.bits]
    s = e / v.fma(e, one, 1.0)
    rest = v.fma(s, -one, 1.0)
    return v.select(v.negative(z), z * s * one, z * rest), s, rest


def slope_of_gate(v: Lanes, z: Vec, below: Vec) -> Vec:
    """Return g'(z), with below = g'(-|z|) * 2**SCALE, for g(z) - g(-z) = z."""
    one = 2.0 ** -SCALE[v.bits]
    return v.select(v.negative(z), below * one, v.fma(below, -one, 1.0))


def logistic(z):
    """NumPy twin of s: ``s(z) = 1 / (1 + exp(-z))``."""
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1) / (1 + e)
