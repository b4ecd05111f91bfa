"""A network as data: one row of integers for each op, and where its arrays stand in the workspace."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..activations import ACTIVATIONS
from ..activations.registry import Activation
from ..ops.kinds import DENSE, SPARSE_DENSE
from ..ops.registry import Kind, Sizes
from ..simd.caches import caches
from ..simd.isa import isa
from .chunks import chunks_of, is_chunked

# Columns of a plan.
#   The op: addresses of its compiled functions, NOTHING where it has none. They differ in each process, and `ops.fill`
#   writes them: 0 is one that was not. KIND: its code in the table of kinds.
#   SOURCE, SOURCE2: the rows of the plan whose output it reads, above its own; BATCH_ROWS is the batch, and stands in
#   SOURCE2 where it reads one alone. IN, OUT: its columns. DEPTH, ACROSS: rows and columns of its weight matrix; DEPTH
#   is 0 without one, and ACROSS is OUT for most kinds. FLAGS: see below. EFFORT: floating-point operations of a pass
#   over one row, as `tasks.worth` counts them; that of a row that reads a sparse batch is the batch's (`set_stored`).
#   MEMBERS: how many rows of its output there are for each row of the batch, the same for all below a row that has more
#   than its source.
#   EXCHANGED: how many numbers a core fetches for its weight gradient from another that has made a row of the batch.
#   Places in bytes, ABSENT for none: W and B, weights and bias, from the frame's PARAMS; DW and DB, their gradients,
#   from its GRADS; A, SLOPE, D, SAVED and PARTIALS, the output, its stored slope, its gradient dz, what it saves of
#   each row and partial sums of the weight gradient, from its WORK. Rows of A, SLOPE and D stand LD elements apart.
#   ACTIVATION: the code of g. FINISH and DIFFERENTIATE, flags of `simd.microkernel` that make g and g' part of a
#   product; and the addresses of what makes them in memory, ACTIVATE and APPLY_SLOPE.
#   ATTRIBUTES: the first of two columns with the op's own numbers, the bits of a float64 each. TABLE: the address of
#   its own integers.
#   SUMS, JOIN, SUMS_BACK, JOIN_BACK: addresses of what a joint has, a row whose op couples those of the batch, before
#   FORWARD and INPUT_GRADIENT; TRACK that of what takes a batch's statistics into its buffers: see
#   `ops.registry.Functions`. BUFFERS: where these are: a place in the model's buffers until `place_buffers` makes an
#   address of it; ABSENT for none.
(
    FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, JOIN, KIND, SOURCE, SOURCE2, IN, OUT, DEPTH, ACROSS, FLAGS, EFFORT,
    EXCHANGED, W, B, DW, DB, A, SLOPE, D, SAVED, PARTIALS, LD, ACTIVATION, FINISH, DIFFERENTIATE, ACTIVATE, APPLY_SLOPE,
    ATTRIBUTES, SECOND_ATTRIBUTE, TABLE, SUMS, SUMS_BACK, JOIN_BACK, TRACK, BUFFERS, MEMBERS, COLUMNS,
) = range(39)  # fmt: skip
NOTHING, ABSENT, BATCH_ROWS = -1, -1, -1
# FLAGS. TURNED: the weights stand as (ACROSS, DEPTH), as PyTorch has them. ROOMY: rows of A, SLOPE and D have room up
# to whole vectors. ADD and ADD2: what is written to the gradient of SOURCE or SOURCE2 is added to what stands there, as
# another row that reads the same was first; LAST and LAST2: no other comes after, so that g' of the source is applied.
# FROZEN: its parameters stay as they are. ABOVE_FROZEN: it reads rows, and none of them, nor what they read, has
# parameters that training changes. `ops.fill` leaves out the functions that are not wanted then.
TURNED, ROOMY, ADD, LAST, ADD2, LAST2 = 1, 2, 4, 8, 16, 32
FROZEN, ABOVE_FROZEN = 256, 512
# Entries of a layout: places in the workspace, in bytes, of a gathered batch (of a sparse one: of where each row's
# numbers begin and end) and of sums of squares; how many rows it holds and its size, in elements; whether training
# goes `BY_ROWS` (see `passes`); and which rows of the plan are the first and the last joint (see `segments`): the
# number of its rows, and -1, where no op couples the rows of a batch.
X, TARGETS, SAMPLE_WEIGHT, NORMS, CAPACITY, SIZE, BY_ROWS, FIRST_JOINT, LAST_JOINT, ENTRIES = range(10)
# The sum of squares of all gradients is made of those of so many numbers each.
NORM_BLOCK = 1 << 14
# Parameters of so many bytes are at home in the second-level cache of each core.
SMALL = caches()[2]
# What a stored number times a number of W counts for as floating-point operations, and an element of dW that is
# written: the time is that of the caches.
STORED_WORK, WRITTEN_WORK = 6, 8


class Layer(NamedTuple):
    """A layer as the planner sees it.

    sources : the rows of the plan that it reads, BATCH_ROWS for the batch; without any, the one above
    attributes : the numbers of its own that its kind has; in place of one that differs from step to step, what
        says it: the plan has NaN there until a step writes it (NUMBERS in `frame`)
    table : the integers of its own, where its kind has any; who makes plans of it keeps them alive
    trainable : whether training changes its parameters
    affine : False for one without the parameters that its kind may be without
    """

    in_features: int
    out_features: int
    activation: Activation = ACTIVATIONS["identity"]
    bias: bool = False
    kind: Kind = DENSE
    sources: tuple[int, ...] = ()
    attributes: tuple[Any, ...] = ()
    table: np.ndarray | None = None
    trainable: bool = True
    affine: bool = True

    @property
    def sizes(self) -> Sizes:
        """What it takes."""
        kind, outs = self.kind, self.out_features
        if kind.sizes is not None:
            return kind.sizes(self)
        assert kind.effort is not None
        depth = kind.depth(self.in_features) if self.affine else 0
        return Sizes(depth, outs, kind.saved, kind.effort(self.in_features, outs))

    @property
    def parameters(self) -> int:
        """How many parameters it has."""
        depth, across, *_ = self.sizes
        return parameter_count(depth, across, self.bias)

    @property
    def buffers(self) -> int:
        """How many times 8 bytes its buffers take."""
        return len(self.kind.buffers) * self.out_features


def leading_dimension(features: int, itemsize: int) -> int:
    """Return how far apart the rows of an activation stand: whole vectors, and not a large power of two.

    Rows a multiple of 1024 bytes apart would compete for the same few lines of the first-level cache.
    """
    lanes = isa().lanes(itemsize)
    ld = -(-max(features, 1) // lanes) * lanes
    return ld + lanes if ld * itemsize % 1024 == 0 else ld


def parameter_count(depth: int, across: int, bias: bool) -> int:
    """Return the number of parameters of a layer with so many rows of weights."""
    return (depth + bias) * across


def gradient_chunks(batch: int, depth: int, across: int) -> int:
    """Return how many partial sums make a weight gradient."""
    return chunks_of(batch) if is_chunked(depth, across) else 1


def partials_size(depth: int, across: int, batch: int) -> int:
    """Return the elements that the partial sums of a weight gradient take; `batch` counts the rows of all members."""
    chunks = gradient_chunks(batch, depth, across) if depth > 0 else 1
    return chunks * parameter_count(depth, across, True) if chunks > 1 else 0


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
    """Return the plan of some layers, without places in a workspace and addresses of compiled functions.

    The parameters of a layer follow those of the one before: W, (depth, across), then b. So do the buffers.
    """
    plan = np.zeros((len(layers), COLUMNS), np.int64)
    place = place_of_buffers = 0
    for i, (row, layer, members) in enumerate(zip(plan, layers, members_of(layers), strict=True)):
        kind, outs, (depth, across, _, effort) = layer.kind, layer.out_features, layer.sizes
        row[[IN, OUT, DEPTH, ACROSS]] = layer.in_features, outs, depth, across
        row[LD] = leading_dimension(outs, itemsize)
        row[[KIND, ACTIVATION, FLAGS, SAVED]] = kind.code, layer.activation.code, ROOMY, ABSENT
        row[MEMBERS] = members
        row[[EFFORT, EXCHANGED]] = effort * members, kind.exchanged * row[LD] * members
        row[[SOURCE, SOURCE2]] = *sources_of(layer, i), *[BATCH_ROWS] * (2 - kind.sources)
        attributes = [value if isinstance(value, (int, float, np.number)) else np.nan for value in layer.attributes]
        row[ATTRIBUTES : ATTRIBUTES + len(attributes)].view(np.float64)[:] = attributes
        row[TABLE] = 0 if layer.table is None else layer.table.ctypes.data
        row[[W, DW]] = place
        row[[B, DB]] = place + depth * across * itemsize if layer.bias else ABSENT
        row[BUFFERS] = place_of_buffers if layer.buffers else ABSENT
        place += layer.parameters * itemsize
        place_of_buffers += layer.buffers * 8
    plan[:, FLAGS] |= frozen_flags(layers)
    return plan


def place_buffers(plan: np.ndarray, buffers: np.ndarray) -> None:
    """Write into a plan where the buffers of its layers are; keep them alive."""
    plan[plan[:, BUFFERS] != ABSENT, BUFFERS] += buffers.ctypes.data


def frozen_flags(layers: Sequence[Layer]) -> list[int]:
    """Return of each row FROZEN and ABOVE_FROZEN, where they hold."""
    changes: list[bool] = []  # whether training changes parameters of a row, or of those that it reads
    found = []
    for i, layer in enumerate(layers):
        rows = [source for source in sources_of(layer, i) if source != BATCH_ROWS]
        below = any(changes[source] for source in rows)
        changes.append(below or (layer.trainable and layer.parameters > 0))
        found.append((0 if layer.trainable else FROZEN) | (ABOVE_FROZEN if rows and not below else 0))
    return found


def sources_of(layer: Layer, i: int) -> tuple[int, ...]:
    """Return the rows that row i of a plan reads."""
    return layer.sources or (i - 1,)


def members_of(layers: Sequence[Layer]) -> list[int]:
    """Return how many rows the output of each layer has for a row of the batch."""
    found: list[int] = []
    for i, layer in enumerate(layers):
        first = sources_of(layer, i)[0]
        below = 1 if first == BATCH_ROWS else found[first]
        found.append(below * int(layer.attributes[0]) if layer.kind.spreads else below)
    return found


def make_graph(layers: Sequence[Layer], itemsize: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `make_rows` of layers, with the flags of who reads what; and which rows only the next one reads."""
    check_graph(layers)
    plan = make_rows(layers, itemsize)
    readers: dict[int, list[tuple[int, int]]] = {}  # of each row, in the order of the way back
    for i in reversed(range(len(layers))):
        for place, source in enumerate(sources_of(layers[i], i)):
            readers.setdefault(source, []).append((i, place))
    for found in readers.values():
        for i, place in found[1:]:
            plan[i, FLAGS] |= (ADD, ADD2)[place]
        i, place = found[-1]
        plan[i, FLAGS] |= (LAST, LAST2)[place]
    return plan, np.array([[i for i, _ in readers.get(k, [])] == [k + 1] for k in range(len(layers))])


