"""Hinge loss of class labels y with weights w: ``w_y sum_c max(0, margin - z_y + z_c)**p / n`` over c other than y."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from .registry import IGNORE_INDEX, OWN, loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def margins(v: Lanes, z: Vec, wanted: Vec, scale: Vec, p: Vec) -> tuple[Vec, Vec, Vec]:
    """Of the logits of other classes: the terms, their slopes, and these times `scale`; wanted is z_y - margin."""
    short = z - wanted
    short = v.select(short <= 0.0, 0.0, short)
    squared = p.equals(2.0)
    slope = v.select(squared, short + short, v.select(short > 0.0, 1.0, short))
    return v.select(squared, short * short, short), slope, slope * scale


def rows():
    """Make the kernel of some rows: the classes before the label, and those behind it."""
    from numba import carray

    from ..compile.functions import kernel
    from ..compile.pointers import at
    from ..simd.rows import summed

    of_classes = summed(margins, reads=1, writes=1, numbers=3, sums=2)

    @kernel
    def is_first_of_largest(z, label, n):
        for c in range(n):
            if not (z[label] > z[c] or (z[label] == z[c] and label <= c)):
                return 0.0
        return 1.0

    @kernel
    def of_rows(r):
        real = carray(r.z, 1).dtype.type
        n, p, margin = r.n, real(r.options[OWN]), real(r.options[OWN + 1])
        for i in range(r.start, r.stop):
            z, d, label = at(r.z, i * r.ld), at(r.d, i * r.ld), r.labels[i]
            if label == r.options[IGNORE_INDEX]:
                r.losses[i] = 0.0
                carray(d, n)[:] = real(0.0)
                r.hits[i] = 0.0
                continue
            weight = (r.class_weight[label] if r.classes > 0 else real(1.0)) / real(n)
            scale, wanted = weight * real(r.scales[i]), z[label] - margin
            before, slopes = of_classes(z, d, wanted, scale, p, label)
            behind, more = of_classes(at(z, label + 1), at(d, label + 1), wanted, scale, p, n - label - 1)
            r.losses[i] = weight * (before + behind)
            d[label] = real(-scale * (slopes + more))
            r.hits[i] = is_first_of_largest(z, label, n)

    return of_rows


def twin(z, labels, class_weight, options):
    p, margin = options[OWN], options[OWN + 1]
    batch, n = z.shape
    each, others = np.arange(batch), np.ones(z.shape, bool)
    others[each, labels] = False
    short = np.multiply(1, margin - z[each, labels][:, None] + z, where=others, out=np.zeros_like(z))
    short = np.where(short <= 0, 0, short)
    slope = 2 * short if p == 2 else np.where(short > 0, 1, short)
    slope[each, labels] = -slope.sum(axis=1)
    weight = (class_weight[labels] if class_weight.size else 1) / z.dtype.type(n)
    return weight * (short**p).sum(axis=1), slope * (weight * np.ones(batch))[:, None]


def sizes(z, labels):
    size = np.tile(1 + np.ptp(z, axis=1, keepdims=True), z.shape[1])
    return size**2, 2 * size


MULTI_MARGIN = loss(
    "multi_margin",
    16,
    twin,
    rows=rows,
    numbers=(
        Number("p", 1.0, "Power of what is short of the margin, 1 or 2.", least=1.0, most=2.0, whole=True),
        Number("margin", 1.0, "How far the label's logit should be above the others."),
    ),
    by_output=Number("weight", 1.0, "Weight of each class, or of all; it does not count in the mean."),
    public=Public(
        "MultiMarginLoss",
        "Hinge loss of logits against class labels",
        function="multi_margin_loss",
        torch="multi_margin_loss",
    ),
    labelled=True,
    hits=True,
    says="classes",
    sizes=sizes,
)
