"""A network as data: one row of integers for each layer, and where its arrays stand in the workspace."""

from collections.abc import Sequence

import numpy as np

from ..activations import FIRST_STORED_SLOPE
from ..ops.dense import gradient_chunks
from ..simd.caches import caches
from ..simd.isa import isa

# Columns of a plan. W and B are offsets in the parameters (B is -1 without a bias); A, SLOPE, D and PARTIALS in the
# workspace: the layer's output, its stored slope and the gradient dz, each (capacity, LD), and the partial sums of its
# weight gradient.
IN, OUT, ACTIVATION, W, B, A, SLOPE, D, LD, PARTIALS, COLUMNS = range(11)
# Entries of a layout: offsets in the workspace of a gathered batch; how many rows it holds and its size; and whether
# training goes `BY_ROWS` (see `passes`).
X, TARGETS, SAMPLE_WEIGHT, CAPACITY, SIZE, BY_ROWS, ENTRIES = range(7)
# Parameters of so many bytes are at home in the second-level cache of each core.
SMALL = caches()[2]


def leading_dimension(features: int, itemsize: int) -> int:
    """Return how far apart the rows of an activation stand: whole vectors, and not a large power of two.

    Rows a multiple of 1024 bytes apart would compete for the same few lines of the first-level cache.
    """
    lanes = isa().lanes(itemsize)
    ld = -(-max(features, 1) // lanes) * lanes
    return ld + lanes if ld * itemsize % 1024 == 0 else ld


def parameter_count(in_features: int, out_features: int, bias: bool) -> int:
    """Return the number of parameters of a dense layer."""
    return (in_features + bias) * out_features


class _Arena:
    """Hands out places in a flat workspace, each beginning at a cache line."""

    def __init__(self, itemsize: int) -> None:
        self.line = 64 // itemsize
        self.size = 0

    def take(self, elements: int) -> int:
        start = self.size
        self.size += -(-elements // self.line) * self.line
        return start


def make_plan(
    layers: Sequence[tuple[int, int, int, bool]], itemsize: int, capacity: int, *, train: bool, target_width: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Lay out a chain of dense layers for batches of up to `capacity` rows.

    Parameters
    ----------
    layers
        For each layer in_features, out_features, activation code, whether it has a bias. The parameters of a layer
        follow those of the one before: W, (in_features, out_features), then b.
    train
        Whether gradients are wanted. Without, two buffers take turns holding the activations, and the last layer's
        output goes to an array of the caller's (its A is 0).
    target_width
        Columns of a gathered batch of targets; 0 for class labels.

    Returns
    -------
    plan, layout
        int64 arrays; see the constants above. ``layout[SIZE]`` is the workspace's size in elements.
    """
    plan = np.zeros((len(layers), COLUMNS), np.int64)
    layout = np.zeros(ENTRIES, np.int64)
    arena = _Arena(itemsize)
    offset = 0
    for row, (in_features, out_features, code, bias) in zip(plan, layers, strict=True):
        row[[IN, OUT, ACTIVATION, W]] = in_features, out_features, code, offset
        row[B] = offset + in_features * out_features if bias else -1
        row[LD] = leading_dimension(out_features, itemsize)
        offset += parameter_count(in_features, out_features, bias)

    if train:
        for row in plan:
            row[A] = arena.take(capacity * row[LD])
            if row[ACTIVATION] >= FIRST_STORED_SLOPE:
                row[SLOPE] = arena.take(capacity * row[LD])
            row[PARTIALS] = arena.take(partials_size(row[IN], row[OUT], capacity))
        layout[BY_ROWS] = offset * itemsize <= SMALL
        if layout[BY_ROWS]:  # all dz are there before the first weight gradient
            for row in plan:
                row[D] = arena.take(capacity * row[LD])
        else:
            # When a layer's dz is written, the output of the layer above has been read for the last time.
            fits = np.append(plan[:-1, LD] <= plan[1:, LD], False)
            plan[:-1, D] = plan[1:, A]
            _take_turns(plan, D, arena, capacity, ~fits)
        layout[X] = arena.take(capacity * layers[0][0])
        layout[TARGETS] = arena.take(capacity * target_width)
        layout[SAMPLE_WEIGHT] = arena.take(capacity)
    else:
        _take_turns(plan, A, arena, capacity, np.arange(len(plan)) < len(plan) - 1)
    layout[CAPACITY], layout[SIZE] = capacity, arena.size
    return plan, layout


def _take_turns(plan: np.ndarray, column: int, arena: _Arena, capacity: int, which: np.ndarray) -> None:
    """Give neighbours among the layers `which` different buffers, two in all."""
    for parity in (0, 1):
        layers = np.flatnonzero(which & (np.arange(len(plan)) % 2 == parity))
        if len(layers):
            plan[layers, column] = arena.take(capacity * int(plan[layers, LD].max()))


def partials_size(in_features: int, out_features: int, batch: int) -> int:
    """Return the elements that the partial sums of a weight gradient take."""
    chunks = gradient_chunks.py_func(batch, in_features, out_features)
    return chunks * parameter_count(in_features, out_features, True) if chunks > 1 else 0
