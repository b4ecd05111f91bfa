"""Gaussian negative log-likelihood: ``(log var + (mean - t)**2 / var) / 2 + constant``, summed over a row.

A network gives all means of a row, then the logarithms of all variances; or variances are given by themselves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..simd import elementary
from .registry import CONSTANT, VARIANCE_EPS, loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def gaussian_log_variance(
    v: Lanes, mean: Vec, s: Vec, t: Vec, scale: Vec, smallest: Vec, constant: Vec
) -> tuple[Vec, Vec, Vec]:
    """(s + (mean - t)**2 / var) / 2 + constant with var = exp(s); gradients for mean and s."""
    s = v.maximum(s, smallest)
    precision = elementary.exp(v, -s)
    difference = mean - t
    misfit = difference * precision
    square = misfit * difference
    return 0.5 * (s + square) + constant, misfit * scale, 0.5 * (1.0 - square) * scale


def gaussian_variance(
    v: Lanes, mean: Vec, t: Vec, var: Vec, scale: Vec, smallest: Vec, constant: Vec
) -> tuple[Vec, Vec, Vec]:
    """(log var + (mean - t)**2 / var) / 2 + constant; gradients for mean and var."""
    var = v.maximum(var, smallest)
    difference = mean - t
    misfit = difference / var
    loss = 0.5 * (elementary.log(v, var) + misfit * difference) + constant
    return loss, misfit * scale, 0.5 * (1.0 / var - misfit * misfit) * scale


def variance_twin(mean, target, var, constant):
    """Return ``(log var + (mean - target)**2 / var) / 2 + constant`` and its derivatives by mean and var."""
    gap = mean - target
    return (np.log(var) + gap**2 / var) / 2 + constant, gap / var, (1 / var - (gap / var) ** 2) / 2


def twin(z, targets, class_weight, options):
    half = z.shape[1] // 2
    mean, log_var = z[:, :half], z[:, half:]
    log_var = np.maximum(log_var, math.log(options[VARIANCE_EPS]))
    value, dmean, _ = variance_twin(mean, targets, np.exp(log_var), options[CONSTANT])
    return value.sum(axis=1), np.concatenate([dmean, (1 - (mean - targets) * dmean) / 2], axis=1)


def rows():
    """Means, then log-variances: the losses of some rows and their gradients."""
    from numba import carray

    from ..compile.functions import kernel
    from ..compile.pointers import at
    from ..simd.rows import log, summed

    by_row = summed(gaussian_log_variance, reads=3, writes=2, numbers=3)

    @kernel
    def of_rows(r):
        real = carray(r.z, 1).dtype.type
        half = r.n // 2
        smallest, constant = real(log(r.options[VARIANCE_EPS])), real(r.options[CONSTANT])
        for i in range(r.start, r.stop):
            z, t, d = at(r.z, i * r.ld), at(r.targets, i * r.width), at(r.d, i * r.ld)
            scale = real(r.scales[i])
            r.losses[i] = by_row(z, at(z, half), t, d, at(d, half), scale, smallest, constant, half)

    return of_rows


GAUSSIAN_NLL = loss("gaussian_nll", 4, twin, outputs_per_term=2, rows=rows)
