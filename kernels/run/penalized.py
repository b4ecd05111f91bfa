"""Training steps of ``loss + decay / 2 * |W|**2``: a penalty on the weights, its factor another in each step."""

from numba import carray, types

from ..compile.functions import entry, kernel
from ..compile.outlined import outlined
from ..compile.pointers import at, doubles_at, pointer_to
from ..compile.records import DOUBLES, INT, INTS, POINTER
from ..compile.records import record as make_record
from ..compile.signature import Doubles2, Int, Ints, Ints2, Reals, Reals2
from ..optimizers.registry import EPS, WEIGHT_DECAY
from ..simd.lanes import Lanes, Vec
from ..simd.rows import summed
from .frame import FIRST_STEP, HYPER, LAST_STEP, PARAMS, SETTINGS
from .penalty import DECAY, NUMBERS, SQUARES, STEP_EPS
from .train import Samples, train


def _squared(v: Lanes, a: Vec, b: Vec, c: Vec, d: Vec) -> tuple[Vec]:
    return (v.fma(a, a, b * b) + v.fma(c, c, d * d),)


def _squared_rest(v: Lanes, x: Vec) -> tuple[Vec]:
    return (x * x,)


# Four quarters side by side: one sum alone would wait for each addition.
squared = summed(_squared, reads=4, writes=0)
squared_rest = summed(_squared_rest, reads=1, writes=0)


@kernel
def sum_of_squares(x, start, count):
    """Return the sum of the squares of ``x[start : start + count]``, x a pointer."""
    quarter, first = count // 4, at(x, start)
    total = squared(first, at(first, quarter), at(first, 2 * quarter), at(first, 3 * quarter), quarter)
    return total + squared_rest(at(first, 4 * quarter), count - 4 * quarter)


# What is penalized: `count` pairs in `blocks`, where one begins and how many elements it has; and `numbers`, see
# `penalty`, for `steps` steps
Penalty = make_record("Penalty", like=POINTER, numbers=DOUBLES, steps=INT, blocks=INTS, count=INT)


def _types(dtype):
    i = types.int64
    return i(Samples.of(dtype), types.CPointer(i), types.CPointer(types.float64), i, Penalty.of(dtype))


@outlined(_types)
def train_with_penalty(samples, frame, record, steps, penalty):
    """`train_penalized`, on pointers."""
    settings, hyper = pointer_to(frame, frame[SETTINGS]), doubles_at(frame[HYPER])
    params = pointer_to(samples.x, frame[PARAMS])
    numbers = carray(penalty.numbers, (NUMBERS, penalty.steps))
    for step in range(max(0, settings[FIRST_STEP]), min(penalty.steps, settings[LAST_STEP])):
        if numbers[DECAY, step] < 0.0:
            continue
        hyper[WEIGHT_DECAY], hyper[EPS] = numbers[DECAY, step], numbers[STEP_EPS, step]
        if numbers[DECAY, step] > 0.0:
            total = 0.0
            for i in range(penalty.count):
                total += sum_of_squares(params, penalty.blocks[2 * i], penalty.blocks[2 * i + 1])
            numbers[SQUARES, step] = total
        settings[FIRST_STEP], settings[LAST_STEP] = step, step + 1
        wrong = train(samples, frame, record, steps)
        if wrong != -1:
            return wrong
    return -1


@entry
def train_penalized(
    frame: Ints,
    x: Reals2,
    labels: Ints,
    targets: Reals2,
    sample_weight: Reals,
    order: Ints,
    record: Doubles2,
    numbers: Doubles2,
    blocks: Ints2,
) -> Int:
    """Run training steps as `network.train_steps` does, each with a weight decay and an eps of its own.

    numbers : (NUMBERS, steps) float64: the weight decay of each step, its eps; and written, the sum of squares of the
        blocks before it. A step whose decay is negative is left out.
    blocks : (blocks, 2) int64: where in the parameters what is penalized begins, and how many elements that are
    return : as `train_steps`
    """
    samples = Samples(
        at(x, 0), x.shape[0], at(labels, 0), at(targets, 0), targets.shape[1], at(sample_weight, 0), sample_weight.size,
        at(order, 0), order.size,
    )  # fmt: skip
    penalty = Penalty(at(x, 0), at(numbers, 0), numbers.shape[1], at(blocks, 0), blocks.shape[0])
    return train_with_penalty(samples, at(frame, 0), at(record, 0), record.shape[1], penalty)
