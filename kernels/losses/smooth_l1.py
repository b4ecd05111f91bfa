"""Smooth absolute error: ``|z - t| - beta / 2``, below beta ``(z - t)**2 / (2 beta)``, summed over a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from .l1 import sign
from .registry import OWN, loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def smooth_l1(v: Lanes, z: Vec, t: Vec, scale: Vec, beta: Vec) -> tuple[Vec, Vec]:
    difference = z - t
    size = v.abs(difference)
    slope = v.select(size < beta, difference / beta, sign(v, difference))
    return v.select(size < beta, 0.5 * difference * slope, size - 0.5 * beta), slope * scale


def twin(z, targets, class_weight, options):
    difference, beta = z - targets, options[OWN]
    size, near = abs(difference), abs(difference) < beta
    slope = np.divide(difference, beta, where=near, out=np.sign(difference))
    return np.where(near, difference * slope / 2, size - beta / 2).sum(axis=1), slope


def sizes(z, t):
    return (1 + abs(z) + abs(t)) ** 2, 1 + abs(z) + abs(t)


SMOOTH_L1 = loss(
    "smooth_l1",
    9,
    twin,
    outputs_per_term=1,
    formula=smooth_l1,
    numbers=(Number("beta", 1.0, "From this difference on the loss is a line; 0 for the absolute difference."),),
    public=Public(
        "SmoothL1Loss",
        "The absolute difference, and a parabola below `beta`: Huber's loss divided by beta",
        function="smooth_l1_loss",
        torch="smooth_l1_loss",
    ),
    sizes=sizes,
)
