"""Numerical embeddings by waves: ``A = [X, V cos(2 pi w x + b) + c]``, of each feature x by weights of its own.

With k frequencies and n features, a row of W has n numbers, one a feature: k rows of w, k of b, then V, a row for each
output of each frequency, and c, a row for each output. In A all columns of X come first, then the first output of
every feature, the second, and so on.
"""

from typing import Any

import numpy as np

from ...registry import Number
from ..registry import Sizes, compiled, kind

# Floating-point operations that a cosine and a sine take as long as
WAVE_WORK = 40


def outputs_of(in_features: int, out_features: int, features: int) -> int:
    """Return how many outputs each feature has."""
    return (out_features - in_features) // features


def sizes(layer: Any) -> Sizes:
    n, k = map(int, layer.attributes)
    outputs = outputs_of(layer.in_features, layer.out_features, n)
    return Sizes(2 * k + (k + 1) * outputs, n, 2 * k * n, k * n * (WAVE_WORK + 2 * outputs))


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    (x,), (n, k) = inputs, map(int, attributes)
    waves = np.cos(2 * np.pi * w[:k] * x[:, None, :n] + w[k : 2 * k])
    outputs = (len(w) - 2 * k) // (k + 1)
    linear = w[2 * k : 2 * k + k * outputs].reshape(k, outputs, n)
    found = np.einsum("rqi,qji->rji", waves, linear) + w[2 * k + k * outputs :]
    return np.concatenate([x, found.reshape(len(x), outputs * n)], axis=1)


PERIODIC = kind(
    "periodic",
    11,
    functions=compiled(
        "..periodic", __package__, "periodic_forward", "periodic_input_gradient", "periodic_weight_gradient"
    ),
    effort=None,
    sizes=sizes,  # saved: cosines and sines
    twin=twin,
    exchanged=10,  # with 16 frequencies, and four numbers in the place of one
    numbers=(
        Number("features", 1.0, "Columns of x, the first ones, that have waves."),
        Number("frequencies", 16.0, "Waves of each."),
    ),
)
