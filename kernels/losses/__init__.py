"""Losses: value and gradient of each row in one visit, while the row is in the first-level cache.

A loss is ``sum_i scale_i * loss_i``: `row_scales` turns reduction, sample weights, class weights and ignored rows
into the scales, so the gradient of a row can be written finished. One task owns a range of rows; the rows' losses are
added up in float64, whoever computed them.
"""

from numba import carray, types

from ..activations import IDENTITY, apply_slope
from ..compile.functions import entry, kernel
from ..compile.pointers import at, lanes_of, stack_block
from ..compile.region import shared
from ..linalg.tasks import share, worth
from ..simd.isa import WIDEST_LANES, isa
from ..simd.packing import turn, turn_back
from ..simd.rows import log, row_max, weighted
from .formulas import (
    bce_columns,
    bce_row,
    exp_row,
    gaussian_log_variance_row,
    gaussian_variance_row,
    mse_columns,
    mse_row,
    scale_row,
    smooth_row,
    target_gap,
    target_gradient,
    target_mass,
    tops,
    weighted_gap,
)
from .narrow import NARROW, softmax_columns

# Loss codes. SOFTMAX_LABELS takes class indices; the others take targets of their own shape. SOFTMAX_ONE_HOT is
# SOFTMAX_PROBABILITIES of rows with a single 1, the class, so that hits count.
SOFTMAX_LABELS, SOFTMAX_PROBABILITIES, MSE, BCE_LOGITS, GAUSSIAN_NLL, SOFTMAX_ONE_HOT = range(6)
MEAN, SUM, NONE = range(3)
# Places in `options`, float64. VARIANCE_EPS bounds a variance from below; CONSTANT is added to each term of
# gaussian_nll.
REDUCTION, IGNORE_INDEX, LABEL_SMOOTHING, VARIANCE_EPS, CONSTANT, OPTIONS_SIZE = range(6)

# exp, a logarithm and the sums of one element cost about as much as this many multiplications and additions.
ELEMENT_WORK = 30


@kernel
def softmax_labels_row(z, z0, label, class_weight, total_weight, smoothing, scale, d, d0, n):
    """``-log softmax(z)[label]`` with class weights and label smoothing; its gradient times `scale` into d.

    Returns the loss, and 1 where the label is the first whose logit is the largest.
    """
    real = z.dtype.type
    top = row_max(at(z, z0), n)
    total = real(exp_row(at(z, z0), at(d, d0), top, n))
    log_total = log(total)
    own = real(1.0)
    if class_weight.size > 0:
        own = class_weight[label]
    own *= real(1.0) - smoothing
    gap = top - z[z0 + label] if own != real(0.0) else real(0.0)  # 0 * infinity is 0: the label weighs nothing
    loss = own * (log_total + gap)
    if smoothing > 0.0:
        share = smoothing / real(n)
        loss += share * (total_weight * log_total + real(weighted_gap(at(z, z0), at(class_weight, 0), top, n)))
        factor = scale * (own + share * total_weight) / total
        smooth_row(at(d, d0), at(class_weight, 0), at(d, d0), factor, scale * share, n)
    else:
        scale_row(at(d, d0), at(d, d0), scale * own / total, n)
    d[d0 + label] -= scale * own
    hit = z[z0 + label] == top and (label == 0 or row_max(at(z, z0), label) < top)
    return float(loss), 1.0 if hit else 0.0


@kernel
def softmax_probabilities_row(z, z0, q, q0, class_weight, smoothing, scale, d, d0, n):
    """``-sum_c w_c q_c log softmax(z)_c``; its gradient times `scale` into d."""
    real = z.dtype.type
    keep, spread = real(1.0) - smoothing, smoothing / real(n)
    w = at(class_weight, 0)
    top = row_max(at(z, z0), n)
    total = real(exp_row(at(z, z0), at(d, d0), top, n))
    mass = real(target_mass(at(q, q0), w, keep, spread, n))
    gap = target_gap(at(z, z0), at(q, q0), w, top, keep, spread, n)
    target_gradient(at(d, d0), at(q, q0), w, at(d, d0), scale * mass / total, keep, spread, scale, n)
    return mass * log(total) + gap


@kernel
def answers(z, z0, q, q0, n):
    """Return 1 where the first of the largest logits is that of the class whose target is 1, else 0."""
    top = row_max(at(z, z0), n)
    hit = tops(at(z, z0), at(q, q0), top, n) == 1.0
    if hit:  # it is one of the largest
        first = 0
        while z[z0 + first] != top:
            first += 1
        hit = q[q0 + first] == 1.0
    return 1.0 if hit else 0.0


