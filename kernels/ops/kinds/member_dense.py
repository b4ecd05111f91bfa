"""A dense layer of its own for each member: row m of k has ``A = X @ W[m] + b[m]``.

W has the rows of W[0], W[1] and so on, then one of b for each member.
"""

from typing import Any

import numpy as np

from ...registry import Number
from ..registry import Sizes, compiled, kind


def sizes(layer: Any) -> Sizes:
    members, ins, outs = int(layer.attributes[0]), layer.in_features, layer.out_features
    return Sizes(members * (ins + 1), outs, 0, 2 * ins * outs)


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    (x,), k = inputs, int(attributes[0])
    ins, outs = x.shape[1], w.shape[1]
    each = x.reshape(-1, k, ins), w[: k * ins].reshape(k, ins, outs)
    return (np.einsum("rki,kio->rko", *each) + w[k * ins :]).reshape(-1, outs)


MEMBER_DENSE = kind(
    "member_dense",
    15,
    functions=compiled(
        "..member_dense", __package__, "member_dense_forward", "member_dense_input_gradient",
        "member_dense_weight_gradient",
    ),
    effort=None,
    sizes=sizes,
    twin=twin,
    exchanged=2,
    numbers=(Number("members", 32.0, "Rows of each row of the batch."),),
    each_member=True,
)  # fmt: skip
