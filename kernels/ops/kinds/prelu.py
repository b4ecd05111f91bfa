"""A rectifier with a slope for each feature, or one for all: ``Y = X`` above zero, ``w * X`` below."""

from typing import Any

import numpy as np

from ..registry import Sizes, compiled, kind


def twin(inputs: Any, w: Any, b: Any, table: Any, draw: Any) -> Any:
    return np.where(inputs[0] > 0, inputs[0], inputs[0] * w)


PRELU = kind(
    "prelu",
    9,
    functions=compiled("..prelu", __package__, "prelu_forward", "prelu_input_gradient", "prelu_weight_gradient"),
    effort=None,
    twin=twin,
    # The table of a layer is the number of its slopes.
    sizes=lambda layer: Sizes(1, int(layer.table[0]), 0, 6 * layer.out_features),
    exchanged=2,
)
