"""Training steps of a network in one compiled call: forward, loss, backward, update, over a plan and flat arrays.

Nothing here depends on the architecture, the loss or the optimizer but through the plan's integers and the frame's
addresses, so one compiled artefact serves them all.
"""

import math

from numba import carray, types

from ..compile.functions import entry, kernel
from ..compile.outlined import outlined
from ..compile.pointers import at, doubles_at, pointer_to
from ..compile.records import INT, INTS, POINTER, record
from ..compile.signature import Doubles2, Int, Ints, Reals, Reals2
from ..linalg.tasks import MOVED, share, worth
from ..losses.labels import counted, first_wrong
from ..losses.registry import IGNORE_INDEX
from ..losses.scales import row_scales, total_loss
from ..ops.call import ROWS as SPAN_ROWS
from ..ops.call import call_op, members_of, new_span, row_at
from ..optimizers.registry import FACTOR
from ..simd.rows import added_up
from .batch import Batch, couples, rows_of_batch
from .codes import first_wrong_of_batch
from .frame import (
    BATCH,
    BATCH_LABELS,
    CLASS_WEIGHT,
    CLASS_WEIGHTS,
    CODES,
    COUNTER,
    FINITE,
    FIRST_STEP,
    HITS,
    HOOK,
    HYPER,
    LABELLED,
    LAST_STEP,
    LAYERS,
    LAYOUT,
    NUMBERED,
    NUMBERS,
    OPTIONS,
    PARAMETERS,
    PLACES,
    RECORD,
    RECORD_COUNTED,
    RECORD_DIVISOR,
    RECORD_HITS,
    RECORD_LOSS,
    RECORD_ROWS,
    ROOM_ROWS,
    ROWS,
    SETTINGS,
    SPLIT,
    STORED,
    TASKS,
    TERMS,
    WORK,
)
from .gradients import add_all_chunks, chunks_of, update_all
from .groups import begin_update
from .passes import (
    Chunks,
    backward_pass,
    chunks_at_once,
    most_pieces,
    pass_over_chunks,
    pass_over_sums,
    pass_over_weights,
    sums_apart,
    worth_sharing,
)
from .plan import BY_ROWS, IN, OUT, SAMPLE_WEIGHT
from .segments import ALL, FORTH, LOSS, Segment, backward_from_last, forward_to_last, pass_over_rows
from .sparse import place_rows

# The samples of a run. labels: class labels, where the loss takes them; targets: `width` numbers a row, for the others.
# weight: of the samples, `weights` of them or none. order: `ordered` numbers of samples; step s takes a batch of them
# from s * BATCH on. Without, the one step takes the samples as they are.
Samples = record(
    "Samples", x=POINTER, count=INT, labels=INTS, targets=POINTER, width=INT, weight=POINTER, weights=INT, order=INTS,
    ordered=INT,
)  # fmt: skip


@kernel
def set_numbers(frame, step):
    """Write the numbers of a step where the optimizer and the layers read them; `step` counts those of the call."""
    places, numbers, count = pointer_to(frame, frame[PLACES]), doubles_at(frame[NUMBERS]), frame[NUMBERED]
    for i in range(count):
        doubles_at(places[i])[0] = numbers[step * count + i]


@kernel
def any_counts(rows, batch):
    """Return whether a row of the batch counts for anything."""
    for i in range(batch):  # noqa: SIM110  # Numba compiles no generator as fast
        if rows[0, i] != 0.0:
            return True
    return False


@kernel
def labels_of(samples, frame, start, rows):
    """Return the labels of a batch, an array without any where the loss takes none."""
    settings = pointer_to(frame, frame[SETTINGS])
    if settings[LABELLED] == 0:
        return carray(samples.labels, 0)
    if samples.ordered == 0:
        return carray(samples.labels, rows)
    labels = carray(pointer_to(frame, frame[BATCH_LABELS]), rows)
    for i in range(rows):
        labels[i] = samples.labels[samples.order[start + i]]
    return labels


@kernel
def weights_of(samples, frame, start, rows):
    """Return the weights of a batch's samples, an array without any where they have none."""
    if samples.weights == 0:
        return carray(samples.weight, 0)
    if samples.ordered == 0:
        return carray(samples.weight, rows)
    place = pointer_to(frame, frame[LAYOUT])[SAMPLE_WEIGHT]
    weight = carray(pointer_to(samples.weight, frame[WORK] + place), rows)
    for i in range(rows):
        weight[i] = samples.weight[samples.order[start + i]]
    return weight