@kernel
def counted(labels, ignored, rows):
    """Return how many rows are not ignored."""
    count = 0
    for i in range(rows):
        count += labels[i] != ignored
    return count


@kernel
def row_scales(code, labels, counts, class_weight, options, sample_weight, scales, batch, n):
    """Write what the loss of each row, of n numbers, counts for; return what the sum was divided by: 1 without a mean.

    counts : how many rows are not ignored

    Mean: for class labels the weighted mean over the rows that are not ignored, divided by the sum of their classes'
    weights; else over all terms of a row. Sample weights weigh the mean as well.
    """
    terms = 1
    if code in (MSE, BCE_LOGITS):
        terms = n
    elif code == GAUSSIAN_NLL:
        terms = n // 2
    mean, labelled, ignored = options[REDUCTION] == MEAN, code == SOFTMAX_LABELS, options[IGNORE_INDEX]
    if sample_weight.size == 0 and not (labelled and class_weight.size > 0):
        # All rows count the same: loops without a sum that waits for itself.
        total = float(counts * terms) if mean else 1.0
        share = 1.0 / total if total > 0.0 else 0.0
        for i in range(batch):
            scales[i] = 0.0 if labelled and labels[i] == ignored else share
        return total
    total, counts_any = 0.0, False
    for i in range(batch):
        weight = 1.0
        if sample_weight.size > 0:
            weight = float(sample_weight[i])
        scales[i] = weight
        if labelled:
            if labels[i] == ignored:
                scales[i] = weight = 0.0
            elif class_weight.size > 0:
                weight *= class_weight[labels[i]]
        total += weight
        counts_any |= weight != 0.0
    if not mean:
        return 1.0
    total *= terms
    for i in range(batch):  # where no row counts, no gradient moves anything; weights that cancel divide by 0
        scales[i] = scales[i] / total if counts_any and scales[i] != 0.0 else 0.0
    return total


@kernel
def loss_row(code, z, z0, n, labels, targets, t0, class_weight, total_weight, options, scale, d, d0, i):
    """The loss of row i, unscaled, and whether its label is hit; the gradient times `scale` into d."""
    real = z.dtype.type
    if code == SOFTMAX_LABELS:
        if labels[i] == options[IGNORE_INDEX]:
            d[d0 : d0 + n] = real(0.0)  # whatever the logits are
            return 0.0, 0.0
        smoothing = real(options[LABEL_SMOOTHING])
        return softmax_labels_row(z, z0, labels[i], class_weight, total_weight, smoothing, scale, d, d0, n)
    if code in (SOFTMAX_PROBABILITIES, SOFTMAX_ONE_HOT):
        smoothing = real(options[LABEL_SMOOTHING])
        hit = answers(z, z0, targets, t0, n) if code == SOFTMAX_ONE_HOT else 0.0
        return float(softmax_probabilities_row(z, z0, targets, t0, class_weight, smoothing, scale, d, d0, n)), hit
    if code == MSE:
        return float(mse_row(at(z, z0), at(targets, t0), at(d, d0), scale, n)), 0.0
    if code == BCE_LOGITS:
        return float(bce_row(at(z, z0), at(targets, t0), at(d, d0), scale, n)), 0.0
    half = n // 2
    smallest = real(log(options[VARIANCE_EPS]))
    value = gaussian_log_variance_row(
        at(z, z0), at(z, z0 + half), at(targets, t0), at(d, d0), at(d, d0 + half), scale, smallest,
        real(options[CONSTANT]), half,
    )  # fmt: skip
    return float(value), 0.0


# Room for five vectors of one number a row, and two panels.
narrow_scratch = stack_block((2 * (NARROW + WIDEST_LANES) + 5) * isa().vector_bytes)


