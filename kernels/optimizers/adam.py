"""Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019), each as in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import rule
from .settle import settled, settled_twin, smallest_root, square

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def adam(
    v: Lanes, p: Vec, g: Vec, m: Vec, s: Vec,
    decay: Vec, keep: Vec, first: Vec, second: Vec, eps: Vec, rate: Vec, scale: Vec,
) -> tuple[Vec, Vec, Vec]:  # fmt: skip
    """Adam and AdamW: `decay` adds to the gradient, `keep` shrinks the weights.

    first, second are 1 - beta; rate is lr / (1 - beta1**t), scale is 1 / sqrt(1 - beta2**t).
    """
    p = p * keep
    g = v.fma(decay, p, g)
    m = settled(v, v.fma(first, g - m, m))
    s = settled(v, v.fma(second, square(v, g) - s, s))
    return p - rate * (m / v.fma(v.sqrt(s), scale, v.maximum(eps, smallest_root(v)))), m, s


def adam_twin(p, g, m, s, hyper):
    _moments_and_step(p, g + hyper.decay * p, m, s, hyper)


def adamw_twin(p, g, m, s, hyper):
    p *= 1 - hyper.lr * hyper.decay
    _moments_and_step(p, g, m, s, hyper)


def _moments_and_step(p, g, m, s, hyper):
    m[...] = settled_twin(hyper.first * m + (1 - hyper.first) * g)
    s[...] = settled_twin(hyper.second * s + (1 - hyper.second) * g**2)
    p -= hyper.lr * (m / (1 - hyper.first_power)) / (np.sqrt(s / (1 - hyper.second_power)) + hyper.eps)


# What they take of `compiled.Numbers` behind the decay
MOMENTS = ("less_first", "less_second", "eps", "rate", "scale")
ADAM = rule("adam", 3, adam, adam_twin, states=2, numbers=("decay", "one", *MOMENTS), normalized=True)
ADAMW = rule("adamw", 4, adam, adamw_twin, states=2, numbers=("zero", "keep", *MOMENTS), normalized=True)
