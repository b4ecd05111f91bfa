"""The dense layer: ``Z = X @ W + b``."""

from typing import Any

from ..registry import Functions, kind


def functions() -> Functions:
    from .. import dense

    return Functions(dense.dense_forward, dense.dense_input_gradient, dense.dense_weight_gradient)


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    return inputs[0] @ w + b


DENSE = kind(
    "dense",
    0,
    functions=functions,
    effort=lambda in_features, out_features: 2 * in_features * out_features,
    twin=twin,
    depth=lambda in_features: in_features,
    exchanged=2,
    activates=True,
)
