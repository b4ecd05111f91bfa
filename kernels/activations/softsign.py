"""``g(z) = z / (1 + |z|)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def softsign(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    more = 1.0 + v.abs(z)
    a, share = z / more, 1.0 / more
    return a, v.fma(a, 0.0, share * share)  # NaN for infinity, as PyTorch has it


def value(z):
    return z / (1 + np.abs(z))


def slope(z):
    return (1 / (1 + np.abs(z))) ** 2 + 0 * value(z)


activation("softsign", 13, softsign, value, slope, exact=lambda mp, z: z / (1 + abs(z)), torch="Softsign")
