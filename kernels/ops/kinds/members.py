"""Members of each row: ``A[i * k + m] = X[i] * w[m]``, k rows for each row, each scaled in its own way."""

from typing import Any

from ...registry import Number
from ..registry import Sizes, compiled, kind


def sizes(layer: Any) -> Sizes:
    return Sizes(int(layer.attributes[0]), layer.out_features, 0, 4 * layer.out_features)


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    (x,) = inputs
    return (x[:, None] * w).reshape(-1, x.shape[1])


MEMBERS = kind(
    "members",
    14,
    functions=compiled(
        "..members", __package__, "members_forward", "members_input_gradient", "members_weight_gradient"
    ),
    effort=None,
    sizes=sizes,
    twin=twin,
    exchanged=2,
    numbers=(Number("members", 32.0, "Rows that each row becomes."),),
    spreads=True,
)
