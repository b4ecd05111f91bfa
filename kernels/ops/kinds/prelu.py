"""A rectifier with a slope for each feature: ``Y = X`` above zero, ``w * X`` below."""

import math
from typing import Any

import numpy as np

from ...registry import Number, Public
from ..registry import compiled, kind


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    return np.where(inputs[0] > 0, inputs[0], inputs[0] * w)


PRELU = kind(
    "prelu",
    9,
    functions=compiled("..prelu", __package__, "prelu_forward", "prelu_input_gradient", "prelu_weight_gradient"),
    effort=lambda in_features, out_features: 6 * out_features,
    twin=twin,
    depth=lambda in_features: 1,
    exchanged=2,
    begins=Number("init", 0.25, "What the slopes begin as.", least=-math.inf),
    public=Public(
        "PReLU",
        "A rectifier with a learned slope for each feature: ``y = x`` above zero, ``weight * x`` below",
        more="Of PyTorch's two forms it is the one with a slope for each channel, `num_parameters` of them.",
        features="num_parameters",
        torch="PReLU",
    ),
)
