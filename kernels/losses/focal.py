"""Focal loss of class labels: ``w (1 - p)**gamma (-log p)``, p the softmax of the label's logit, w of its class.

It is a function of the cross-entropy -log p, and its gradient that of this one times the function's slope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from ..simd import elementary
from . import cross_entropy
from .registry import IGNORE_INDEX, OPTIONS_SIZE, OWN, loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def focal(v: Lanes, loss: Vec, gamma: Vec) -> tuple[Vec, Vec]:
    """With p = exp(-loss) and q = 1 - p: q**gamma loss, and its slope q**gamma (1 + gamma p loss / q)."""
    one = 2.0 ** -elementary.SCALE[v.bits]
    p, q = (x * one for x in elementary.exp_and_rest(v, -loss))
    power = elementary.power(v, q, gamma)
    ratio = v.select(q.equals(0.0), 1.0, v.select(p.equals(0.0), 0.0, p * loss / q))
    return v.select(q.equals(0.0), 0.0, power * loss), power * (1.0 + gamma * ratio)


def rows():
    """Make the kernel of some rows: their cross-entropies and gradients, and then this."""
    from numba import carray

    from ..compile.functions import kernel
    from ..compile.pointers import at
    from ..simd.rows import of_one
    from .softmax import labels_of_rows, scale_row

    cross_entropies, of_row = labels_of_rows(gradient=True), of_one(focal, numbers=2, results=2)

    @kernel
    def of_rows(r):
        real = carray(r.z, 1).dtype.type
        gamma = real(r.options[OWN])
        cross_entropies(r.of_equal_classes())
        for i in range(r.start, r.stop):
            if r.labels[i] != r.options[IGNORE_INDEX]:
                weight = r.class_weight[r.labels[i]] if r.classes > 0 else real(1.0)
                value, slope = of_row(real(r.losses[i]), gamma)
                r.losses[i] = float(weight * value)
                d = at(r.d, i * r.ld)
                scale_row(d, d, weight * slope, r.n)

    return of_rows


def twin(z, labels, class_weight, options):
    value, gradient = cross_entropy.labels_twin(z, labels, class_weight[:0], np.zeros(OPTIONS_SIZE))
    gamma, p, q = options[OWN], np.exp(-value), -np.expm1(-value)
    weight = class_weight[labels] if class_weight.size else np.ones_like(value)
    ratio = np.where(q == 0, 1, np.divide(p * value, q, where=(q != 0) & (p != 0), out=np.zeros_like(value)))
    slope = weight * q**gamma * (1 + gamma * ratio)
    return weight * np.multiply(q**gamma, value, where=q != 0, out=np.zeros_like(value)), slope[:, None] * gradient


def sizes(z, labels):
    size = np.tile((1 + np.ptp(z, axis=1, keepdims=True)) ** 2, z.shape[1])
    return 4 * size / z.shape[1], 4 * size


FOCAL = loss(
    "focal",
    15,
    twin,
    rows=rows,
    numbers=(Number("gamma", 2.0, "How much less the answers count that are right already."),),
    by_output=Number("alpha", 1.0, "Weight of each class, or of all; it does not count in the mean."),
    public=Public(
        "FocalLoss",
        "Focal loss of class labels, ``-alpha (1 - p)**gamma log p``, p the softmax of the label's logit",
        function="focal_loss",
    ),
    labelled=True,
    hits=True,
    says="classes",
    sizes=sizes,
)
