"""The sum of two outputs: ``Y = X1 + X2``."""

from typing import Any

from ..registry import compiled, kind


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    return inputs[0] + inputs[1]


RESIDUAL = kind(
    "residual",
    3,
    functions=compiled("..residual", __package__, "residual_forward", "residual_input_gradient"),
    effort=lambda in_features, out_features: 4 * out_features,
    twin=twin,
    sources=2,
)