@kernel
def softmax_labels_narrow(z, ld, n, stored, labels, class_weight, options, rows, ld_rows, d, start, stop):
    """Rows start:stop of the softmax cross-entropy of class labels, of at most NARROW classes, unsmoothed."""
    real = z.dtype.type
    width = lanes_of(at(z, 0))
    block = narrow_scratch(at(z, 0))
    panel = at(block, 5 * width)
    lanes = carray(block, (5, width))
    for first in range(start, stop, width):
        count = min(width, stop - first)
        for i in range(width):
            row = first + min(i, count - 1)
            label = labels[row]
            counts = label != options[IGNORE_INDEX]
            lanes[0, i] = real(label) if counts else real(-1.0)
            lanes[1, i] = class_weight[label] if counts and class_weight.size > 0 else real(1.0)
            lanes[2, i] = real(rows[row])
        turn(at(z, first * ld), ld, stored, count, panel, width)
        softmax_columns(
            panel, n, block, at(block, width), at(block, 2 * width), at(block, 3 * width), at(block, 4 * width)
        )
        turn_back(at(d, first * ld), ld, stored, count, panel, width)
        for i in range(count):
            rows[ld_rows + first + i], rows[2 * ld_rows + first + i] = lanes[3, i], lanes[4, i]


@kernel
def numbers_narrow(code, z, ld, n, targets, ld_t, rows, ld_rows, d, start, stop):
    """Rows start:stop of MSE or BCE_LOGITS, of at most NARROW columns."""
    width = lanes_of(at(z, 0))
    panel = narrow_scratch(at(z, 0))
    given = at(panel, (NARROW + WIDEST_LANES) * width)
    for first in range(start, stop, width):
        count = min(width, stop - first)
        turn(at(z, first * ld), ld, n, count, panel, width)
        turn(at(targets, first * ld_t), ld_t, n, count, given, width)
        scales, sums = at(rows, first), at(rows, ld_rows + first)
        if code == MSE:
            mse_columns(panel, given, scales, n, count, sums)
        else:
            bce_columns(panel, given, scales, n, count, sums)
        turn_back(at(d, first * ld), ld, n, count, panel, width)
    rows[2 * ld_rows + start : 2 * ld_rows + stop] = 0.0


def _loss_part_types(dtype):
    p, i, f = types.CPointer(dtype), types.int64, types.CPointer(types.float64)
    return types.void(i, p, i, i, i, types.CPointer(i), p, i, p, i, f, f, i, i, p, p, i, i, i)


@shared(_loss_part_types)
def loss_part(
    code, z, ld, room, n, labels, targets, ld_t, class_weight, weights, options, rows, ld_rows, activation, slope, d,
    batch, tasks, task,
):  # fmt: skip
    """One task's rows of `loss`, on pointers.

    room : whether rows of z and d have room up to whole vectors
    weights : how many class weights there are, n or 0
    """
    start, stop = share(batch, 1, tasks, task), share(batch, 1, tasks, task + 1)
    z, d = carray(z, stop * ld), carray(d, stop * ld)
    class_weight, options = carray(class_weight, weights), carray(options, OPTIONS_SIZE)
    labels, targets, rows = carray(labels, stop), carray(targets, stop * ld_t), carray(rows, 3 * ld_rows)
    real = z.dtype.type
    total_weight = 0.0  # in float64: there may be very many classes
    for c in range(weights):
        total_weight += class_weight[c]
    total_weight = real(total_weight)
    width = lanes_of(at(z, 0))
    stored = (n + width - 1) // width * width if room else n  # whole vectors need no mask
    if code == SOFTMAX_LABELS and n <= NARROW and options[LABEL_SMOOTHING] == 0.0:
        softmax_labels_narrow(z, ld, n, stored, labels, class_weight, options, rows, ld_rows, d, start, stop)
    elif code in (MSE, BCE_LOGITS) and n <= NARROW:
        numbers_narrow(code, z, ld, n, targets, ld_t, rows, ld_rows, d, start, stop)
    else:
        for i in range(start, stop):
            row = i * ld
            value, hit = loss_row(
                code, z, row, n, labels, targets, i * ld_t, class_weight, total_weight, options, real(rows[i]), d, row,
                i,
            )  # fmt: skip
            rows[ld_rows + i], rows[2 * ld_rows + i] = value, hit
    if activation != IDENTITY:
        first = start * ld
        apply_slope(activation, at(d, first), at(z, first), at(slope, first), at(d, first), ld, stop - start, n)
        if code == SOFTMAX_LABELS:
            for i in range(start, stop):
                if labels[i] == options[IGNORE_INDEX]:
                    d[i * ld : i * ld + n] = real(0.0)  # whatever the slope is


