"""Absolute error: ``|z - t|``, summed over a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Public
from .registry import loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def sign(v: Lanes, x: Vec) -> Vec:
    """1, -1 or 0; NaN stays."""
    return v.select(x > 0.0, 1.0, v.select(x < 0.0, -1.0, x))


def l1(v: Lanes, z: Vec, t: Vec, scale: Vec) -> tuple[Vec, Vec]:
    difference = z - t
    return v.abs(difference), sign(v, difference) * scale


def twin(z, targets, class_weight, options):
    return abs(z - targets).sum(axis=1), np.sign(z - targets)


def sizes(z, t):
    return abs(z) + abs(t), np.ones_like(z)


L1 = loss(
    "l1",
    8,
    twin,
    outputs_per_term=1,
    formula=l1,
    public=Public("L1Loss", "The absolute difference", function="l1_loss", torch="l1_loss"),
    sizes=sizes,
)
