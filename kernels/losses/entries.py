"""Losses as Python calls them."""

from typing import Any

from ..compile.functions import element_type_of, entry
from ..compile.pointers import address_of, at
from ..ops.call import FIRST, LABELS, PLACE, ROWS, SPAN_SIZE, TARGETS, WIDTH, run_op, table_of
from ..run import frame as _frame
from ..run.frame import CLASS_WEIGHT, CLASS_WEIGHTS, FRAME_SIZE, OPTIONS, ROOM_ROWS, WORK
from ..run.plan import APPLY_SLOPE, COLUMNS, FLAGS, LD, OUT, SLOPE, A, D
from ..simd.rows import summed
from .compiled import ELEMENT_WORK, op_of_loss
from .gaussian_nll import gaussian_variance
from .labels import counted, first_wrong
from .registry import BY_CODE, IGNORE_INDEX
from .scales import row_scales, total_loss

gaussian_variance_row = summed(gaussian_variance, reads=3, writes=2, numbers=3)
new_frame, new_row, new_span = table_of(FRAME_SIZE), table_of(COLUMNS), table_of(SPAN_SIZE)


@entry
def first_wrong_label(labels, classes, ignore_index):
    """`first_wrong`, for Python."""
    return first_wrong(labels, classes, ignore_index)


@entry
def _loss_and_gradient(  # arrays as Python has them
    function, terms, z, labels, targets, class_weight, options, sample_weight, rows, tasks, gradient
):
    """`loss_and_gradient`, with the address of the loss's op and how many terms of a mean a row has."""
    batch, n = z.shape
    counts = counted(labels, options[IGNORE_INDEX], batch) if labels.size > 0 else batch
    divisor = row_scales(terms, labels, counts, class_weight, options, sample_weight, rows[0], batch)
    like = at(labels, 0)
    frame, row, span = new_frame(like), new_row(like), new_span(like)
    frame[WORK], frame[_frame.ROWS], frame[ROOM_ROWS] = 0, address_of(at(rows, 0)), rows.shape[1]
    frame[CLASS_WEIGHT], frame[CLASS_WEIGHTS] = address_of(at(class_weight, 0)), class_weight.size
    frame[OPTIONS] = address_of(at(options, 0))
    row[A], row[D], row[SLOPE] = address_of(at(z, 0)), address_of(at(gradient, 0)), address_of(at(z, 0))
    row[LD], row[OUT], row[FLAGS], row[APPLY_SLOPE] = n, n, 0, 0
    span[FIRST], span[ROWS], span[PLACE] = 0, batch, 0
    span[LABELS], span[TARGETS], span[WIDTH] = address_of(like), address_of(at(targets, 0)), targets.shape[1]
    run_op(function, at(z, 0), frame, row, span, ELEMENT_WORK * batch * n, tasks)
    return total_loss(rows, batch, divisor)


def loss_and_gradient(  # arrays as Python has them
    code: int,
    z: Any,
    labels: Any,
    targets: Any,
    class_weight: Any,
    options: Any,
    sample_weight: Any,
    rows: Any,
    tasks: int,
    gradient: Any,
) -> float:
    """Compute a loss of the rows of z and its gradient; return the loss, the sum of the rows' as they count.

    code : of the loss, in `registry`
    z, gradient : (batch, n), read, written
    labels : (batch,) int64 class indices, or empty for a loss of other targets
    targets : (batch, n), or (batch, n / 2) for gaussian_nll, for the other losses
    class_weight : (n,), or empty for none; needed with label smoothing and with probabilities
    options : float64, see `registry`
    sample_weight : (batch,), or empty for none
    rows : (3, >= batch) float64, written: what each row counts for, its loss, and 1 where its label's is the first of
        the largest logits

    One task owns a range of rows.
    """
    loss = BY_CODE[code]
    function = op_of_loss(loss).address(element_type_of(z.dtype))
    value: float = _loss_and_gradient(
        function,
        loss.terms(z.shape[1]),
        z,
        labels,
        targets,
        class_weight,
        options,
        sample_weight,
        rows,
        tasks,
        gradient,
    )
    return value


@entry
def gaussian_nll(mean, target, var, scale, eps, constant, losses, dmean, dvar):  # arrays as Python has them
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
