"""The dense layer: ``Z = X @ W + b``."""

from typing import Any

from ..registry import compiled, kind


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    return inputs[0] @ w + b


DENSE = kind(
    "dense",
    0,
    functions=compiled("..dense", __package__, "dense_forward", "dense_input_gradient", "dense_weight_gradient"),
    effort=lambda in_features, out_features: 2 * in_features * out_features,
    twin=twin,
    depth=lambda in_features: in_features,
    exchanged=2,
    bias=True,
    activates=True,
)