@kernel
def goes_on(frame, rows, batch, divisor, record, step):
    """Return whether a step makes its update, once the losses of all its rows are known; record the loss if so.

    With FINITE it makes none if its loss is not finite; a batch in which no row counts has no loss and moves nothing.
    """
    value = total_loss(rows, batch, divisor)
    if pointer_to(frame, frame[SETTINGS])[FINITE] and not math.isfinite(value) and any_counts(rows, batch):
        return False
    begin_update(frame)
    record[RECORD_LOSS, step], record[RECORD_DIVISOR, step] = value, divisor
    return True


@kernel
def pass_by_rows(batch, frame, rows, divisor, record, step):
    """Make a step of a small network but for what sums of chunks leave to do; return whether it makes its update."""
    tasks = pointer_to(frame, frame[SETTINGS])[TASKS]
    rows_of_all = batch.rows * members_of(frame)
    chunks, rows_apart = chunks_of(rows_of_all), sums_apart(frame, batch.rows)
    pieces = worth_sharing(frame, batch.rows, rows_apart, tasks)
    if rows_apart and not couples(frame):
        pass_over_chunks(batch, frame, chunks, min(chunks, pieces), tasks)
        return goes_on(frame, rows, batch.rows, divisor, record, step)
    together = chunks if couples(frame) else chunks_at_once(rows_of_all, chunks, pieces)
    for chunk in range(0, chunks, together):
        first, end = share(batch.rows, 1, chunks, chunk), share(batch.rows, 1, chunks, chunk + together)
        row_pieces = most_pieces(frame, end - first, pieces)
        inner = tasks if row_pieces == 1 and pieces > 1 else 1
        begin = forward_to_last(batch, frame, first, end - first, inner, row_pieces, tasks)
        last = Segment(batch.x, begin, frame[LAYERS], ALL)
        pass_over_rows(batch, frame, last, first, end - first, inner, row_pieces, tasks)
        if end == batch.rows and not goes_on(frame, rows, batch.rows, divisor, record, step):
            return False
        backward_from_last(batch, frame, first, end - first, inner, row_pieces, tasks)
        x, updates = rows_of_batch(batch, frame, first, 0), pointer_to(frame, frame[SETTINGS])[SPLIT] == 0
        if rows_apart:
            pass_over_sums(x, frame, batch.rows, chunks, min(chunks, pieces), tasks)
        else:
            pass_over_weights(Chunks(x, batch.rows, chunks, chunk, chunk + together, updates), frame, pieces, tasks)
    return True


@kernel
def make_step(batch, frame, rows, divisor, record, step):
    """Run all phases of a step: rows, weight gradients, hook, update; return False for one that makes no update."""
    settings, layout = pointer_to(frame, frame[SETTINGS]), pointer_to(frame, frame[LAYOUT])
    by_rows, tasks = layout[BY_ROWS] != 0, settings[TASKS]
    fused = by_rows and settings[SPLIT] == 0
    if by_rows:
        if not pass_by_rows(batch, frame, rows, divisor, record, step):
            return False
        add_all_chunks(batch.x, frame, batch.rows, fused)
    else:
        begin = forward_to_last(batch, frame, 0, batch.rows, tasks, 1, 1)
        last = Segment(batch.x, begin, frame[LAYERS], FORTH | LOSS)
        pass_over_rows(batch, frame, last, 0, batch.rows, tasks, 1, 1)
        if not goes_on(frame, rows, batch.rows, divisor, record, step):
            return False
        backward_pass(rows_of_batch(batch, frame, 0, 0), frame, batch.rows, False, tasks)
    if not fused:
        finish_step(batch.x, frame, tasks)
    return True


@kernel
def finish_step(x, frame, tasks):
    """Run the hook and the update, where all gradients stand before the first update."""
    hook = pointer_to(frame, frame[SETTINGS])[HOOK]
    doubles_at(frame[HYPER])[FACTOR] = 1.0
    if hook != 0:
        span = new_span(frame)
        span[SPAN_ROWS] = 0
        call_op(hook, x, frame, row_at(frame, 0), span, tasks, 0)
    update_all(x, frame, worth(4 * MOVED * frame[PARAMETERS], tasks), tasks)


def _train_types(dtype):
    i = types.int64
    return types.int64(Samples.of(dtype), types.CPointer(i), types.CPointer(types.float64), i)


