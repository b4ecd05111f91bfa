"""A whole network in one compiled call: forward, and training steps, over a plan and flat arrays.

Nothing here depends on the architecture but through the plan's integers, so one compiled artefact serves them all.
"""

import math

from numba import carray, types

from ..compile.functions import entry, kernel, outlined
from ..compile.pointers import at, doubles_at, pointer_to
from ..linalg.product import FORWARD
from ..linalg.tasks import share
from ..losses import IGNORE_INDEX, OPTIONS_SIZE, SOFTMAX_LABELS, SOFTMAX_ONE_HOT
from ..losses.labels import counted, first_wrong
from ..losses.scales import row_scales, total_loss
from ..ops.dense import chunks_of
from ..optimizers import HYPER_SIZE
from ..optimizers.compiled import advance
from ..simd.rows import added_up
from .frame import (
    BATCH,
    BATCH_LABELS,
    CLASS_WEIGHT,
    CLASS_WEIGHTS,
    FINITE,
    FIRST_STEP,
    FRAME_SIZE,
    GRADS,
    HYPER,
    LAST_STEP,
    LAYERS,
    LAYOUT,
    LOSS,
    OPTIMIZER,
    OPTIONS,
    PARAMETERS,
    PARAMS,
    PLAN,
    RECORD,
    RECORD_COUNTED,
    RECORD_DIVISOR,
    RECORD_HITS,
    RECORD_LOSS,
    RECORD_ROWS,
    ROOM_ROWS,
    ROWS,
    SETTINGS,
    SETTINGS_SIZE,
    STATE,
    TASKS,
    WORK,
)
from .passes import (
    apart,
    backward_pass,
    chunks_at_once,
    forward_pass,
    most_pieces,
    pass_over_chunks,
    pass_over_rows,
    pass_over_weights,
    put_chunks_together,
    rows_of_batch,
    worth_sharing,
)
from .plan import BY_ROWS, COLUMNS, ENTRIES, IN, OUT, SAMPLE_WEIGHT, SIZE


@entry
def predict(plan, params, work, x, out, tasks):
    """Run the network on x, (batch, in_features), into out, (batch, out_features). Keeps nothing.

    plan, work : made with ``train=False``; the workspace holds at least `batch` rows
    """
    forward_pass(
        plan,
        at(params, 0),
        at(work, 0),
        0,
        at(x, 0),
        x.shape[1],
        FORWARD,
        at(out, 0),
        out.shape[1],
        0,
        x.shape[0],
        tasks,
    )


@kernel
def any_counts(rows, batch):
    """Return whether a row of the batch counts for anything."""
    for i in range(batch):  # noqa: SIM110  # Numba compiles no generator as fast
        if rows[0, i] != 0.0:
            return True
    return False


@kernel
def goes_on(settings, hyper, rows, batch, divisor, record, step):
    """Return whether a step makes its update, once the losses of all its rows are known; record the loss if so.

    With FINITE it makes none if its loss is not finite; a batch in which no row counts has no loss and moves nothing.
    """
    value = total_loss(rows, batch, divisor)
    if settings[FINITE] != 0 and not math.isfinite(value) and any_counts(rows, batch):
        return False
    advance(hyper)
    record[RECORD_LOSS, step], record[RECORD_DIVISOR, step] = value, divisor
    return True


def _train_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    ints, doubles = types.CPointer(i), types.CPointer(types.float64)
    return i(p, i, ints, p, i, p, i, ints, i, doubles, i, ints)


