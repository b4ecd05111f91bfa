"""Focal loss of yes or no (Lin et al., 2017): the cross-entropy of a logit times ``a (1 - p)**gamma``.

p is the probability of the right answer, a is alpha for yes and 1 - alpha for no. Summed over a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..activations.gates import logistic
from ..registry import Number, Public
from ..simd import elementary
from .registry import OWN, loss
from .weighing import weigh, weigh_twin

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def sigmoid_focal(v: Lanes, z: Vec, t: Vec, scale: Vec, alpha: Vec, gamma: Vec) -> tuple[Vec, Vec]:
    """Of a = alpha t + (1 - alpha) (1 - t) and u = s(z) (1 - t) + s(-z) t the value is a u**gamma bce."""
    size = v.abs(z)
    one = 2.0 ** elementary.SCALE[v.bits]
    e = elementary.scaled_exp(v, -size)
    near_zero = e / (one + e)
    yes = v.select(v.negative(z), near_zero, 1.0 - near_zero)
    no = v.select(v.negative(z), 1.0 - near_zero, near_zero)
    miss = v.select(v.negative(z), t, 1.0 - t)
    bce = weigh(v, miss, size) + elementary.log1p(v, e, one)
    u = yes * (1.0 - t) + no * t
    share = v.select(alpha < 0.0, 1.0, alpha * t + (1.0 - alpha) * (1.0 - t)) * elementary.power(v, u, gamma)
    # u' / u = (1 - 2 t) s(z) s(-z) / u, which has a limit where u is 0
    slope = v.select(u.equals(0.0), 1.0 - 2.0 * t, (1.0 - 2.0 * t) * (yes * no / u))
    return share * bce, share * (yes - t + gamma * slope * bce) * scale


def twin(z, targets, class_weight, options):
    t, alpha, gamma = targets, options[OWN], options[OWN + 1]
    bce = weigh_twin(t, np.logaddexp(0, -z)) + weigh_twin(1 - t, np.logaddexp(0, z))
    yes, no = logistic(z), logistic(-z)
    u = yes * (1 - t) + no * t
    share = (alpha * t + (1 - alpha) * (1 - t) if alpha >= 0 else 1) * u**gamma
    ratio = np.divide(yes * no, u, where=u != 0, out=np.ones_like(z))
    value = np.where(np.isnan(z), np.nan, share * bce)
    return value.sum(axis=1), share * (yes - t + gamma * (1 - 2 * t) * ratio * bce)


def sizes(z, t):
    size = (1 + abs(z)) ** 2 * (1 + abs(t)) ** 3
    return size, size


SIGMOID_FOCAL = loss(
    "sigmoid_focal",
    14,
    twin,
    outputs_per_term=1,
    formula=sigmoid_focal,
    numbers=(
        Number(
            "alpha", 0.25, "Weight of yes, that of no being 1 - alpha; negative for no weights.", least=-1.0, most=1.0
        ),
        Number("gamma", 2.0, "How much less the answers count that are right already."),
    ),
    public=Public(
        "SigmoidFocalLoss",
        "Focal loss of logits of yes or no",
        function="sigmoid_focal_loss",
        more="It is torchvision's `sigmoid_focal_loss`, but for the reduction: the mean is the default here.",
    ),
    says="labels",
    drawn=lambda rng, rows, outputs: rng.integers(0, 2, (rows, outputs)).astype(float),
    sizes=sizes,
)
