"""The dense layer where the batch is sparse: ``Z = X @ W + b`` on the stored numbers of X alone."""

from typing import Any

from ..registry import compiled, kind


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    """Compute it row by row; inputs[0] is a dense array in which what is not stored is 0."""
    x = inputs[0]
    z = [row[row.nonzero()[0]] @ w[row.nonzero()[0]] for row in x]
    return (z if len(z) else x @ w) + b


SPARSE_DENSE = kind(
    "sparse_dense",
    4,
    functions=compiled("..sparse_dense", __package__, "sparse_dense_forward", None, "sparse_dense_weight_gradient"),
    effort=lambda in_features, out_features: 2 * in_features * out_features,
    twin=twin,
    depth=lambda in_features: in_features,
    exchanged=1,
    bias=True,
    activates=True,
    sparse=True,
)
