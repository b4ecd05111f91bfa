"""Lion (Chen et al. 2023): steps of one size by the sign of a mean gradient, decay apart from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from .registry import FIRST, LR, WEIGHT_DECAY, rule
from .settle import settled, settled_twin

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def lion(v: Lanes, p: Vec, g: Vec, m: Vec, lr: Vec, keep: Vec, less_first: Vec, less_second: Vec) -> tuple[Vec, Vec]:
    mean = v.fma(less_first, g - m, m)
    sign = v.select(mean > 0.0, 1.0, v.select(mean < 0.0, -1.0, mean))  # NaN stays
    return v.fma(-lr, sign, p * keep), settled(v, v.fma(less_second, g - m, m))


def lion_twin(p, g, m, hyper):
    sign = np.sign(hyper.first * m + (1 - hyper.first) * g)
    p -= hyper.lr * (sign + hyper.decay * p)
    m[...] = settled_twin(hyper.second * m + (1 - hyper.second) * g)


LION = rule(
    "lion",
    6,
    lion,
    lion_twin,
    states=1,
    numbers=("lr", "keep", "less_first", "less_second"),
    normalized=True,
    chosen=(
        Number("lr", 1e-4, "Learning rate: the size of each step.", place=LR),
        Number(
            "betas",
            (0.9, 0.99),
            "How much of the mean gradient the step keeps whose sign is taken, and how much the mean itself.",
            below=1.0,
            place=FIRST,
        ),
        Number("weight_decay", 0.0, "Shrinks the weights by ``lr * weight_decay`` a step.", place=WEIGHT_DECAY),
    ),
    public=Public("Lion", "Lion (Chen et al., 2023): each step is ``lr`` times the sign of a mean gradient"),
)
