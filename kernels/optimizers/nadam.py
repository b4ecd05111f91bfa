"""NAdam (Dozat 2016): Adam with Nesterov's momentum, which warms up, as in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from .registry import EPS, FIRST, LR, MOMENTUM_DECAY, WEIGHT_DECAY, rule
from .settle import EPS_TEXT, settled, settled_twin, smallest_root, square

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def nadam(
    v: Lanes, p: Vec, g: Vec, m: Vec, s: Vec,
    decay: Vec, first: Vec, second: Vec, eps: Vec, scale: Vec, of_gradient: Vec, ahead: Vec,
) -> tuple[Vec, Vec, Vec]:  # fmt: skip
    """first, second are 1 - beta; scale is 1 / sqrt(1 - beta2**t); of_gradient and ahead are rates.

    With mu_t the momentum of step t and its product P_t over the steps so far, of_gradient is
    lr (1 - mu_t) / (1 - P_t) and ahead is lr mu_(t+1) / (1 - P_(t+1)).
    """
    g = v.fma(decay, p, g)
    m = settled(v, v.fma(first, g - m, m))
    s = settled(v, v.fma(second, square(v, g) - s, s))
    root = v.fma(v.sqrt(s), scale, v.maximum(eps, smallest_root(v)))
    return p - v.fma(ahead, m, of_gradient * g) / root, m, s


def nadam_twin(p, g, m, s, hyper):
    g = g + hyper.decay * p
    m[...] = settled_twin(hyper.first * m + (1 - hyper.first) * g)
    s[...] = settled_twin(hyper.second * s + (1 - hyper.second) * g**2)
    root = np.sqrt(s / (1 - hyper.second_power)) + hyper.eps
    mu = hyper.first * (1 - hyper.momentum_power / 2)
    ahead = hyper.first * (1 - hyper.momentum_power * hyper.momentum_decay / 2)
    p -= hyper.lr * (1 - mu) / (1 - hyper.first_power) * g / root
    p -= hyper.lr * ahead / (1 - hyper.first_power * ahead) * m / root


NADAM = rule(
    "nadam",
    9,
    nadam,
    nadam_twin,
    states=2,
    numbers=("decay", "less_first", "less_second", "eps", "scale", "of_gradient", "ahead"),
    normalized=True,
    chosen=(
        Number("lr", 2e-3, "Learning rate.", place=LR),
        Number(
            "betas",
            (0.9, 0.999),
            "Decay rates of the mean gradient and of the mean squared gradient.",
            below=1.0,
            place=FIRST,
        ),
        Number("eps", 1e-8, f"Added to the root of the mean squared gradient; {EPS_TEXT}", positive=True, place=EPS),
        Number("weight_decay", 0.0, "Adds ``weight_decay W`` to the gradient.", place=WEIGHT_DECAY),
        Number(
            "momentum_decay",
            4e-3,
            "The momentum of step t is ``betas[0] (1 - 0.96**(t momentum_decay) / 2)``.",
            place=MOMENTUM_DECAY,
            kept=lambda decay: 0.96**decay,
        ),
    ),
    public=Public("NAdam", "NAdam (Dozat, 2016), Adam with Nesterov's momentum, as in PyTorch"),
)
