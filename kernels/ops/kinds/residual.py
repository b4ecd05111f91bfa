"""The sum of two outputs: ``Y = X1 + X2``."""

from typing import Any

from ..registry import Functions, kind


def functions() -> Functions:
    from .. import residual

    return Functions(residual.residual_forward, residual.residual_input_gradient)


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    return inputs[0] + inputs[1]


RESIDUAL = kind(
    "residual",
    3,
    functions=functions,
    effort=lambda in_features, out_features: 4 * out_features,
    twin=twin,
    sources=2,
)
