"""The network of a table's features: dense layers, behind embeddings where features are codes."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from fastbp._base import check
from fastbp.nn.embedding import Embedding
from fastbp.nn.layer import Layer
from fastbp.nn.mlp import mlp_layers
from fastbp.nn.sequential import Sequential

MOST_NUMBERS = 8  # that a code becomes


def embedding_dims(cardinalities: Sequence[int]) -> list[int]:
    """Return how many numbers the codes of each column become: half as many as there are codes, 8 at most."""
    return [min(MOST_NUMBERS, (codes + 1) // 2) for codes in cardinalities]


def table_mlp(
    sizes: Sequence[int], cardinalities: Sequence[int], activation: str, *, rng: int, dtype: DTypeLike, **options: Any
) -> Sequential:
    """Make `fastbp.mlp` of these sizes and options; the last features are codes, of these cardinalities.

    Code 0 of each is what training did not have. Its numbers are 0, and stay so, as no training row has it.
    """
    features, *others = sizes
    generator = check.generator(rng, "mlp")  # one stream for all layers
    layers: list[Layer] = []
    if cardinalities:
        dims, codes = embedding_dims(cardinalities), range(features - len(cardinalities), features)
        embedding = Embedding(cardinalities, dims, list(codes), dtype=dtype, rng=generator)
        for weight in embedding.weights:
            weight[0] = 0.0
        layers.append(embedding)
        features += sum(dims) - len(dims)
    return Sequential(*layers, *mlp_layers([features, *others], activation, dtype=dtype, rng=generator, **options))
