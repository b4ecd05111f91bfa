"""A network as data: one row of integers for each op, and where its arrays stand in the workspace."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..activations.registry import Activation
from ..simd.caches import caches
from ..simd.isa import isa
from .chunks import chunks_of, is_chunked

# Columns of a plan.
#   The op: addresses of its compiled functions, NOTHING where it has none. They differ in each process, and `ops.fill`
#   writes them: 0 is one that was not.
#   SOURCE, SOURCE2: the rows of the plan whose output it reads, above its own; BATCH_ROWS is the batch. IN, OUT: its
#   columns. DEPTH: rows of its weight matrix, 0 without one. FLAGS: see below. EFFORT: floating-point operations of a
#   pass over one row, as `tasks.worth` counts them.
#   Places in bytes, ABSENT for none: W and B, weights and bias, from the frame's PARAMS; DW and DB, their gradients,
#   from its GRADS; A, SLOPE, D and PARTIALS, the output, its stored slope, its gradient dz and partial sums of the
#   weight gradient, from its WORK. Rows of A, SLOPE and D stand LD elements apart.
#   ACTIVATION: the code of g. FINISH and DIFFERENTIATE, flags of `simd.microkernel` that make g and g' part of a
#   product; and the addresses of what makes them in memory, ACTIVATE and APPLY_SLOPE.
(
    FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, SOURCE, SOURCE2, IN, OUT, DEPTH, FLAGS, EFFORT, W, B, DW, DB, A, SLOPE, D,
    PARTIALS, LD, ACTIVATION, FINISH, DIFFERENTIATE, ACTIVATE, APPLY_SLOPE, COLUMNS,
) = range(25)  # fmt: skip
NOTHING, ABSENT, BATCH_ROWS = -1, -1, -1
# FLAGS. TURNED: the weights stand as (OUT, DEPTH), as PyTorch has them. ROOMY: rows of A, SLOPE and D have room up to
# whole vectors. ADD and ADD2: what is written to the gradient of SOURCE or SOURCE2 is added to what stands there, as
# another row that reads the same was first; LAST and LAST2: no other comes after, so that g' of the source is applied.
TURNED, ROOMY, ADD, LAST, ADD2, LAST2 = 1, 2, 4, 8, 16, 32
# Entries of a layout: places in the workspace, in bytes, of a gathered batch and of sums of squares; how many rows it
# holds and its size, in elements; and whether training goes `BY_ROWS` (see `passes`).
X, TARGETS, SAMPLE_WEIGHT, NORMS, CAPACITY, SIZE, BY_ROWS, ENTRIES = range(8)
# The sum of squares of all gradients is made of those of so many numbers each.
NORM_BLOCK = 1 << 14
# Parameters of so many bytes are at home in the second-level cache of each core.
SMALL = caches()[2]


class Layer(NamedTuple):
    """A dense layer as the planner sees it."""

    in_features: int
    out_features: int
    activation: Activation
    bias: bool


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


def gradient_chunks(batch: int, depth: int, outs: int) -> int:
    """Return how many partial sums make a weight gradient."""
    return chunks_of(batch) if is_chunked(depth, outs) else 1


def partials_size(in_features: int, out_features: int, batch: int) -> int:
    """Return the elements that the partial sums of a weight gradient take."""
    chunks = gradient_chunks(batch, in_features, out_features)
    return chunks * parameter_count(in_features, out_features, True) if chunks > 1 else 0


class _Arena:
    """Hands out places in a flat workspace, in bytes, each beginning at a cache line."""

    def __init__(self, itemsize: int) -> None:
        self.itemsize = itemsize
        self.size = 0

    def take(self, elements: int) -> int:
        start = self.size
        self.size += -(-elements * self.itemsize // 64) * 64
        return start


def make_rows(layers: Sequence[Layer], itemsize: int) -> np.ndarray:
    """Return the plan of a chain of dense layers, without places in a workspace and addresses of compiled functions.

    The parameters of a layer follow those of the one before: W, (in_features, out_features), then b.
    """
    plan = np.zeros((len(layers), COLUMNS), np.int64)
    place = 0
    for i, (row, layer) in enumerate(zip(plan, layers, strict=True)):
        ins, outs = layer.in_features, layer.out_features
        row[[SOURCE, SOURCE2, IN, OUT, DEPTH, EFFORT]] = i - 1, BATCH_ROWS, ins, outs, ins, 2 * ins * outs
        row[FLAGS], row[ACTIVATION] = ROOMY | LAST, layer.activation.code
        row[LD] = leading_dimension(outs, itemsize)
        row[[W, DW]] = place
        row[[B, DB]] = place + ins * outs * itemsize if layer.bias else ABSENT
        place += parameter_count(ins, outs, layer.bias) * itemsize
    return plan


def make_plan(
    layers: Sequence[Layer], itemsize: int, capacity: int, *, train: bool, target_width: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Lay out a chain of dense layers for batches of up to `capacity` rows.

    Parameters
    ----------
    train
        Whether gradients are wanted. Without, two buffers take turns holding the activations, and the last layer's
        output goes to an array of the caller's, without room: `predict` writes its A.
    target_width
        Columns of a gathered batch of targets; 0 for class labels.

    Returns
    -------
    plan, layout
        int64 arrays; see the constants above. `ops.fill` has yet to write the addresses of compiled functions.
    """
    plan = make_rows(layers, itemsize)
    layout = np.zeros(ENTRIES, np.int64)
    arena = _Arena(itemsize)
    if train:
        size = 0
        for row, layer in zip(plan, layers, strict=True):
            row[A] = arena.take(capacity * row[LD])
            if layer.activation.stores_slope:
                row[SLOPE] = arena.take(capacity * row[LD])
            row[PARTIALS] = arena.take(partials_size(row[IN], row[OUT], capacity))
            size += parameter_count(layer.in_features, layer.out_features, layer.bias) * itemsize
        layout[BY_ROWS] = size <= SMALL
        if layout[BY_ROWS]:  # all dz are there before the first weight gradient
            for row in plan:
                row[D] = arena.take(capacity * row[LD])
        else:
            # When a layer's dz is written, the output of the layer above has been read for the last time.
            fits = np.append(plan[:-1, LD] <= plan[1:, LD], False)
            plan[:-1, D] = plan[1:, A]
            _take_turns(plan, D, arena, capacity, ~fits)
        layout[X] = arena.take(capacity * layers[0].in_features)
        layout[TARGETS] = arena.take(capacity * target_width)
        layout[SAMPLE_WEIGHT] = arena.take(capacity)
        layout[NORMS] = arena.take(8 // itemsize * (size // itemsize // NORM_BLOCK + 1))
    else:
        plan[-1, LD] = plan[-1, OUT]
        plan[-1, FLAGS] &= ~ROOMY
        _take_turns(plan, A, arena, capacity, np.arange(len(plan)) < len(plan) - 1)
    layout[CAPACITY], layout[SIZE] = capacity, arena.size // itemsize
    return plan, layout


def _take_turns(plan: np.ndarray, column: int, arena: _Arena, capacity: int, which: np.ndarray) -> None:
    """Give neighbours among the layers `which` different buffers, two in all."""
    for parity in (0, 1):
        layers = np.flatnonzero(which & (np.arange(len(plan)) % 2 == parity))
        if len(layers):
            plan[layers, column] = arena.take(capacity * int(plan[layers, LD].max()))
