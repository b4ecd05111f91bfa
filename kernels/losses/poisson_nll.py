"""Poisson negative log-likelihood: ``exp(z) - t z``, or of a rate ``z - t log(z + eps)``, summed over a row.

A term that does not depend on z comes on top where it is asked for: Stirling's ``t log t - t + log(2 pi t) / 2`` for
t > 1, which is about ``log t!``; or ``t log t - t``, which makes it half the deviance, 0 where ``exp(z) = t``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from ..simd import elementary
from .registry import OWN, loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec

# Its numbers in `options`. FULL is one of the terms that come on top.
LOG_INPUT, FULL, EPS = OWN, OWN + 1, OWN + 2
STIRLING, DEVIANCE = 1.0, 2.0


def _log(v: Lanes, x: Vec) -> Vec:
    """log(x) of any number."""
    return v.select(x > 0.0, elementary.log(v, x), v.select(x.equals(0.0), -math.inf, x - x + math.nan))


def poisson_nll(v: Lanes, z: Vec, t: Vec, scale: Vec, log_input: Vec, full: Vec, eps: Vec) -> tuple[Vec, Vec]:
    of_log, stirling, deviance = log_input.equals(1.0), full.equals(STIRLING), full.equals(DEVIANCE)
    rate = z + eps
    mean, log_mean = v.select(of_log, elementary.exp(v, z), z), v.select(of_log, z, _log(v, rate))
    log_t = elementary.log(v, v.select(t > 0.0, t, 1.0))
    # The deviance is small where the logarithms are near each other: they are subtracted before t multiplies them.
    value = mean - t * (log_mean - v.select(deviance, log_t, 0.0)) - v.select(deviance, t, 0.0)
    more = v.select(t > 1.0, t * log_t - t + 0.5 * (log_t + math.log(2 * math.pi)), 0.0)
    return value + v.select(stirling, more, 0.0), v.select(of_log, mean - t, 1.0 - t / rate) * scale


def twin(z, targets, class_weight, options):
    t, full, eps = targets, options[FULL], options[EPS]
    mean, log_mean = (np.exp(z), z) if options[LOG_INPUT] else (z, np.log(z + eps))
    log_t = np.log(np.where(t > 0, t, 1))
    value = mean - t * (log_mean - log_t * (full == DEVIANCE)) - t * (full == DEVIANCE)
    if full == STIRLING:
        value = value + np.where(t > 1, t * log_t - t + np.log(2 * np.pi * np.where(t > 1, t, 1)) / 2, 0)
    return value.sum(axis=1), mean - t if options[LOG_INPUT] else 1 - t / (z + eps)


def sizes(z, t):
    size = (1 + abs(z)) * (np.exp(z) + abs(t) + 1)
    return size, size


POISSON_NLL = loss(
    "poisson_nll",
    10,
    twin,
    outputs_per_term=1,
    formula=poisson_nll,
    numbers=(
        Number("log_input", True, "Whether outputs are logarithms of rates; else they are rates."),
        Number("full", False, "Whether to add Stirling's approximation of ``log t!`` for targets above 1."),
        Number("eps", 1e-8, "Added to a rate before its logarithm is taken."),
    ),
    public=Public(
        "PoissonNLLLoss",
        "Poisson negative log-likelihood of counts",
        function="poisson_nll_loss",
        torch="poisson_nll_loss",
    ),
    says="rates or their logarithms",
    drawn=lambda rng, rows, outputs: rng.poisson(2.0, (rows, outputs)).astype(float),
    sizes=sizes,
)
