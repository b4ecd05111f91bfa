"""Adagrad (Duchi, Hazan and Singer 2011), as in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from .registry import EPS, INITIAL, LR, LR_DECAY, WEIGHT_DECAY, rule
from .settle import EPS_TEXT, settled, settled_twin, smallest_root, square

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def adagrad(v: Lanes, p: Vec, g: Vec, s: Vec, decay: Vec, eps: Vec, falling: Vec) -> tuple[Vec, Vec]:
    """Falling is lr / (1 + (t - 1) lr_decay)."""
    g = v.fma(decay, p, g)
    s = settled(v, s + square(v, g))
    return p - falling * (g / (v.sqrt(s) + v.maximum(eps, smallest_root(v)))), s


def adagrad_twin(p, g, s, hyper):
    g = g + hyper.decay * p
    s[...] = settled_twin(s + g**2)
    p -= hyper.lr / (1 + (hyper.steps - 1) * hyper.lr_decay) * g / (np.sqrt(s) + hyper.eps)


ADAGRAD = rule(
    "adagrad",
    10,
    adagrad,
    adagrad_twin,
    states=1,
    numbers=("decay", "eps", "falling"),
    normalized=True,
    chosen=(
        Number("lr", 1e-2, "Learning rate.", place=LR),
        Number("lr_decay", 0.0, "The rate of step t is ``lr / (1 + (t - 1) lr_decay)``.", place=LR_DECAY),
        Number("weight_decay", 0.0, "Adds ``weight_decay W`` to the gradient.", place=WEIGHT_DECAY),
        Number("initial_accumulator_value", 0.0, "What the sums of squares of a trainer begin with.", place=INITIAL),
        Number("eps", 1e-10, f"Added to the root of the sum of squares; {EPS_TEXT}", positive=True, place=EPS),
    ),
    public=Public("Adagrad", "Adagrad (Duchi, Hazan and Singer, 2011): squared gradients are summed, as in PyTorch"),
)
