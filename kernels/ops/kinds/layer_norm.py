"""Layer normalization: ``Y = (X - mean) / sqrt(var + eps) * w + b``, mean and variance of each row."""

from typing import Any

import numpy as np

from ...registry import Number, Public
from ..registry import compiled, kind


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    (x,), (eps,) = inputs, attributes
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + eps) * w + b


LAYER_NORM = kind(
    "layer_norm",
    1,
    functions=compiled(
        "..layer_norm", __package__, "layer_norm_forward", "layer_norm_input_gradient", "layer_norm_weight_gradient"
    ),
    effort=lambda in_features, out_features: 16 * out_features,
    twin=twin,
    depth=lambda in_features: 1,
    exchanged=2,
    saved=2,  # mean and 1 / sqrt(var + eps)
    numbers=(Number("eps", 1e-5, "Added to the variance."),),
    bias=True,
    public=Public(
        "LayerNorm",
        "Layer normalization: ``y = (x - mean) / sqrt(var + eps) * weight + bias``, mean and variance of each row",
        more="The variance is that of a population, as PyTorch's.",
        features="normalized_shape",
        torch="LayerNorm",
    ),
)
