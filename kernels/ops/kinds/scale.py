"""A factor for each feature: ``Y = X * w``."""

from typing import Any

from ...registry import Public
from ..registry import compiled, kind


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    return inputs[0] * w


SCALE = kind(
    "scale",
    6,
    functions=compiled("..scale", __package__, "scale_forward", "scale_input_gradient", "scale_weight_gradient"),
    effort=lambda in_features, out_features: 4 * out_features,
    twin=twin,
    depth=lambda in_features: 1,
    exchanged=2,
    public=Public(
        "Scale",
        "A learned factor for each feature: ``y = x * weight``",
        more="All are 1 at first. As a first layer it learns how much each column of the data counts, as in RealMLP "
        "(Holzmüller, Grinsztajn and Steinwart 2024).",
        torch="Scale",
    ),
)