@kernel
def losses_of_rows(
    code, z, ld, room, n, labels, targets, ld_t, class_weight, weights, options, rows, ld_rows, activation, slope, d,
    batch, tasks,
):  # fmt: skip
    """Compute the losses of rows and their gradients, shared out; see `loss_part`."""
    pieces = worth(ELEMENT_WORK * batch * n, tasks)
    loss_part(
        code, z, ld, room, n, labels, targets, ld_t, class_weight, weights, options, rows, ld_rows, activation, slope,
        d, batch, pieces, tasks,
    )  # fmt: skip


@kernel
def total_loss(rows, batch, divisor):
    """Add up the losses as they count; NaN where no row counts, and the sum divided by 0 where their weights cancel."""
    if divisor != 0.0:
        return weighted(at(rows, 0), at(rows, rows.shape[1]), batch)
    total = 0.0
    for i in range(batch):
        if rows[0, i] != 0.0:
            total += rows[1, i]
    return total / divisor


@kernel
def loss(
    code, z, z0, ld, room, batch, n, labels, targets, t0, ld_t, class_weight, options, sample_weight, rows, activation,
    slope, slope0, d, d0, tasks,
):  # fmt: skip
    """Compute a loss of the rows of z, and its gradient times g' of the activation that made z.

    z : rows of n numbers begin at ``z.flat[z0]``, `ld` apart; read
    room : whether rows of z and d have room up to whole vectors; the room of d is written then
    labels : (batch,) int64 class indices, for SOFTMAX_LABELS; else unused
    targets : rows begin at ``targets.flat[t0]``, `ld_t` apart, for the other losses
    class_weight : (n,), or empty for none; needed with label smoothing and with probabilities
    options : (OPTIONS_SIZE,) float64
    sample_weight : (>= batch,), or empty for none
    rows : (3, >= batch) float64, written: what each row counts for, its loss, and 1 where its label's
        is the first of the largest logits
    activation, slope : the last layer's; d becomes its dz
    d : laid out as z; written
    return : the loss, the sum of the rows' as they count; what the mean divided by, which is negative where the class
        weights are. NaN and 0 where no row counts.

    One task owns a range of rows.
    """
    counts = counted(labels, options[IGNORE_INDEX], batch) if code == SOFTMAX_LABELS else batch
    divisor = row_scales(code, labels, counts, class_weight, options, sample_weight, rows[0], batch, n)
    losses_of_rows(
        code, at(z, z0), ld, room, n, at(labels, 0), at(targets, t0), ld_t, at(class_weight, 0), class_weight.size,
        at(options, 0), at(rows, 0), rows.shape[1], activation, at(slope, slope0), at(d, d0), batch, tasks,
    )  # fmt: skip
    return total_loss(rows, batch, divisor), divisor


@kernel
def first_wrong(labels, classes, ignore_index):
    """Return the first row whose label is neither in 0..classes-1 nor `ignore_index`; -1 if there is none."""
    outside = 0
    for i in range(labels.size):  # a loop that does not end early computes many rows side by side
        outside += (labels[i] < 0) | (labels[i] >= classes)
    if outside > 0:
        for i in range(labels.size):
            if not 0 <= labels[i] < classes and labels[i] != ignore_index:
                return i
    return -1


@entry
def first_wrong_label(labels, classes, ignore_index):
    """`first_wrong`, for Python."""
    return first_wrong(labels, classes, ignore_index)


@entry
def loss_and_gradient(code, z, labels, targets, class_weight, options, sample_weight, rows, tasks, gradient):
    """Compute a loss and its gradient, return the loss; see `loss`.

    z, gradient : (batch, n), read, written
    targets : (batch, n), or (batch, n / 2) for GAUSSIAN_NLL
    """
    batch, n = z.shape
    value, _ = loss(
        code, z.reshape(z.size), 0, n, 0, batch, n, labels, targets.reshape(targets.size), 0, targets.shape[1],
        class_weight, options, sample_weight, rows, IDENTITY, z.reshape(z.size), 0, gradient.reshape(gradient.size),
        0, tasks,
    )  # fmt: skip
    return value


@entry
def gaussian_nll(mean, target, var, scale, eps, constant, losses, dmean, dvar):
    """Compute the Gaussian negative log-likelihood with given variances; gradients times `scale`.

    mean, target, var : (rows, n), read
    losses : (rows,) float64, written: each row's sum
    dmean, dvar : (rows, n), written
    """
    n = mean.shape[1]
    for i in range(mean.shape[0]):
        o = i * n
        losses[i] = gaussian_variance_row(
            at(mean, o), at(target, o), at(var, o), at(dmean, o), at(dvar, o), scale, eps, constant, n
        )
