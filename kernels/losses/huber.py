"""Huber's loss (1964): ``(z - t)**2 / 2``, from delta on ``delta (|z - t| - delta / 2)``, summed over a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from .registry import OWN, loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def huber(v: Lanes, z: Vec, t: Vec, scale: Vec, delta: Vec) -> tuple[Vec, Vec]:
    difference = z - t
    slope = v.minimum(v.maximum(difference, -delta), delta)
    return slope * (difference - 0.5 * slope), slope * scale


def twin(z, targets, class_weight, options):
    difference = z - targets
    slope = np.clip(difference, -options[OWN], options[OWN])
    return (slope * (difference - slope / 2)).sum(axis=1), slope


def sizes(z, t):
    return z**2 + t**2, 2 * (abs(z) + abs(t))


HUBER = loss(
    "huber",
    6,
    twin,
    outputs_per_term=1,
    formula=huber,
    numbers=(Number("delta", 1.0, "From this difference on the loss is a line.", positive=True),),
    public=Public(
        "HuberLoss",
        "Huber's loss: half the squared difference, and a line from `delta` on",
        function="huber_loss",
        torch="huber_loss",
    ),
    sizes=sizes,
)
