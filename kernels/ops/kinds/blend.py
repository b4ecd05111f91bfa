"""A mixture of two outputs, a share for each feature: ``Y = w * X1 + (1 - w) * X2``."""

from typing import Any

from ..registry import compiled, kind


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    return w * inputs[0] + (1 - w) * inputs[1]


BLEND = kind(
    "blend",
    8,
    functions=compiled("..blend", __package__, "blend_forward", "blend_input_gradient", "blend_weight_gradient"),
    effort=lambda in_features, out_features: 8 * out_features,
    twin=twin,
    depth=lambda in_features: 1,
    exchanged=3,
    sources=2,
)