def check_graph(layers: Sequence[Layer]) -> None:
    """Raise a ValueError where layers are no network that a plan can run."""
    if not layers:
        raise ValueError("a plan expects a layer that computes something, got none")
    read: set[int] = set()
    for i, layer in enumerate(layers):
        kind, sources = layer.kind, sources_of(layer, i)
        if any(source == BATCH_ROWS and kind.sparse != layers[0].kind.sparse for source in sources):
            raise ValueError(
                f"a plan expects the batch to be sparse for all layers or none, got {kind.name} at row {i}"
            )
        if kind.sparse and sources != (BATCH_ROWS,):
            raise ValueError(f"{kind.name} expects to read the batch at row {i}, got {sources}")
        if len(sources) != kind.sources or not all(BATCH_ROWS <= source < i for source in sources):
            raise ValueError(f"{kind.name} expects {kind.sources} sources above row {i}, got {sources}")
        found = [layers[0].in_features if source < 0 else layers[source].out_features for source in sources]
        if any(width != layer.in_features for width in found):
            raise ValueError(f"{kind.name} expects sources of {layer.in_features} columns at row {i}, got {found}")
        if len(layer.attributes) != len(kind.numbers) or (layer.activation.code and not kind.activates):
            raise ValueError(
                f"{kind.name} expects {len(kind.numbers)} numbers and no activation at row {i}, got {layer}"
            )
        if layer.bias and not kind.bias:
            raise ValueError(f"{kind.name} expects no bias at row {i}, got {layer}")
        if (not layer.affine and not kind.affine) or (kind.affine and layer.affine != layer.bias):
            raise ValueError(
                f"{kind.name} expects weights and a bias, or neither where it may, at row {i}, got {layer}"
            )
        read.update(sources)
    if unread := set(range(len(layers) - 1)) - read:
        raise ValueError(f"a plan expects each row but the last to be read, got none that reads {sorted(unread)}")
    check_members(layers)


