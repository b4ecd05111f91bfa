"""A whole network in one compiled call: forward, and training steps, over a plan and flat arrays.

Nothing here depends on the architecture but through the plan's integers, so one compiled artefact serves them all.
"""

from numba import carray, types

from .compile import entry, kernel, outlined
from .dense import forward, input_gradient, weight_gradient
from .frame import (
    BATCH,
    BATCH_LABELS,
    CLASS_WEIGHT,
    CLASS_WEIGHTS,
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
    STATE_SIZE,
    TASKS,
    WORK,
)
from .losses import IGNORE_INDEX, OPTIONS_SIZE, SOFTMAX_LABELS, first_wrong, loss
from .matmul import FORWARD, FORWARD_WITH_SLOPE, UPDATE
from .microkernel import B_ROOM, BIAS, ROOM
from .plan import (
    ACTIVATION,
    COLUMNS,
    ENTRIES,
    IN,
    LD,
    OUT,
    PARTIALS,
    SAMPLE_WEIGHT,
    SIZE,
    SLOPE,
    TARGETS,
    A,
    B,
    D,
    W,
    X,
)
from .pointers import at, doubles_at, pointer_to
from .region import shared
from .simd import Lanes, Vec, lanewise
from .tasks import MOVED, share, worth
from .updates import HYPER_SIZE, advance


@kernel
def forward_pass(plan, params, work, x, x0, ld_x, kind, out, out0, ld_out, room_out, batch, tasks):
    """Run all layers on the batch that begins at ``x[x0]``; the last layer's output begins at ``out[out0]``."""
    layers = plan.shape[0]
    for i in range(layers):
        ins, outs, w0, b0 = plan[i, IN], plan[i, OUT], plan[i, W], plan[i, B]
        source, source0, ld_source = work, plan[i - 1, A], plan[i - 1, LD]
        if i == 0:
            source, source0, ld_source = x, x0, ld_x
        target, target0, ld_target, room = work, plan[i, A], plan[i, LD], ROOM
        if i == layers - 1:
            target, target0, ld_target, room = out, out0, ld_out, room_out
        forward(
            source, source0, ld_source, params, w0, params, max(b0, 0), BIAS * (b0 >= 0) + room, plan[i, ACTIVATION],
            kind, target, target0, work, plan[i, SLOPE], ld_target, batch, ins, outs, tasks,
        )  # fmt: skip


@kernel
def backward_pass(plan, layout, params, grads, code, state, hyper, work, x, x0, ld_x, batch, tasks):
    """From the dz of the last layer, which stands in the workspace as the activations do: all gradients and updates.

    code, state, hyper : the optimizer. A layer's weights are read for the dz of the layer below before they change.
    """
    advance(hyper)
    for i in range(plan.shape[0] - 1, -1, -1):
        ins, outs, w0, b0 = plan[i, IN], plan[i, OUT], plan[i, W], plan[i, B]
        source, source0, ld_source = x, x0, ld_x
        if i > 0:
            source, source0, ld_source = work, plan[i - 1, A], plan[i - 1, LD]
            input_gradient(
                work, plan[i, D], plan[i, LD], params, w0, work, plan[i - 1, D], plan[i - 1, LD], ROOM,
                plan[i - 1, ACTIVATION], work, plan[i - 1, A], work, plan[i - 1, SLOPE], batch, ins, outs, tasks,
            )  # fmt: skip
        weight_gradient(
            source, source0, ld_source, work, plan[i, D], plan[i, LD], grads, w0, grads, max(b0, 0),
            BIAS * (b0 >= 0) + B_ROOM, work[layout[PARTIALS] :], batch, ins, outs, UPDATE, code, params, state,
            at(hyper, 0), params.size, tasks,
        )  # fmt: skip


def _copied(v: Lanes, x: Vec) -> Vec:
    return x


copy_row = lanewise(_copied, reads=1, writes=1)


def _gather_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, types.CPointer(i), i, i, p, i, i)


@shared(_gather_types)
def gather_part(x, order, rows, width, out, tasks, task):
    """One task's range of the rows ``order[:rows]`` of x, `width` numbers each, copied to `out`."""
    order = carray(order, rows)
    for i in range(share(rows, 1, tasks, task), share(rows, 1, tasks, task + 1)):
        copy_row(at(x, order[i] * width), at(out, i * width), width)


@kernel
def gather(x, order, start, rows, width, out, out0, tasks):
    """Copy rows ``order[start : start + rows]`` of x to ``out[out0:]``."""
    tasks = worth(MOVED * rows * width, tasks)
    gather_part(at(x, 0), at(order, start), rows, width, at(out, out0), tasks, tasks)


@kernel
def blank_ignored(x, x0, width, labels, ignore_index, rows):
    """Make zeros of the rows of x whose label is ignored: a NaN in one would be 0 * NaN in the weights' gradients."""
    for i in range(rows):
        if labels[i] == ignore_index:
            x[x0 + i * width : x0 + (i + 1) * width] = 0


@kernel
def counted(labels, ignore_index, rows):
    """Return how many rows are not ignored."""
    count = 0
    for i in range(rows):
        count += labels[i] != ignore_index
    return count