@outlined(_train_types)
def train(samples, frame, record, steps):
    """`train_steps`, on pointers: `record` is (RECORD_ROWS, steps).

    return : -1; or the first row of a step whose label is wrong, or -2 less the first of x that is wrong itself: of a
        sparse one in its columns, of one with CODES in a code. That step changes nothing, and no other is made.
    """
    settings, options = pointer_to(frame, frame[SETTINGS]), doubles_at(frame[OPTIONS])
    rows = carray(doubles_at(frame[ROWS]), (3, frame[ROOM_ROWS]))
    class_weight = carray(pointer_to(samples.x, frame[CLASS_WEIGHT]), frame[CLASS_WEIGHTS])
    record = carray(record, (RECORD_ROWS, steps))
    outs = row_at(frame, frame[LAYERS] - 1)[OUT]
    ins = row_at(frame, 0)[IN] if frame[STORED] == 0 else 0  # of a sparse batch nothing is copied
    gathers = samples.ordered > 0
    first_step, last_step = max(0, settings[FIRST_STEP]), min(steps, settings[LAST_STEP])
    if not gathers:
        first_step, last_step = 0, 1
    for step in range(first_step, last_step):
        set_numbers(frame, step - first_step)
        start, count = 0, samples.count
        if gathers:
            start = step * settings[BATCH]
            count = min(settings[BATCH], samples.ordered - start)
        labels, weight = labels_of(samples, frame, start, count), weights_of(samples, frame, start, count)
        counts = count
        if labels.size > 0:
            wrong = first_wrong(labels, outs, options[IGNORE_INDEX])
            if wrong >= 0:
                return samples.order[start + wrong] if gathers else wrong
            counts = counted(labels, options[IGNORE_INDEX], count)
        if frame[STORED] != 0:
            blanks = counts < count and not couples(frame)
            wrong = place_rows(frame, samples, start, labels, options[IGNORE_INDEX], blanks, count)
            if wrong >= 0:
                return -2 - wrong
        if frame[CODES] != 0:
            wrong = first_wrong_of_batch(frame, samples, start, count)
            if wrong >= 0:
                return -2 - wrong
        divisor = row_scales(settings[TERMS], labels, counts, class_weight, options, weight, rows[0], count)
        batch = Batch(
            samples.x, ins, at(labels, 0), samples.targets, samples.width, at(samples.order, start), gathers,
            counts < count, count,
        )  # fmt: skip
        if not make_step(batch, frame, rows, divisor, record, step):
            return -1
        settings[COUNTER] += 1
        if settings[HITS]:
            hits = added_up(at(rows, 2 * rows.shape[1]), count)
            record[RECORD_HITS, step], record[RECORD_COUNTED, step] = hits, counts
    return -1


@entry
def train_steps(
    frame: Ints, x: Reals2, labels: Ints, targets: Reals2, sample_weight: Reals, order: Ints, record: Doubles2
) -> Int:
    """Run training steps: forward, loss, backward, update, each on the next batch.

    frame : ``Frame.addresses()``
    x : (samples, in_features), read; (samples, 0) where the frame has STORED rows
    labels : (samples,) int64, for class labels, else empty
    targets : (samples, width), for the other losses, else (0, 0)
    sample_weight : (samples,), or empty
    order : (samples,) int64: step s takes the rows ``order[s * batch : (s + 1) * batch]``. If empty, the one step takes
        x as it is.
    record : (RECORD_ROWS, steps) float64, written from FIRST_STEP to LAST_STEP, but for steps that are not made
    return : see `train`
    """
    samples = Samples(
        at(x, 0), x.shape[0], at(labels, 0), at(targets, 0), targets.shape[1], at(sample_weight, 0), sample_weight.size,
        at(order, 0), order.size,
    )  # fmt: skip
    return train(samples, at(frame, 0), at(record, 0), record.shape[1])


@entry
def train_on_labels(frame: Ints, x: Reals2, labels: Ints) -> Int:
    """Run one step of `train_steps` on x as it is, into the frame's record. See `train` for what is returned."""
    samples = Samples(at(x, 0), x.shape[0], at(labels, 0), at(x, 0), 0, at(x, 0), 0, at(frame, 0), 0)
    return train(samples, at(frame, 0), doubles_at(frame[RECORD]), 1)


@entry
def train_on_targets(frame: Ints, x: Reals2, targets: Reals2) -> Int:
    """Run one step of `train_steps` on x and targets as they are, into the frame's record, as `train_on_labels`."""
    samples = Samples(
        at(x, 0), x.shape[0], at(frame, 0), at(targets, 0), targets.shape[1], at(x, 0), 0, at(frame, 0), 0
    )
    return train(samples, at(frame, 0), doubles_at(frame[RECORD]), 1)
