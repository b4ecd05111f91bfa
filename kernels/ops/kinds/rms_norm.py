"""Normalization by the root of the mean square: ``Y = X / sqrt(mean(X**2) + eps) * w``, the mean of each row."""

from typing import Any

import numpy as np

from ...registry import Number, Public
from ..registry import compiled, kind


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    (x,), (eps,) = inputs, attributes
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + eps) * w


RMS_NORM = kind(
    "rms_norm",
    5,
    functions=compiled(
        "..rms_norm", __package__, "rms_norm_forward", "rms_norm_input_gradient", "rms_norm_weight_gradient"
    ),
    effort=lambda in_features, out_features: 12 * out_features,
    twin=twin,
    depth=lambda in_features: 1,
    exchanged=2,
    saved=1,  # 1 / sqrt(mean(x**2) + eps)
    numbers=(
        Number(
            "eps",
            None,
            "Added to the mean square; by default ``numpy.finfo(dtype).eps``, as in PyTorch.",
            none=lambda dtype: float(np.finfo(dtype).eps),
        ),
    ),
    public=Public(
        "RMSNorm",
        "Normalization by the root of the mean square: ``y = x / sqrt(mean(x**2) + eps) * weight``",
        more="The mean is that of each row.",
        features="normalized_shape",
        torch="RMSNorm",
    ),
)
