"""Binary cross-entropy of logits: ``-t log s(z) - (1 - t) log s(-z)``, s the logistic function, summed over a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..activations.gates import logistic
from ..registry import Number
from ..simd import elementary
from .registry import loss
from .weighing import weigh, weigh_twin

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def bce_logits(v: Lanes, z: Vec, t: Vec, scale: Vec) -> tuple[Vec, Vec]:
    # This is |z| (1 - t where z > 0, else t) + log(1 + exp(-|z|)); derivative s(z) - t
    size = v.abs(z)
    one = 2.0 ** elementary.SCALE[v.bits]
    e = elementary.scaled_exp(v, -size)
    near_zero = e / (one + e)
    s = v.select(v.negative(z), near_zero, 1.0 - near_zero)
    miss = v.select(v.negative(z), t, 1.0 - t)
    return weigh(v, miss, size) + elementary.log1p(v, e, one), (s - t) * scale


def bce_logits_weighted(v: Lanes, z: Vec, t: Vec, weight: Vec, scale: Vec) -> tuple[Vec, Vec]:
    """The same, where ``t log s(z)`` weighs more."""
    size = v.abs(z)
    one = 2.0 ** elementary.SCALE[v.bits]
    e = elementary.scaled_exp(v, -size)
    near_zero = e / (one + e)
    yes = v.select(v.negative(z), near_zero, 1.0 - near_zero)
    no = v.select(v.negative(z), 1.0 - near_zero, near_zero)
    right, wrong = weight * t, 1.0 - t
    value = weigh(v, v.select(v.negative(z), right, wrong), size) + (right + wrong) * elementary.log1p(v, e, one)
    return value, (wrong * yes - right * no) * scale


def twin(z, targets, class_weight, options):
    value = weigh_twin(targets, np.logaddexp(0, -z)) + weigh_twin(1 - targets, np.logaddexp(0, z))
    return np.where(np.isnan(z), np.nan, value).sum(axis=1), logistic(z) - targets


def weighted_twin(z, targets, class_weight, options):
    right, wrong = class_weight * targets, 1 - targets
    value = weigh_twin(right, np.logaddexp(0, -z)) + weigh_twin(wrong, np.logaddexp(0, z))
    return np.where(np.isnan(z), np.nan, value).sum(axis=1), wrong * logistic(z) - right * logistic(-z)


def sizes(z, t):
    return 1 + np.abs(z) * (1 + t), 1 + t


def weighted_sizes(z, t):
    return (1 + np.abs(z)) * (1 + 2 * abs(t)), 2 + 3 * abs(t)


def yes_or_no(rng, rows, outputs):
    return rng.uniform(0, 1, (rows, outputs))


BCE_LOGITS = loss("bce_logits", 3, twin, outputs_per_term=1, formula=bce_logits, drawn=yes_or_no, sizes=sizes)
BCE_LOGITS_WEIGHTED = loss(
    "bce_logits_weighted",
    7,
    weighted_twin,
    outputs_per_term=1,
    formula=bce_logits_weighted,
    by_output=Number("pos_weight", 1.0, "What yes counts for, beside no, for each output or for all."),
    drawn=yes_or_no,
    sizes=weighted_sizes,
)
