"""What weighs nothing costs nothing: 0 log 0 is 0, and so is 0 * infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def weigh(v: Lanes, weight: Vec, cost: Vec) -> Vec:
    """weight * cost, where what weighs nothing costs nothing."""
    return weight * v.select(weight.equals(0.0), 0.0, cost)


def weigh_twin(weight, cost):
    """NumPy twin of `weigh`."""
    return np.multiply(weight, cost, where=weight != 0, out=np.zeros_like(cost))
