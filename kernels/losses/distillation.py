"""Distillation (Hinton et al., 2015): ``alpha T**2 KL(softmax(t / T) || softmax(z / T)) + (1 - alpha) (-log p_y)``.

t are a teacher's logits, p is softmax(z), and y a class label, which stands behind t as a number where alpha < 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from ..simd import elementary
from .cross_entropy import log_softmax
from .registry import OWN, loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def soft(v: Lanes, z: Vec, t: Vec, top: Vec, top_t: Vec, rate: Vec) -> tuple[Vec, Vec, Vec, Vec]:
    """exp(z - top), the same of z / T and of t / T, and this times the difference of these two, rate being 1 / T."""
    z, t = z - top, t - top_t
    hard, e, q = (elementary.exp_of_negative(v, x) for x in (z, z * rate, t * rate))
    return hard, e, q, v.select(q.equals(0.0), 0.0, q * ((t - z) * rate))


def soft_gradient(
    v: Lanes, z: Vec, t: Vec, top: Vec, top_t: Vec, rate: Vec, of_hard: Vec, of_soft: Vec, of_teacher: Vec
) -> Vec:
    hard, e, q, _ = soft(v, z, t, top, top_t, rate)
    return hard * of_hard + e * of_soft - q * of_teacher


def rows():
    """Make the kernel of some rows. One whose label is no class has the loss NaN."""
    from numba import carray

    from ..compile.functions import kernel
    from ..compile.pointers import at
    from ..simd.lanes import lanewise
    from ..simd.rows import log, row_max, summed

    sums, combine = (
        summed(soft, reads=2, writes=0, numbers=3, sums=4),
        lanewise(soft_gradient, reads=2, writes=1, numbers=6),
    )

    @kernel
    def of_rows(r):
        real, n = carray(r.z, 1).dtype.type, r.n
        temperature, alpha = r.options[OWN], r.options[OWN + 1]
        rate, keep = real(1.0 / temperature), 1.0 - alpha
        for i in range(r.start, r.stop):
            z, t, d, scale = at(r.z, i * r.ld), at(r.targets, i * r.width), at(r.d, i * r.ld), r.scales[i]
            top, top_t = row_max(z, n), row_max(t, n)
            hard, e, q, gap = sums(z, t, top, top_t, rate, n)
            value = alpha * temperature * temperature * (gap / q + log(e) - log(q))
            label, of_hard = -1, 0.0
            if r.width > n:
                label = int(t[n]) if 0 <= t[n] < n else -1
                value += keep * (log(hard) + (top - z[label])) if label >= 0 else math.nan
                of_hard = scale * keep / hard if label >= 0 else math.nan
            r.losses[i] = value
            of_soft = scale * alpha * temperature
            combine(z, t, d, top, top_t, rate, real(of_hard), real(of_soft / e), real(of_soft / q), n)
            if label >= 0:
                d[label] -= real(scale * keep)

    return of_rows


def twin(z, targets, class_weight, options):
    temperature, alpha = options[OWN], options[OWN + 1]
    n = z.shape[1]
    log_p, log_q = log_softmax(z / temperature), log_softmax(targets[:, :n] / temperature)
    q = np.exp(log_q)
    gap = np.multiply(q, log_q - log_p, where=q != 0, out=np.zeros_like(z))
    value = alpha * temperature**2 * gap.sum(axis=1)
    gradient = alpha * temperature * (np.exp(log_p) - q)
    if targets.shape[1] > n:
        hard, label = log_softmax(z), np.arange(n) == targets[:, n:]
        value = value - (1 - alpha) * np.where(label, hard, 0).sum(axis=1)
        gradient = gradient + (1 - alpha) * (np.exp(hard) - label)
        of_class = label.any(axis=1)
        value, gradient = np.where(of_class, value, np.nan), np.where(of_class[:, None], gradient, np.nan)
    return value, gradient


def drawn(rng, rows, outputs):
    return np.column_stack([2 * rng.standard_normal((rows, outputs)), rng.integers(0, outputs, rows)])


def sizes(z, t):
    size = 8 * (1 + np.ptp(z, axis=1, keepdims=True) + np.ptp(t[:, : z.shape[1]], axis=1, keepdims=True))
    return np.tile(size / z.shape[1], z.shape[1]), np.tile(size, z.shape[1])


DISTILLATION = loss(
    "distillation",
    18,
    twin,
    rows=rows,
    numbers=(
        Number("temperature", 2.0, "What the logits are divided by, to make soft targets.", positive=True),
        Number("alpha", 0.5, "The part of the soft targets; 1 - alpha is that of the labels.", most=1.0),
    ),
    extra=lambda temperature, alpha: int(alpha < 1),
    public=Public(
        "DistillationLoss",
        "A teacher's logits as soft targets, and class labels beside them",
        function="distillation_loss",
        more="Of a row the loss is alpha times ``T**2 KL(softmax(t / T) || softmax(z / T))``, T the temperature and t "
        "the teacher's logits, and 1 - alpha times the cross-entropy of its label, in nats. Targets are t, (batch, "
        "classes), with the label as one more column, ``numpy.column_stack([t, labels])``; without it for alpha = 1.",
    ),
    says="logits beside a teacher's",
    drawn=drawn,
    sizes=sizes,
)