@outlined(_train_types)
def train(x, samples, labels, targets, width, sample_weight, weights, order, ordered, record, steps, frame):
    """`train_steps`, on pointers: a frame's addresses become arrays again.

    return : -1, or the first row of a step whose label is wrong; that step changes nothing, and no other is made
    """
    addresses, frame = frame, carray(frame, FRAME_SIZE)
    layout = carray(pointer_to(labels, frame[LAYOUT]), ENTRIES)
    plan = carray(pointer_to(labels, frame[PLAN]), (frame[LAYERS], COLUMNS))
    settings = carray(pointer_to(labels, frame[SETTINGS]), SETTINGS_SIZE)
    hyper = carray(pointer_to(record, frame[HYPER]), HYPER_SIZE)
    options = carray(pointer_to(record, frame[OPTIONS]), OPTIONS_SIZE)
    params, grads = pointer_to(x, frame[PARAMS]), pointer_to(x, frame[GRADS])
    state, n = pointer_to(x, frame[STATE]), frame[PARAMETERS]
    work = carray(pointer_to(x, frame[WORK]), layout[SIZE])
    rows = carray(pointer_to(record, frame[ROWS]), (3, frame[ROOM_ROWS]))
    class_weight = carray(pointer_to(x, frame[CLASS_WEIGHT]), frame[CLASS_WEIGHTS])
    batch_labels = carray(pointer_to(labels, frame[BATCH_LABELS]), frame[ROOM_ROWS])

    labelled = settings[LOSS] == SOFTMAX_LABELS
    in_features, outs = plan[0, IN], plan[frame[LAYERS] - 1, OUT]
    labels = carray(labels, samples if labelled else 0)
    sample_weight, order = carray(sample_weight, weights), carray(order, ordered)
    record = carray(record, (RECORD_ROWS, steps))
    code, optimizer, tasks, by_rows = settings[LOSS], settings[OPTIMIZER], settings[TASKS], layout[BY_ROWS] != 0
    first_step, last_step = max(0, settings[FIRST_STEP]), min(steps, settings[LAST_STEP])
    if ordered == 0:
        first_step, last_step = 0, 1
    for step in range(first_step, last_step):
        batch, start = samples, 0
        step_labels, step_weight = labels, sample_weight
        if ordered > 0:
            start = step * settings[BATCH]
            batch = min(settings[BATCH], ordered - start)
            if labelled:
                step_labels = batch_labels
                for i in range(batch):
                    batch_labels[i] = labels[order[start + i]]
            if weights > 0:
                step_weight = work[layout[SAMPLE_WEIGHT] :]
                for i in range(batch):
                    step_weight[i] = sample_weight[order[start + i]]
        if labelled:
            wrong = first_wrong(step_labels[:batch], outs, options[IGNORE_INDEX])
            if wrong >= 0:
                return order[start + wrong] if ordered > 0 else wrong
        counts = counted(step_labels, options[IGNORE_INDEX], batch) if labelled else batch
        divisor = row_scales(code, step_labels, counts, class_weight, options, step_weight, rows[0], batch, outs)
        chunks, rows_apart, shared_out = chunks_of(batch), by_rows and apart(plan, batch), tasks
        if by_rows:
            shared_out = worth_sharing(plan, batch, rows_apart, tasks)
        batch_order, gathers, ignores = at(order, start), ordered > 0, counts < batch
        if rows_apart:
            pieces = min(chunks, shared_out)
            pass_over_chunks(
                x, at(step_labels, 0), targets, width, batch_order, gathers, ignores, addresses, batch, chunks,
                pieces, tasks,
            )  # fmt: skip
            if not goes_on(settings, hyper, rows, batch, divisor, record, step):
                return -1
        elif by_rows:
            together = chunks_at_once(batch, chunks, shared_out)
            for chunk in range(0, chunks, together):
                first, end = share(batch, 1, chunks, chunk), share(batch, 1, chunks, chunk + together)
                pieces = most_pieces(end - first, shared_out)
                pass_over_rows(
                    x, at(step_labels, 0), targets, width, batch_order, gathers, ignores, addresses, first, end - first,
                    tasks if pieces == 1 and shared_out > 1 else 1, pieces, tasks,
                )  # fmt: skip
                if end == batch and not goes_on(settings, hyper, rows, batch, divisor, record, step):
                    return -1
                chunk_x = rows_of_batch(plan, layout, at(work, 0), x, gathers or ignores, first, 0)
                pass_over_weights(chunk_x, addresses, batch, chunks, chunk, chunk + together, shared_out, tasks)
        else:
            pass_over_rows(
                x, at(step_labels, 0), targets, width, batch_order, gathers, ignores, addresses, 0, batch, tasks, 1, 1
            )
            if not goes_on(settings, hyper, rows, batch, divisor, record, step):
                return -1
            batch_x = rows_of_batch(plan, layout, at(work, 0), x, gathers or ignores, 0, 0)
            backward_pass(
                plan, params, grads, optimizer, state, at(hyper, 0), n, at(work, 0), batch_x, in_features, batch, tasks
            )
        if by_rows:
            put_chunks_together(plan, params, grads, optimizer, state, at(hyper, 0), n, at(work, 0), batch)
        if labelled or code == SOFTMAX_ONE_HOT:
            hits = added_up(at(rows, 2 * rows.shape[1]), batch)
            record[RECORD_HITS, step], record[RECORD_COUNTED, step] = hits, counts
    return -1


@entry
def train_steps(frame, x, labels, targets, sample_weight, order, record):
    """Run training steps: forward, loss, backward, update, each on the next batch.

    frame : ``Frame.addresses()``
    x : (samples, in_features), read
    labels : (samples,) int64, for class labels, else empty
    targets : (samples, width), for the other losses, else (0, 0)
    sample_weight : (samples,), or empty
    order : (samples,) int64: step s takes the rows ``order[s * batch : (s + 1) * batch]``. If empty, the one step takes
        x as it is.
    record : (RECORD_ROWS, steps) float64, written from FIRST_STEP to LAST_STEP, but for steps that are not made
    return : see `train`
    """
    return train(
        at(x, 0), x.shape[0], at(labels, 0), at(targets, 0), targets.shape[1], at(sample_weight, 0), sample_weight.size,
        at(order, 0), order.size, at(record, 0), record.shape[1], at(frame, 0),
    )  # fmt: skip


@entry
def train_on_labels(frame, x, labels):
    """Run one step of `train_steps` on x as it is, into the frame's record. See `train` for what is returned."""
    record = doubles_at(frame[RECORD])
    return train(
        at(x, 0), x.shape[0], at(labels, 0), at(x, 0), 0, at(x, 0), 0, at(frame, 0), 0, record, 1, at(frame, 0)
    )


@entry
def train_on_targets(frame, x, targets):
    """Run one step of `train_steps` on x and targets as they are, into the frame's record."""
    record = doubles_at(frame[RECORD])
    train(
        at(x, 0), x.shape[0], at(frame, 0), at(targets, 0), targets.shape[1], at(x, 0), 0, at(frame, 0), 0, record, 1,
        at(frame, 0),
    )  # fmt: skip
