"""Soft margin, for targets of 1 and -1: ``log(1 + exp(-t z))``, summed over a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..activations.gates import logistic
from ..registry import Public
from ..simd import elementary
from .registry import loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def soft_margin(v: Lanes, z: Vec, t: Vec, scale: Vec) -> tuple[Vec, Vec]:
    y = -t * z
    one = 2.0 ** elementary.SCALE[v.bits]
    e = elementary.scaled_exp(v, -v.abs(y))
    near_zero = e / (one + e)
    s = v.select(v.negative(y), near_zero, 1.0 - near_zero)
    return v.maximum(y, 0.0) + elementary.log1p(v, e, one), -t * s * scale


def twin(z, targets, class_weight, options):
    y = -targets * z
    return np.logaddexp(0, y).sum(axis=1), -targets * logistic(y)


def sizes(z, t):
    return 1 + abs(z * t), abs(t) * (1 + abs(z * t))


SOFT_MARGIN = loss(
    "soft_margin",
    11,
    twin,
    outputs_per_term=1,
    formula=soft_margin,
    public=Public(
        "SoftMarginLoss",
        "Logistic loss of yes or no, ``log(1 + exp(-t z))``, for targets of 1 and -1",
        function="soft_margin_loss",
        torch="soft_margin_loss",
    ),
    says="scores of 1 and -1",
    drawn=lambda rng, rows, outputs: rng.choice([-1.0, 1.0], (rows, outputs)),
    sizes=sizes,
)
