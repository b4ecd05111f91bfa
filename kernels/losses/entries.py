"""Losses of arrays of their own; `by_hand` calls them."""

import math

from numba import carray, types

from ..compile.functions import entry
from ..compile.outlined import outlined
from ..compile.pointers import address_of, at, doubles_at, ints_at, pointer_to
from ..compile.records import DOUBLES, INT, INTS, POINTER, record
from ..compile.signature import Doubles, Doubles2, Float, Int, Ints, Reals, Reals2
from ..ops.call import FIRST, LABELS, PLACE, ROWS, SPAN_SIZE, TARGETS, WIDTH, run_op, table_of
from ..run import frame as _frame
from ..run.frame import CLASS_WEIGHT, CLASS_WEIGHTS, FRAME_SIZE, OPTIONS, ROOM_ROWS, WORK
from ..run.plan import APPLY_SLOPE, COLUMNS, FLAGS, LD, MEMBERS, OUT, SLOPE, A, D
from ..simd.rows import summed
from .compiled import ELEMENT_WORK
from .gaussian_nll import gaussian_variance
from .labels import counted, first_wrong
from .registry import DONE, IGNORE_INDEX, NONE, REDUCTION, UNUSABLE
from .scales import row_scales, total_loss

gaussian_variance_row = summed(gaussian_variance, reads=3, writes=2, numbers=3)
new_frame, new_row, new_span = table_of(FRAME_SIZE), table_of(COLUMNS), table_of(SPAN_SIZE)


@entry
def first_wrong_label(labels: Ints, classes: Int, ignore_index: Int) -> Int:
    """`first_wrong`, for Python."""
    return first_wrong(labels, classes, ignore_index)


# What `loss_and_gradient` is given: z and gradient, `rows` by `cols`, `ld` apart; targets, `width` numbers a row; how
# many class weights and sample weights there are; and where scales, losses and hits go, `room` of each.
Given = record(
    "Given", z=POINTER, gradient=POINTER, rows=INT, cols=INT, ld=INT, labels=INTS, labelled=INT, targets=POINTER,
    width=INT, class_weight=POINTER, classes=INT, sample_weight=POINTER, weights=INT, options=DOUBLES, scales=DOUBLES,
    room=INT,
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
    row[LD], row[OUT], row[FLAGS], row[APPLY_SLOPE], row[MEMBERS] = given.ld, given.cols, 0, 0, 1
    span[FIRST], span[ROWS], span[PLACE] = 0, batch, 0
    span[LABELS], span[TARGETS], span[WIDTH] = address_of(like), address_of(given.targets), given.width
    run_op(function, given.z, frame, row, span, ELEMENT_WORK * batch * given.cols, tasks)
    return total_loss(rows, batch, divisor)


@entry
def loss_of_rows(  # arrays as Python has them
    function: Int,
    terms: Int,
    z: Reals2,
    labels: Ints,
    targets: Reals2,
    class_weight: Reals,
    options: Doubles,
    sample_weight: Reals,
    rows: Doubles2,
    tasks: Int,
    gradient: Reals2,
) -> Float:
    given = Given(
        at(z, 0), at(gradient, 0), z.shape[0], z.shape[1], z.shape[1], at(labels, 0), labels.size > 0, at(targets, 0),
        targets.shape[1], at(class_weight, 0), class_weight.size, at(sample_weight, 0), sample_weight.size,
        at(options, 0), at(rows, 0), rows.shape[1],
    )  # fmt: skip
    return loss_of_batch(given, function, terms, tasks)


def _at_types(dtype):
    i = types.int64
    return i(Given.of(dtype), i, i, i, i)


@outlined(_at_types)
def loss_of_tensors(given, function, ignored, value, tasks):
    """`loss_at`, on pointers."""
    if given.labelled:
        wrong = first_wrong(carray(given.labels, given.rows), given.cols, ignored)
        if wrong >= 0:
            return wrong
    for c in range(given.classes):
        if not 0.0 <= given.class_weight[c] < math.inf:
            return UNUSABLE
    total = loss_of_batch(given, function, 1, tasks)
    real, values = carray(given.z, 1).dtype.type, pointer_to(given.z, value)
    if given.options[REDUCTION] == NONE:
        scales, losses = given.scales, at(given.scales, given.room)
        for i in range(given.rows):
            values[i] = real(scales[i] * losses[i])
    else:
        values[0] = real(total)
    return DONE


@entry
def loss_at(  # addresses as PyTorch has them
    function: Int,
    like: Reals,
    z: Int,
    rows: Int,
    cols: Int,
    ld: Int,
    labels: Int,
    ignored: Int,
    targets: Int,
    class_weight: Int,
    options: Int,
    kept: Doubles2,
    gradient: Int,
    value: Int,
    tasks: Int,
) -> Int:
    """Compute a loss as `loss_and_gradient` does, of arrays given by addresses: 0 where there is none.

    function : address of an op of the loss, where a row is one term
    like : any array of the element type
    z, gradient : address of (rows, cols), ld apart, or of planes, (cols, ld) each; read, written if the op does
    ignored : the label of rows that count for nothing, as `options` has it
    class_weight : address of (cols,), read
    options : address of float64, see `registry`
    kept : (3, >= rows) float64, written
    value : address of a number, or with the reduction NONE of one for each row; written

    Returns DONE; or, and nothing is written, the first row whose label is wrong, or UNUSABLE for class weights that
    are negative or not finite. One task owns a range of rows.
    """
    of_elements = at(like, 0)
    classes = cols if class_weight else 0
    given = Given(
        pointer_to(of_elements, z), pointer_to(of_elements, gradient), rows, cols, ld, ints_at(labels), labels != 0,
        pointer_to(of_elements, targets), cols, pointer_to(of_elements, class_weight), classes, of_elements, 0,
        doubles_at(options), at(kept, 0), kept.shape[1],
    )  # fmt: skip
    return loss_of_tensors(given, function, ignored, value, tasks)


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
def gaussian_nll(  # arrays as Python has them
    mean: Reals2,
    target: Reals2,
    var: Reals2,
    scale: Float,
    eps: Float,
    constant: Float,
    losses: Doubles,
    dmean: Reals2,
    dvar: Reals2,
) -> None:
    """Compute the Gaussian negative log-likelihood with given variances; gradients times `scale`.

    mean, target, var : (rows, n), read
    losses : (rows,) float64, written: each row's sum
    dmean, dvar : (rows, n), written
    """
    rows, cols = mean.shape
    moments = Moments(at(mean, 0), at(target, 0), at(var, 0), at(dmean, 0), at(dvar, 0), at(losses, 0), rows, cols)
    gaussian_of_moments(moments, scale, eps, constant)