def check_members(layers: Sequence[Layer]) -> None:
    """Raise a ValueError where the rows of layers have not as many members as they need."""
    members = members_of(layers)
    for i, layer in enumerate(layers):
        kind, found = layer.kind, {1 if source < 0 else members[source] for source in sources_of(layer, i)}
        wanted = int(layer.attributes[0]) if kind.each_member else min(found)
        if kind.spreads or kind.couples_rows:
            wanted = 1
        if found != {wanted}:
            raise ValueError(
                f"{kind.name} expects rows of {wanted} member{'s' * (wanted > 1)} at row {i}, got "
                f"{' and '.join(map(str, sorted(found)))}"
            )


def on_sparse(layers: Sequence[Layer]) -> list[Layer] | None:
    """Return the layers as they are for a sparse batch; None where others than dense ones read the batch."""
    found = []
    for i, layer in enumerate(layers):
        if BATCH_ROWS in sources_of(layer, i):
            if layer.kind is not DENSE:
                return None
            layer = layer._replace(kind=SPARSE_DENSE)
        found.append(layer)
    return found


def set_stored(plan: np.ndarray, stored: int, rows: int, batch: int | None = None) -> None:
    """Write into a plan what a pass over a row of a sparse batch takes.

    stored, rows : how many numbers the matrix has in so many rows
    batch : rows of a training step, which writes dW
    """
    for row in plan[plan[:, KIND] == SPARSE_DENSE.code]:
        effort = STORED_WORK * row[OUT] * stored / rows
        if batch is not None:
            effort += WRITTEN_WORK * row[OUT] * row[DEPTH] / batch
        row[EFFORT] = int(effort) + 1


