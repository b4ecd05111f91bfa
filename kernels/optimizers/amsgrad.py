"""AMSGrad (Reddi, Kale and Kumar 2018): Adam, and AdamW, with the largest mean square so far, each as in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .adam import MOMENTS
from .registry import rule
from .settle import settled, settled_twin, smallest_root, square

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def amsgrad(
    v: Lanes, p: Vec, g: Vec, m: Vec, s: Vec, largest: Vec,
    decay: Vec, keep: Vec, first: Vec, second: Vec, eps: Vec, rate: Vec, scale: Vec,
) -> tuple[Vec, Vec, Vec, Vec]:  # fmt: skip
    """`adam.adam` with the `largest` of all s in the place of s."""
    p = p * keep
    g = v.fma(decay, p, g)
    m = settled(v, v.fma(first, g - m, m))
    s = settled(v, v.fma(second, square(v, g) - s, s))
    largest = v.maximum(s, largest)
    return p - rate * (m / v.fma(v.sqrt(largest), scale, v.maximum(eps, smallest_root(v)))), m, s, largest


def amsgrad_twin(p, g, m, s, largest, hyper):
    _moments_and_step(p, g + hyper.decay * p, m, s, largest, hyper)


def amsgradw_twin(p, g, m, s, largest, hyper):
    p *= 1 - hyper.lr * hyper.decay
    _moments_and_step(p, g, m, s, largest, hyper)


def _moments_and_step(p, g, m, s, largest, hyper):
    m[...] = settled_twin(hyper.first * m + (1 - hyper.first) * g)
    s[...] = settled_twin(hyper.second * s + (1 - hyper.second) * g**2)
    largest[...] = np.maximum(largest, s)
    p -= hyper.lr * (m / (1 - hyper.first_power)) / (np.sqrt(largest / (1 - hyper.second_power)) + hyper.eps)


AMSGRAD = rule("amsgrad", 7, amsgrad, amsgrad_twin, states=3, numbers=("decay", "one", *MOMENTS), normalized=True)
AMSGRADW = rule("amsgradw", 8, amsgrad, amsgradw_twin, states=3, numbers=("zero", "keep", *MOMENTS), normalized=True)
