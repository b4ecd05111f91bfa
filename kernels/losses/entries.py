"""Losses as Python calls them."""

from typing import Any

from numba import carray, types

from ..compile.functions import element_type_of, entry
from ..compile.outlined import outlined
from ..compile.pointers import address_of, at
from ..compile.records import DOUBLES, INT, INTS, POINTER, record
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


# What `loss_and_gradient` is given: z and gradient, `rows` by `cols`; targets, `width` numbers a row; how many class
# weights and sample weights there are; and where scales, losses and hits go, `room` of each.
Given = record(
    "Given", z=POINTER, gradient=POINTER, rows=INT, cols=INT, labels=INTS, labelled=INT, targets=POINTER, width=INT,
    class_weight=POINTER, classes=INT, sample_weight=POINTER, weights=INT, options=DOUBLES, scales=DOUBLES, room=INT,
)  # fmt: skip


def _types(dtype):
    i = types.int64
    return types.float64(Given.of(dtype), i, i, i)


@outlined(_types)
def loss_of_batch(given, function, terms, tasks):
    """`loss_and_gradient`, on pointers.

    function, terms : address of the loss's op, and how many terms of a mean a row has
    """
    batch, like = given.rows, given.labels
    labels, options = carray(like, batch if given.labelled else 0), given.options
    rows = carray(given.scales, (3, given.room))
    counts = counted(labels, options[IGNORE_INDEX], batch) if given.labelled else batch
    class_weight, sample_weight = carray(given.class_weight, given.classes), carray(given.sample_weight, given.weights)
    divisor = row_scales(terms, labels, counts, class_weight, options, sample_weight, rows[0], batch)
    frame, row, span = new_frame(like), new_row(like), new_span(like)
    frame[WORK], frame[_frame.ROWS], frame[ROOM_ROWS] = 0, address_of(given.scales), given.room
    frame[CLASS_WEIGHT], frame[CLASS_WEIGHTS] = address_of(given.class_weight), given.classes
    frame[OPTIONS] = address_of(options)
    row[A], row[D], row[SLOPE] = address_of(given.z), address_of(given.gradient), address_of(given.z)
    row[LD], row[OUT], row[FLAGS], row[APPLY_SLOPE] = given.cols, given.cols, 0, 0
    span[FIRST], span[ROWS], span[PLACE] = 0, batch, 0
    span[LABELS], span[TARGETS], span[WIDTH] = address_of(like), address_of(given.targets), given.width
    run_op(function, given.z, frame, row, span, ELEMENT_WORK * batch * given.cols, tasks)
    return total_loss(rows, batch, divisor)


@entry
def _loss_and_gradient(  # arrays as Python has them
    function, terms, z, labels, targets, class_weight, options, sample_weight, rows, tasks, gradient
):
    given = Given(
        at(z, 0), at(gradient, 0), z.shape[0], z.shape[1], at(labels, 0), labels.size > 0, at(targets, 0),
        targets.shape[1], at(class_weight, 0), class_weight.size, at(sample_weight, 0), sample_weight.size,
        at(options, 0), at(rows, 0), rows.shape[1],
    )  # fmt: skip
    return loss_of_batch(given, function, terms, tasks)


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


# What `gaussian_nll` is given: all `rows` by `cols`, but for a number a row in `losses`
Moments = record(
    "Moments",
    mean=POINTER,
    target=POINTER,
    var=POINTER,
    dmean=POINTER,
    dvar=POINTER,
    losses=DOUBLES,
    rows=INT,
    cols=INT,
)


def _moments_types(dtype):
    return types.void(Moments.of(dtype), dtype, dtype, dtype)


@outlined(_moments_types)
def gaussian_of_moments(m, scale, eps, constant):
    """`gaussian_nll`, on pointers."""
    for i in range(m.rows):
        o = i * m.cols
        m.losses[i] = gaussian_variance_row(
            at(m.mean, o), at(m.target, o), at(m.var, o), at(m.dmean, o), at(m.dvar, o), scale, eps, constant, m.cols
        )


@entry
def gaussian_nll(mean, target, var, scale, eps, constant, losses, dmean, dvar):  # arrays as Python has them
    """Compute the Gaussian negative log-likelihood with given variances; gradients times `scale`.

    mean, target, var : (rows, n), read
    losses : (rows,) float64, written: each row's sum
    dmean, dvar : (rows, n), written
    """
    rows, cols = mean.shape
    moments = Moments(at(mean, 0), at(target, 0), at(var, 0), at(dmean, 0), at(dvar, 0), at(losses, 0), rows, cols)
    gaussian_of_moments(moments, scale, eps, constant)