def without_training(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers that a prediction runs: who reads one that only training has reads its source.

    Some have another kind in a prediction.
    """
    check_graph(layers)
    rows: dict[int, int] = {BATCH_ROWS: BATCH_ROWS}
    kept: list[Layer] = []
    for i, layer in enumerate(layers):
        sources = tuple(rows[source] for source in sources_of(layer, i))
        if layer.kind.only_training:
            rows[i] = sources[0]
        else:
            rows[i] = len(kept)
            kept.append(layer._replace(sources=sources, kind=layer.kind.prediction or layer.kind))
    return kept


def make_plan(
    layers: Sequence[Layer], itemsize: int, capacity: int, *, train: bool, target_width: int = 0, keeps: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Lay out a network for batches of up to `capacity` rows.

    Parameters
    ----------
    train
        Whether gradients are wanted. Without, layers that only training has are left out, two buffers take turns
        holding the outputs that only the next layer reads, and the last layer's output goes to an array of the
        caller's, without room: `predict` writes its A.
    target_width
        Columns of a gathered batch of targets; 0 for class labels.
    keeps
        Whether no gradient takes the place of an output, so that a way back may follow another.

    Returns
    -------
    plan, layout
        int64 arrays; see the constants above. `ops.fill` has yet to write the addresses of compiled functions, and
        `place_buffers` those of buffers.
    """
    if not train:
        layers = without_training(layers)
    plan, only_next = make_graph(layers, itemsize)
    last = np.arange(len(plan)) == len(plan) - 1
    layout = np.zeros(ENTRIES, np.int64)
    arena = _Arena(itemsize)
    for row, layer in zip(plan, layers, strict=True):
        if layer.sizes.saved:
            row[SAVED] = arena.take(capacity * row[MEMBERS] * layer.sizes.saved)
        if train and (numbers := layer.kind.saved_of_columns(capacity)):
            row[SAVED] = arena.take(8 // itemsize * row[OUT] * numbers)
    if train:
        for row, layer in zip(plan, layers, strict=True):
            rows = capacity * row[MEMBERS]
            row[A] = arena.take(rows * row[LD])
            if layer.activation.stores_slope:
                row[SLOPE] = arena.take(rows * row[LD])
            row[PARTIALS] = arena.take(partials_size(row[DEPTH], row[ACROSS], capacity * plan[-1, MEMBERS]))
        size = sum(layer.parameters for layer in layers) * itemsize
        joints = [i for i, layer in enumerate(layers) if layer.kind.couples_rows]
        layout[[FIRST_JOINT, LAST_JOINT]] = (joints[0], joints[-1]) if joints else (len(layers), -1)
        layout[BY_ROWS] = size <= SMALL
        if layout[BY_ROWS] or keeps:  # by rows all dz are there before the first weight gradient
            for row in plan:
                row[D] = arena.take(capacity * row[MEMBERS] * row[LD])
        else:
            # When the dz of a row that only the next one reads is written, the next one's output has been read for the
            # last time.
            room = plan[:, LD] * plan[:, MEMBERS]
            fits = only_next & np.append(room[:-1] <= room[1:], False)
            plan[:-1, D] = plan[1:, A]
            passing = only_next | last
            _take_turns(plan, D, arena, capacity, passing & ~fits)
            _take_each(plan, D, arena, capacity, ~passing)
        layout[X] = arena.take(capacity * (16 // itemsize if layers[0].kind.sparse else layers[0].in_features))
        layout[TARGETS] = arena.take(capacity * target_width)
        layout[SAMPLE_WEIGHT] = arena.take(capacity)
        layout[NORMS] = arena.take(8 // itemsize * (size // itemsize // NORM_BLOCK + 1))
    else:
        plan[-1, LD] = plan[-1, OUT]
        plan[-1, FLAGS] &= ~ROOMY
        _take_turns(plan, A, arena, capacity, only_next)
        _take_each(plan, A, arena, capacity, ~(only_next | last))
    layout[CAPACITY], layout[SIZE] = capacity, arena.size // itemsize
    return plan, layout


def _take_turns(plan: np.ndarray, column: int, arena: _Arena, capacity: int, which: np.ndarray) -> None:
    """Give neighbours among the rows `which` different buffers, two in all."""
    for parity in (0, 1):
        layers = np.flatnonzero(which & (np.arange(len(plan)) % 2 == parity))
        if len(layers):
            plan[layers, column] = arena.take(capacity * int((plan[layers, LD] * plan[layers, MEMBERS]).max()))


def _take_each(plan: np.ndarray, column: int, arena: _Arena, capacity: int, which: np.ndarray) -> None:
    """Give each of the rows `which` a buffer of its own: they are read later than by the next row."""
    for i in np.flatnonzero(which):
        plan[i, column] = arena.take(capacity * int(plan[i, LD] * plan[i, MEMBERS]))
