"""Hinge, for targets of 1 and -1: ``max(0, margin - t z)``, summed over a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from .registry import OWN, loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def hinge(v: Lanes, z: Vec, t: Vec, scale: Vec, margin: Vec) -> tuple[Vec, Vec]:
    short = margin - t * z
    inside = short <= 0.0
    return v.select(inside, 0.0, short), v.select(inside, 0.0, v.select(short.isnan(), short, -t)) * scale


def twin(z, targets, class_weight, options):
    short = options[OWN] - targets * z
    return np.maximum(short, 0).sum(axis=1), np.where(np.isnan(short), short, -targets * (short > 0))


def sizes(z, t):
    return 1 + abs(z * t), abs(t)


HINGE = loss(
    "hinge",
    12,
    twin,
    outputs_per_term=1,
    formula=hinge,
    numbers=(Number("margin", 1.0, "From ``t z`` of this on nothing is lost."),),
    public=Public(
        "HingeLoss",
        "Hinge loss of yes or no, ``max(0, margin - t z)``, for targets of 1 and -1",
        function="hinge_loss",
    ),
    says="scores of 1 and -1",
    drawn=lambda rng, rows, outputs: rng.choice([-1.0, 1.0], (rows, outputs)),
    sizes=sizes,
)