@entry
def predict(plan, params, work, x, out, tasks):
    """Run the network on x, (batch, in_features), into out, (batch, out_features). Keeps nothing.

    plan, work : made with ``train=False``; the workspace holds at least `batch` rows
    """
    forward_pass(
        plan, params, work, x.reshape(x.size), 0, x.shape[1], FORWARD, out.reshape(out.size), 0, out.shape[1], 0,
        x.shape[0], tasks,
    )  # fmt: skip


def _train_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    ints, doubles = types.CPointer(i), types.CPointer(types.float64)
    return i(p, i, ints, p, i, p, i, ints, i, doubles, i, ints)


@outlined(_train_types)
def train(x, samples, labels, targets, width, sample_weight, weights, order, ordered, record, steps, frame):
    """`train_steps`, on pointers: a frame's addresses become arrays again.

    return : where a step takes x as it is, the first row whose label is wrong (nothing is changed then); else -1
    """
    frame = carray(frame, FRAME_SIZE)
    layout = carray(pointer_to(labels, frame[LAYOUT]), ENTRIES)
    plan = carray(pointer_to(labels, frame[PLAN]), (frame[LAYERS], COLUMNS))
    settings = carray(pointer_to(labels, frame[SETTINGS]), SETTINGS_SIZE)
    hyper = carray(pointer_to(record, frame[HYPER]), HYPER_SIZE)
    options = carray(pointer_to(record, frame[OPTIONS]), OPTIONS_SIZE)
    params = carray(pointer_to(x, frame[PARAMS]), frame[PARAMETERS])
    grads = carray(pointer_to(x, frame[GRADS]), frame[PARAMETERS])
    state = carray(pointer_to(x, frame[STATE]), frame[STATE_SIZE])
    work = carray(pointer_to(x, frame[WORK]), layout[SIZE])
    rows = carray(pointer_to(record, frame[ROWS]), (3, frame[ROOM_ROWS]))
    class_weight = carray(pointer_to(x, frame[CLASS_WEIGHT]), frame[CLASS_WEIGHTS])
    batch_labels = carray(pointer_to(labels, frame[BATCH_LABELS]), frame[ROOM_ROWS])

    last, in_features = frame[LAYERS] - 1, plan[0, IN]
    labelled = settings[LOSS] == SOFTMAX_LABELS
    x, targets = carray(x, samples * in_features), carray(targets, samples * width)
    labels = carray(labels, samples if labelled else 0)
    sample_weight, order = carray(sample_weight, weights), carray(order, ordered)
    record = carray(record, (RECORD_ROWS, steps))
    code, tasks = settings[LOSS], settings[TASKS]
    outs, z0, d0, ld = plan[last, OUT], plan[last, A], plan[last, D], plan[last, LD]
    if labelled and ordered == 0:
        wrong = first_wrong(labels, outs, options[IGNORE_INDEX])
        if wrong >= 0:
            return wrong
    for step in range(settings[FIRST_STEP], settings[LAST_STEP]):
        batch_x, x0, step_labels = x, 0, labels
        step_targets, t0, step_weight = targets, 0, sample_weight
        batch = samples
        if ordered > 0:
            start = step * settings[BATCH]
            batch = min(settings[BATCH], ordered - start)
            batch_x, x0 = work, layout[X]
            gather(x, order, start, batch, in_features, work, x0, tasks)
            if labelled:
                step_labels = batch_labels
                for i in range(batch):
                    batch_labels[i] = labels[order[start + i]]
            if width > 0:
                step_targets, t0 = work, layout[TARGETS]
                gather(targets, order, start, batch, width, work, t0, tasks)
            if weights > 0:
                step_weight = work[layout[SAMPLE_WEIGHT] :]
                gather(sample_weight, order, start, batch, 1, step_weight, 0, tasks)
        if labelled:
            counts = counted(step_labels, options[IGNORE_INDEX], batch)
            if counts < batch:
                if ordered == 0:  # x is the caller's
                    batch_x, x0 = work, layout[X]
                    copy_row(at(x, 0), at(work, x0), batch * in_features)
                blank_ignored(work, x0, in_features, step_labels, options[IGNORE_INDEX], batch)
        forward_pass(plan, params, work, batch_x, x0, in_features, FORWARD_WITH_SLOPE, work, z0, ld, ROOM, batch, tasks)
        record[RECORD_LOSS, step], record[RECORD_DIVISOR, step] = loss(
            code, work, z0, ld, ROOM, batch, outs, step_labels, step_targets, t0, width, class_weight, options,
            step_weight, rows, plan[last, ACTIVATION], work, plan[last, SLOPE], work, d0, tasks,
        )  # fmt: skip
        if labelled:
            hits = 0.0
            for i in range(batch):
                hits += rows[2, i]
            record[RECORD_HITS, step], record[RECORD_COUNTED, step] = hits, counts
        backward_pass(
            plan, layout, params, grads, settings[OPTIMIZER], state, hyper, work, batch_x, x0, in_features, batch, tasks
        )
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
    record : (RECORD_ROWS, steps) float64, written from FIRST_STEP to LAST_STEP
    """
    train(
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
