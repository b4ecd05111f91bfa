"""A chain of dense layers as data: its plans, and the memory that a call takes; `chain` computes it."""

from collections.abc import Sequence

import numpy as np

from ..ops.fill import fill
from .plan import (
    COLUMNS,
    FLAGS,
    IN,
    LD,
    OUT,
    ROOMY,
    SLOPE,
    TURNED,
    A,
    B,
    D,
    Layer,
    W,
    leading_dimension,
    make_graph,
    partials_size,
)


def make_chain(layers: Sequence[Layer], itemsize: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Lay out a chain.

    The places of the parameters have a list of their own, a weight's and a bias's for each layer, in bytes from an
    address that the caller names, ABSENT where there is none.

    Returns
    -------
    kept, passing
        Plans for a forward pass that a backward pass is to follow, and for one alone. A, SLOPE and D are in elements
        for each row of the batch: the output and its slope where they are kept, else one of two buffers that take
        turns; D is one of two such buffers, counted from where they begin.
    places
        Of the parameters if they stand one after another: W, (out, in), then b.
    kept_size, turns
        Elements of workspace for each row of a batch: what is kept, and the two buffers.
    """
    kept, _ = make_graph(layers, itemsize)
    kept[:, FLAGS] |= TURNED
    kept[-1, FLAGS] &= ~ROOMY  # the last layer's output is the caller's
    kept[-1, LD] = kept[-1, OUT]
    passing = kept.copy()
    places = kept[:, [W, B]].reshape(-1).copy()
    size = 0
    for i, (row, layer) in enumerate(zip(kept, layers, strict=True)):
        if i < len(layers) - 1:
            row[A], size = size, size + row[LD]
        if layer.activation.stores_slope:
            row[SLOPE], size = size, size + row[LD]
    even, odd = (max(kept[parity::2, LD], default=0) for parity in (0, 1))
    even = leading_dimension(int(even), itemsize)
    kept[1::2, D] = passing[1::2, A] = even
    return kept, passing, places, size, int(even + odd)


def fill_chain(kept: np.ndarray, passing: np.ndarray, dtype: np.dtype) -> None:
    """Write the addresses of compiled functions into a chain's plans."""
    fill(kept, dtype, train=True)
    fill(passing, dtype, train=False)


def chain_room(layers: int, itemsize: int) -> int:
    """Return the elements that the plan of a call takes."""
    return layers * COLUMNS * 8 // itemsize


def chain_partials(plan: np.ndarray, batch: int) -> int:
    """Return the elements that the partial sums of the weight gradients take."""
    return max(partials_size(int(row[IN]), int(row[OUT]), batch) for row in plan)
