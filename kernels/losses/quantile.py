"""Quantile (pinball) loss: ``max(q (t - z), (q - 1) (t - z))``, summed over a row; q is a number of the output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from .registry import loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def quantile(v: Lanes, z: Vec, t: Vec, q: Vec, scale: Vec) -> tuple[Vec, Vec]:
    short = t - z
    slope = v.select(short > 0.0, -q, v.select(short < 0.0, 1.0 - q, short))
    return v.select(short > 0.0, q, q - 1.0) * short, slope * scale


def twin(z, targets, class_weight, options):
    short = np.tile(targets, z.shape[1] // targets.shape[1]) - z
    q = class_weight
    slope = np.where(short > 0, -q, np.where(short < 0, 1 - q, short))
    return np.maximum(q * short, (q - 1) * short).sum(axis=1), slope


def sizes(z, t):
    return abs(z) + abs(np.tile(t, z.shape[1] // t.shape[1])), np.ones_like(z)


QUANTILE = loss(
    "quantile",
    13,
    twin,
    outputs_per_term=1,
    formula=quantile,
    by_output=Number("quantiles", 0.5, "Between 0 and 1: one, or several.", below=1.0, positive=True),
    repeats=True,
    public=Public(
        "QuantileLoss",
        "Quantile (pinball) loss: the best prediction is a quantile of the target's distribution",
        function="quantile_loss",
        more="With several quantiles a network has an output for each of them and each target column: those of the "
        "first quantile, then those of the next.",
    ),
    sizes=sizes,
)
