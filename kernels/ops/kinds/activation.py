"""An activation on its own: ``Y = g(X)``. After a product it becomes part of that, see `run.fused`."""

from typing import Any

from ..registry import compiled, kind


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    return inputs[0]


ACTIVATION = kind(
    "activation",
    7,
    functions=compiled("..activation", __package__, "activation_forward", "activation_input_gradient"),
    effort=lambda in_features, out_features: 16 * out_features,
    twin=twin,
    activates=True,
)
