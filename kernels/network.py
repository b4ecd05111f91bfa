"""A whole network in one compiled call: forward, and training steps, over a plan and flat arrays.

Nothing here depends on the architecture but through the plan's integers, so one compiled artefact serves them all.
"""

import numpy as np
from numba import prange

from .compile import entry, kernel
from .dense import forward, input_gradient, weight_gradient
from .losses import IGNORE_INDEX, SOFTMAX_LABELS, loss
from .matmul import FORWARD, FORWARD_WITH_SLOPE
from .microkernel import B_ROOM, BIAS, ROOM
from .plan import ACTIVATION, IN, LD, OUT, PARTIALS, SAMPLE_WEIGHT, SLOPE, TARGETS, A, B, D, W, X
from .simd import at
from .updates import advance, update

# Entries of `settings`: what a training step is.
LOSS, OPTIMIZER, BATCH, FIRST_STEP, LAST_STEP, TASKS, SETTINGS_SIZE = range(7)


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
            source, source0, ld_source, params, w0, params, max(b0, 0), BIAS * (b0 >= 0) + room, plan[i, ACTIVATION], kind,
            target, target0, work, plan[i, SLOPE], ld_target, batch, ins, outs, tasks,
        )  # fmt: skip


@kernel
def backward_pass(plan, layout, params, grads, work, x, x0, ld_x, batch, tasks):
    """Compute all gradients from the dz of the last layer, which stands in the workspace, as the activations do."""
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
            BIAS * (b0 >= 0) + B_ROOM, work[layout[PARTIALS] :], batch, ins, outs, tasks,
        )  # fmt: skip


@kernel(parallel=True)
def update_all(code, hyper, params, grads, state, tasks):
    """One optimizer step on all parameters; a task owns a range of them."""
    advance(hyper)
    n = params.size
    if tasks == 1:
        update(code, at(params, 0), at(grads, 0), at(state, 0), at(hyper, 0), n, 0, n)
    else:
        for task in prange(tasks):
            start, stop = n * task // tasks, n * (task + 1) // tasks
            update(code, at(params, 0), at(grads, 0), at(state, 0), at(hyper, 0), n, start, stop)


@kernel
def gather_rows(x, order, start, stop, width, out, out0):
    """Copy rows ``order[start:stop]`` of x, `width` numbers each, to ``out[out0:]``."""
    for i in range(start, stop):
        source, target = order[i] * width, out0 + (i - start) * width
        for j in range(width):
            out[target + j] = x[source + j]


@kernel(parallel=True)
def gather(x, order, start, stop, width, out, out0, tasks):
    """`gather_rows`, shared out: a task owns a range of rows."""
    if tasks == 1:
        gather_rows(x, order, start, stop, width, out, out0)
    else:
        rows = stop - start
        for task in prange(tasks):
            first, last = rows * task // tasks, rows * (task + 1) // tasks
            gather_rows(x, order, start + first, start + last, width, out, out0 + first * width)


@entry
def predict(plan, params, work, x, out, tasks):
    """Run the network on x, (batch, in_features), into out, (batch, out_features). Keeps nothing.

    plan, work : made with ``train=False``; the workspace holds at least `batch` rows
    """
    forward_pass(
        plan, params, work, x.reshape(x.size), 0, x.shape[1], FORWARD, out.reshape(out.size), 0, out.shape[1], 0,
        x.shape[0], tasks,
    )  # fmt: skip


@entry
def train_steps(
    plan, layout, settings, params, grads, state, hyper, work, rows, x, labels, targets, sample_weight, class_weight,
    options, order, batch_labels, losses, hits,
):  # fmt: skip
    """Run training steps: forward, loss, backward, update, each on the next batch.

    plan, layout : made with ``train=True``
    settings : (SETTINGS_SIZE,) int64: loss and optimizer codes, rows of a batch, first and last step, tasks
    params, grads, state : flat; read and written
    hyper : (HYPER_SIZE,) float64, see `updates`; read, its powers written
    work : (layout[SIZE],), written
    rows : (3, capacity) float64, written: see `losses.loss`
    x : (samples, in_features), read
    labels : (samples,) int64, for class labels, else empty
    targets : (samples, width), for the other losses, else (0, 0)
    sample_weight : (samples,), or empty
    class_weight, options : see `losses.loss`
    order : (samples,) int64: step s takes the rows ``order[s * batch : (s + 1) * batch]``. If empty, the one step takes
        x as it is.
    batch_labels : (capacity,) int64, written
    losses : (2, steps) float64, written from FIRST_STEP to LAST_STEP: the loss before the update, what it divided by
    hits : (2, steps) float64, written with class labels: on how many rows the label's logit was the first of the
        largest, and how many rows were not ignored
    """
    layers = plan.shape[0]
    code, tasks = settings[LOSS], settings[TASKS]
    in_features, width = x.shape[1], targets.shape[1]
    last = layers - 1
    outs, z0, d0, ld = plan[last, OUT], plan[last, A], plan[last, D], plan[last, LD]
    flat_x, flat_targets = x.reshape(x.size), targets.reshape(targets.size)
    for step in range(settings[FIRST_STEP], settings[LAST_STEP]):
        batch_x, x0, step_labels = flat_x, 0, labels
        step_targets, t0, step_weight = flat_targets, 0, sample_weight
        batch = x.shape[0]
        if order.size > 0:
            start = step * settings[BATCH]
            batch = min(settings[BATCH], order.size - start)
            batch_x, x0 = work, layout[X]
            gather(flat_x, order, start, start + batch, in_features, work, x0, tasks)
            if labels.size > 0:
                step_labels = batch_labels
                for i in range(batch):
                    batch_labels[i] = labels[order[start + i]]
            if width > 0:
                step_targets, t0 = work, layout[TARGETS]
                gather_rows(flat_targets, order, start, start + batch, width, work, t0)
            if sample_weight.size > 0:
                step_weight = work[layout[SAMPLE_WEIGHT] :]
                gather_rows(sample_weight, order, start, start + batch, 1, step_weight, 0)
        forward_pass(plan, params, work, batch_x, x0, in_features, FORWARD_WITH_SLOPE, work, z0, ld, ROOM, batch, tasks)
        losses[0, step], losses[1, step] = loss(
            code, work, z0, ld, batch, outs, step_labels, step_targets, t0, width, class_weight, options, step_weight,
            rows, plan[last, ACTIVATION], work, plan[last, SLOPE], work, d0, tasks,
        )  # fmt: skip
        if code == SOFTMAX_LABELS:
            hits[0, step] = np.sum(rows[2, :batch])
            hits[1, step] = np.sum(step_labels[:batch] != options[IGNORE_INDEX])
        backward_pass(plan, layout, params, grads, work, batch_x, x0, in_features, batch, tasks)
        update_all(settings[OPTIMIZER], hyper, params, grads, state, tasks)
