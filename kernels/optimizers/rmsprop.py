"""RMSprop (Hinton, lecture 6e of Neural Networks for Machine Learning, 2012), as in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import rule
from .settle import settled, settled_twin, smallest_root, square

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def rmsprop(v: Lanes, p: Vec, g: Vec, s: Vec, lr: Vec, decay: Vec, rest: Vec, eps: Vec) -> tuple[Vec, Vec]:
    g = v.fma(decay, p, g)
    s = settled(v, v.fma(rest, square(v, g) - s, s))
    return p - lr * (g / (v.sqrt(s) + v.maximum(eps, smallest_root(v)))), s


def rmsprop_twin(p, g, s, hyper):
    g = g + hyper.decay * p
    s[...] = settled_twin(hyper.second * s + (1 - hyper.second) * g**2)
    p -= hyper.lr * g / (np.sqrt(s) + hyper.eps)


RMSPROP = rule(
    "rmsprop", 5, rmsprop, rmsprop_twin, states=1, numbers=("lr", "decay", "less_second", "eps"), normalized=True
)
