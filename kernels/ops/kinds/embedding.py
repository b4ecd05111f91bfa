"""Embedding: columns of codes give way to rows of tables, ``A = [other columns of X, W_1[code_1], ...]``."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..registry import Sizes, compiled, kind

# The integers of an embedding. CODED: columns of codes; RUNS: stretches of other columns; KEPT: how many columns these
# are; TABLE_ROWS: rows of all tables together. From FIRST_CODED on CODED_SIZE numbers for each column of codes, in the
# order of A: COLUMN, its place in X; CARDINALITY, how many codes there are; PLACE, where its table, (CARDINALITY, DIM),
# begins in W. Behind them two for each stretch: its first column, and how many it has.
CODED, RUNS, KEPT, TABLE_ROWS, FIRST_CODED = range(5)
COLUMN, CARDINALITY, PLACE, DIM, CODED_SIZE = range(5)


def embedding_table(
    in_features: int, cardinalities: Sequence[int], dims: Sequence[int], columns: Sequence[int]
) -> np.ndarray:
    """Return the integers of an embedding of `in_features` columns."""
    kept = [j for j in range(in_features) if j not in set(columns)]
    starts = [j for j in kept if j - 1 not in kept]
    runs = [(start, next(n for n in range(1, in_features + 1) if start + n not in kept)) for start in starts]
    places = np.cumsum([0, *(c * d for c, d in zip(cardinalities, dims, strict=True))])
    coded = zip(columns, cardinalities, places, dims, strict=False)
    numbers = [len(columns), len(runs), len(kept), sum(cardinalities)]
    return np.array([*numbers, *(n for four in coded for n in four), *(n for run in runs for n in run)], np.int64)


def coded_of(table: Any) -> Any:
    """Return the numbers of the columns of codes, (CODED, CODED_SIZE)."""
    return table[FIRST_CODED : FIRST_CODED + table[CODED] * CODED_SIZE].reshape(-1, CODED_SIZE)


def sizes(layer: Any) -> Sizes:
    coded = coded_of(layer.table)
    return Sizes(1, int(coded[:, CARDINALITY] @ coded[:, DIM]), len(coded), 4 * layer.out_features)


def twin(inputs: Any, w: Any, b: Any, table: Any, draw: Any) -> Any:
    (x,), coded = inputs, coded_of(table)
    rows = [
        w[0, place : place + cardinality * dim].reshape(cardinality, dim)[x[:, column].astype(int)]
        for column, cardinality, place, dim in coded
    ]
    return np.concatenate([np.delete(x, coded[:, COLUMN], axis=1), *rows], axis=1)


EMBEDDING = kind(
    "embedding",
    10,
    functions=compiled(
        "..embedding", __package__, "embedding_forward", "embedding_input_gradient", "embedding_weight_gradient"
    ),
    effort=None,
    sizes=sizes,  # saved: the codes
    twin=twin,
    exchanged=1,
)
