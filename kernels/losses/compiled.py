"""Losses as machine code: passes over a range of rows, which pick a loss by its code."""

from numba import carray, types

from ..activations import IDENTITY
from ..activations.compiled import apply_slope
from ..compile.functions import kernel
from ..compile.pointers import at, lanes_of
from ..compile.region import shared
from ..linalg.tasks import share, worth
from ..simd.rows import log, summed
from . import (
    BCE_LOGITS,
    CONSTANT,
    IGNORE_INDEX,
    LABEL_SMOOTHING,
    MSE,
    OPTIONS_SIZE,
    SOFTMAX_LABELS,
    SOFTMAX_ONE_HOT,
    SOFTMAX_PROBABILITIES,
    VARIANCE_EPS,
)
from .bce import bce_logits
from .gaussian_nll import gaussian_log_variance
from .labels import counted
from .mse import mse
from .narrow import NARROW, numbers_narrow, softmax_labels_narrow
from .scales import row_scales, total_loss
from .softmax import answers, softmax_labels_row, softmax_probabilities_row

# exp, a logarithm and the sums of one element cost about as much as this many multiplications and additions.
ELEMENT_WORK = 30

mse_row = summed(mse, reads=2, writes=1, numbers=1)
bce_row = summed(bce_logits, reads=2, writes=1, numbers=1)
gaussian_log_variance_row = summed(gaussian_log_variance, reads=3, writes=2, numbers=3)


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
